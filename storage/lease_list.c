/*
 * lease_list.c - who uses the repository now.
 *
 * A lease changes by a new file under a new name and the removal of the old.
 * So one that is gone when it is to be read may be there under another name:
 * then all of them are listed again. Some folders give all their names at one
 * instant, and where they do not, a lease is at least seen by its old name or
 * by its new one; what cannot be read counts as somebody's until it is old.
 */
#include "core/base/clock.h"
#include "core/base/path.h"
#include "storage/layout.h"
#include "storage/lease_inside.h"
#include "storage/repository_inside.h"

#define LIST_TRIES 100u

struct walk {
    struct repository *repository;
    struct lease_origin here;
    uint64_t now_ns;
    const char *except;   /* id of a file, or "" */
    const char *snapshot; /* looked for in claims, or NULL */
    bool claimed;
    bool moved; /* one was gone: look again */
    struct lease_infos found;
};

void lease_infos_release(struct lease_infos *l)
{
    for (size_t i = 0; i < l->n; i++)
        json_decref(l->all[i].packs);
    free(l->all);
    *l = (struct lease_infos){0};
}

bool lease_is_of_reader(const char *purpose)
{
    static const char *const writers[] = {"capture", "forget", "prune"};

    for (size_t i = 0; i < ARRAY_LEN(writers); i++) {
        if (strcmp(purpose, writers[i]) == 0)
            return false;
    }
    return true;
}

const struct lease_info *lease_infos_reader(const struct lease_infos *l,
                                            const char *snapshot)
{
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->all[i].snapshot, snapshot) == 0)
            return &l->all[i];
    }
    return NULL;
}

static void describe(const char *id, const json_t *content,
                     struct lease_info *ret)
{
    *ret = (struct lease_info){.pid = 0};
    /* One of an earlier version has no holder; its file's name does not stay,
     * so whoever waits for it waits for one lease more at worst. */
    snprintf(ret->holder, sizeof(ret->holder), "%.39s",
             json_path_str(content, "holder", id));
    snprintf(ret->purpose, sizeof(ret->purpose), "%.15s",
             json_path_str(content, "purpose", "unknown"));
    snprintf(ret->snapshot, sizeof(ret->snapshot), "%.16s",
             json_path_str(content, "snapshot", ""));
    snprintf(ret->host, sizeof(ret->host), "%.127s",
             json_path_str(content, "host", "?"));
    ret->host[strcspn(ret->host, "/")] = '\0';
    ret->pid = lease_first_living(content);
    ret->packs = json_incref(json_object_get(content, "packs"));
}

static bool has_claim(const json_t *content, const char *snapshot)
{
    const json_t *claims = json_object_get(content, "claims");

    for (size_t i = 0; snapshot && i < json_array_size(claims); i++) {
        const char *id = json_string_value(json_array_get(claims, i));

        if (id && strcmp(id, snapshot) == 0)
            return true;
    }
    return false;
}

static int add_info(struct walk *w, const char *id, const json_t *content,
                    struct error *err)
{
    struct lease_infos *l = &w->found;
    struct lease_info *all;

    /* Room comes in powers of two, so it is full when n is one. */
    if (!(l->n & (l->n - 1))) {
        all = realloc(l->all, (l->n ? l->n * 2 : 1) * sizeof(*all));
        if (!all)
            return fail_nomem(err);
        l->all = all;
    }
    describe(id, content, &l->all[l->n++]);
    w->claimed |= has_claim(content, w->snapshot);
    return 0;
}

static int look_at(void *arg, const char *id, struct error *err)
{
    struct walk *w = arg;
    int locks = repository_locks_dirfd(w->repository);
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_json json_t *content = NULL;
    struct error why;
    int rc;

    if (strcmp(id, w->except) == 0)
        return 0;
    rc = path_read_file(locks, id, LEASE_MAX_BYTES, &text, &why);
    if (rc == ERR_NOTFOUND) {
        w->moved = true;
        return 0;
    }
    if (rc == 0)
        rc = json_parse(text.data, text.len, &content, &why);
    if (rc == ERR_NOMEM)
        return error_copy(err, &why);
    if (json_path_int(content, "version", 0)
            ? lease_content_is_dead(&w->here, w->now_ns, content)
            : lease_file_is_old(locks, id, w->now_ns))
        return 0;
    return add_info(w, id, content, err);
}

static int walk_leases(struct walk *w, struct error *err)
{
    struct object_folder folder =
        layout_locks(repository_locks_dirfd(w->repository));
    int rc = lease_origin_find(&w->here, err);

    w->now_ns = clock_realtime_ns();
    w->moved = true;
    for (unsigned i = 0; rc == 0 && w->moved && i < LIST_TRIES; i++) {
        lease_infos_release(&w->found);
        w->claimed = false;
        w->moved = false;
        rc = object_list(&folder, look_at, w, err);
    }
    if (rc < 0)
        lease_infos_release(&w->found);
    return rc;
}

int lease_list(struct repository *r, const struct lease *except,
               struct lease_infos *ret, struct error *err)
{
    struct walk w = {.repository = r, .except = except ? lease_id(except) : ""};
    int rc = walk_leases(&w, err);

    if (rc < 0)
        return rc;
    *ret = w.found;
    return 0;
}

int lease_is_claimed(struct repository *r, const char *snapshot, bool *ret,
                     struct error *err)
{
    struct walk w = {.repository = r, .except = "", .snapshot = snapshot};
    int rc = walk_leases(&w, err);

    if (rc < 0)
        return rc;
    *ret = w.claimed;
    lease_infos_release(&w.found);
    return 0;
}

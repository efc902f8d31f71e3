/*
 * repository_list.c - which snapshots there are, and which one is meant.
 *
 * The folder decides what exists; the catalog only saves reading objects that
 * were read before. A name that is an id, or the beginning of one, is looked
 * up in the folder alone, so that a damaged snapshot can be named as well.
 */
#include "storage/repository.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "core/base/clock.h"
#include "storage/catalog.h"
#include "storage/layout.h"
#include "storage/manifest.h"
#include "storage/repository_inside.h"

#define PREFIX_MIN_DIGITS 4u

struct listing {
    struct repository *repository;
    struct catalog *catalog; /* may be NULL */
    void (*bad)(void *arg, const char *id, const struct error *why);
    void *arg;
    struct snapshot_summary *all;
    size_t n;
};

static void drop_listing(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        snapshot_summary_release(&l->all[i]);
    free(l->all);
}

static int load_summary(struct listing *l, const char *id,
                        struct snapshot_summary *ret, struct error *err)
{
    int dirfd = repository_snapshots_dirfd(l->repository);
    struct catalog_key key = {0};
    struct stat st;
    int rc;

    if (fstatat(dirfd, id, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                          "snapshot '%s'", id);
    memcpy(key.id, id, sizeof(key.id));
    key.object_bytes = (uint64_t)st.st_size;
    key.object_mtime_ns =
        (uint64_t)st.st_mtim.tv_sec * NS_PER_SEC + (uint64_t)st.st_mtim.tv_nsec;
    if (l->catalog && catalog_find(l->catalog, &key, ret))
        return 0;
    rc = manifest_read_summary(dirfd, id, ret, err);
    if (rc == 0 && l->catalog)
        catalog_put(l->catalog, &key, ret);
    return rc;
}

static int list_snapshot(void *arg, const char *id, struct error *err)
{
    struct listing *l = arg;
    struct snapshot_summary *all;
    struct error why;
    int rc;

    /* Room comes in powers of two, so it is full when n is one. */
    if (!(l->n & (l->n - 1))) {
        all = realloc(l->all, (l->n ? l->n * 2 : 1) * sizeof(*all));
        if (!all)
            return fail_nomem(err);
        l->all = all;
    }
    l->all[l->n] = (struct snapshot_summary){.tags = NULL};
    rc = load_summary(l, id, &l->all[l->n], &why);
    if (rc == 0)
        l->n++;
    else if (rc == ERR_NOMEM)
        return error_copy(err, &why);
    /* One that was removed meanwhile is not bad. */
    else if (rc != ERR_NOTFOUND && l->bad)
        l->bad(l->arg, id, &why);
    return 0;
}

static int compare_age(const void *a, const void *b)
{
    const struct snapshot_summary *x = a, *y = b;

    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return strcmp(x->id, y->id);
}

int repository_list(struct repository *r,
                    void (*bad)(void *arg, const char *id,
                                const struct error *why),
                    void *arg, struct snapshot_summary **ret, size_t *ret_n,
                    struct error *err)
{
    struct object_folder folder =
        layout_snapshots(repository_snapshots_dirfd(r));
    struct listing l = {.repository = r, .bad = bad, .arg = arg};
    int rc;

    l.catalog = catalog_open(r);
    rc = object_list(&folder, list_snapshot, &l, err);
    if (rc == 0 && l.catalog)
        catalog_forget_others(l.catalog);
    catalog_close(l.catalog);
    if (rc < 0) {
        drop_listing(&l);
        return error_wrap(err, "cannot list repository '%s'",
                          repository_path(r));
    }
    if (l.n > 0)
        qsort(l.all, l.n, sizeof(*l.all), compare_age);
    *ret = l.all;
    *ret_n = l.n;
    return 0;
}

struct prefix_search {
    const char *prefix;
    char found[SNAPSHOT_ID_LEN + 1];
    unsigned n;
};

static int match_prefix(void *arg, const char *id, struct error *err)
{
    struct prefix_search *s = arg;

    if (strncmp(id, s->prefix, strlen(s->prefix)) == 0) {
        memcpy(s->found, id, sizeof(s->found));
        s->n++;
    }
    return 0;
}

static int resolve_prefix(struct repository *r, const char *name, char *ret_id,
                          struct error *err)
{
    struct object_folder folder =
        layout_snapshots(repository_snapshots_dirfd(r));
    struct prefix_search s = {.prefix = name};
    int rc = object_list(&folder, match_prefix, &s, err);

    if (rc < 0)
        return rc;
    if (s.n > 1) {
        fail(err, ERR_INVALID, "'%s' is the beginning of %u snapshots", name,
             s.n);
        return error_hint(err, "give more digits");
    }
    if (s.n == 0)
        return fail(err, ERR_NOTFOUND, "there is no snapshot '%s'", name);
    memcpy(ret_id, s.found, sizeof(s.found));
    return 0;
}

/* The `back`-th newest, counted from 1, of the VM whose name or uuid is the
 * first `len` bytes of `name`; of all VMs when `len` is 0. */
static int resolve_newest(struct repository *r, const char *name, size_t len,
                          unsigned long back, char *ret_id, struct error *err)
{
    struct snapshot_summary *all;
    unsigned long seen = 0;
    size_t n;
    int rc = repository_list(r, NULL, NULL, &all, &n, err);

    if (rc < 0)
        return rc;
    rc = ERR_NOTFOUND;
    for (size_t i = n; i-- > 0;) {
        const struct snapshot_summary *s = &all[i];
        bool match = len == 0 ||
                     (strncmp(s->vm, name, len) == 0 && !s->vm[len]) ||
                     (len < sizeof(s->vm_uuid) && !s->vm_uuid[len] &&
                      strncmp(s->vm_uuid, name, len) == 0);

        if (match && ++seen == back && rc != 0) {
            memcpy(ret_id, s->id, sizeof(s->id));
            rc = 0;
        }
        snapshot_summary_release(&all[i]);
    }
    free(all);
    if (rc == 0)
        return 0;
    if (len == 0)
        return fail(err, ERR_NOTFOUND, "the repository has no snapshot");
    return fail(err, ERR_NOTFOUND, "VM '%.*s' has %lu snapshots here, not %lu",
                (int)len, name, seen, back);
}

/* "latest" is 1, "-N" is N, anything else 0. */
static unsigned long parse_back(const char *text)
{
    char *end;
    unsigned long back;

    if (strcmp(text, "latest") == 0)
        return 1;
    if (text[0] != '-' || text[1] < '1' || text[1] > '9')
        return 0;
    back = strtoul(text + 1, &end, 10);
    return *end ? 0 : back;
}

int repository_resolve(struct repository *r, const char *name,
                       char ret_id[static SNAPSHOT_ID_LEN + 1],
                       struct error *err)
{
    const char *at = strrchr(name, '@');
    size_t len = strlen(name);

    if (strcmp(name, "latest") == 0)
        return resolve_newest(r, name, 0, 1, ret_id, err);
    if (at && at > name && parse_back(at + 1) > 0)
        return resolve_newest(r, name, (size_t)(at - name), parse_back(at + 1),
                              ret_id, err);
    if (len >= PREFIX_MIN_DIGITS && len <= SNAPSHOT_ID_LEN &&
        layout_is_id(name, len))
        return resolve_prefix(r, name, ret_id, err);
    fail(err, ERR_INVALID, "'%s' names no snapshot", name);
    return error_hint(err,
                      "give an id, at least %u digits of one, 'latest', "
                      "'VM@latest' or 'VM@-N'",
                      PREFIX_MIN_DIGITS);
}

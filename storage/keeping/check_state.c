/*
 * check_state.c - a new file under a new name, then the others go: so there is
 * always one, and after a crash two of which the newer counts.
 */
#include "storage/keeping/check_state.h"

#include <fcntl.h>
#include <sys/stat.h>

#define LOG_AREA "checks"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "storage/layout.h"
#include "storage/packs/pack_writer.h"
#include "storage/repository_inside.h"

#define VERSION     1
#define FILE_MAX    JSON_MAX_BYTES
#define FOLDER_MODE 0700

struct check_state {
    uint64_t written_ns;
    json_t *packs;     /* id → [data_ns, next_frame] */
    json_t *snapshots; /* id → [structure_ns, data_ns] */
};

int check_state_new(struct check_state **ret, struct error *err)
{
    cleanup(check_state) struct check_state *s = calloc(1, sizeof(*s));

    if (!s)
        return fail_nomem(err);
    s->packs = json_object();
    s->snapshots = json_object();
    if (!s->packs || !s->snapshots)
        return fail_nomem(err);
    *ret = steal_ptr(&s);
    return 0;
}

void check_state_free(struct check_state *s)
{
    if (!s)
        return;
    json_decref(s->packs);
    json_decref(s->snapshots);
    free(s);
}

/* The two numbers of an entry; false when there are none. */
static bool read_pair(const json_t *pair, uint64_t ret[static 2])
{
    for (size_t i = 0; i < 2; i++) {
        const json_t *number = json_array_get(pair, i);

        if (!json_is_integer(number) || json_integer_value(number) < 0)
            return false;
        ret[i] = (uint64_t)json_integer_value(number);
    }
    return json_array_size(pair) == 2;
}

static int set_pair(json_t *object, const char *id, uint64_t a, uint64_t b,
                    struct error *err)
{
    json_t *pair = json_pack("[I, I]", (json_int_t)a, (json_int_t)b);

    if (!pair || json_object_set_new(object, id, pair) < 0)
        return fail_nomem(err);
    return 0;
}

struct checked_pack check_state_pack(const struct check_state *s,
                                     const char *id)
{
    uint64_t pair[2];

    if (!read_pair(json_object_get(s->packs, id), pair))
        return (struct checked_pack){0};
    return (struct checked_pack){pair[0], (uint32_t)pair[1]};
}

struct checked_snapshot check_state_snapshot(const struct check_state *s,
                                             const char *id)
{
    uint64_t pair[2];

    if (!read_pair(json_object_get(s->snapshots, id), pair))
        return (struct checked_snapshot){0};
    return (struct checked_snapshot){pair[0], pair[1]};
}

int check_state_set_pack(struct check_state *s, const char *id,
                         struct checked_pack is, struct error *err)
{
    return set_pair(s->packs, id, is.data_ns, is.next_frame, err);
}

int check_state_set_snapshot(struct check_state *s, const char *id,
                             struct checked_snapshot is, struct error *err)
{
    return set_pair(s->snapshots, id, is.structure_ns, is.data_ns, err);
}

static bool are_entries(const json_t *object, size_t digits,
                        uint64_t second_max)
{
    const char *id;
    json_t *pair;

    if (!json_is_object(object))
        return false;
    json_object_foreach((json_t *)object, id, pair)
    {
        uint64_t numbers[2];

        if (!layout_is_id(id, digits) || !read_pair(pair, numbers) ||
            numbers[1] > second_max)
            return false;
    }
    return true;
}

int check_state_parse(const void *text, size_t len, struct check_state **ret,
                      struct error *err)
{
    cleanup(check_state) struct check_state *s = NULL;
    cleanup_json json_t *object = NULL;
    int64_t written;
    int rc = json_parse(text, len, &object, err);

    if (rc == ERR_NOMEM)
        return rc;
    written = json_path_int(object, "written_ns", -1);
    if (rc < 0 || json_path_int(object, "version", 0) != VERSION ||
        written < 0 ||
        !are_entries(json_object_get(object, "packs"), PACK_ID_LEN,
                     UINT32_MAX) ||
        !are_entries(json_object_get(object, "snapshots"), SNAPSHOT_ID_LEN,
                     INT64_MAX))
        return fail(err, ERR_CORRUPT, "the record of checks is damaged");
    s = calloc(1, sizeof(*s));
    if (!s)
        return fail_nomem(err);
    s->written_ns = (uint64_t)written;
    s->packs = json_incref(json_object_get(object, "packs"));
    s->snapshots = json_incref(json_object_get(object, "snapshots"));
    *ret = steal_ptr(&s);
    return 0;
}

int check_state_print(const struct check_state *s, struct buf *ret,
                      struct error *err)
{
    cleanup_json json_t *object = NULL;
    int rc = json_build(&object, err, "{s:i, s:I, s:O, s:O}", "version",
                        VERSION, "written_ns", (json_int_t)s->written_ns,
                        "snapshots", s->snapshots, "packs", s->packs);

    return rc < 0 ? rc : json_print(object, ret, err);
}

static int open_folder(struct repository *r, bool make, int *ret_fd,
                       struct error *err)
{
    int dirfd = repository_dirfd(r);

    if (make && mkdirat(dirfd, LAYOUT_CHECKS, FOLDER_MODE) < 0 &&
        errno != EEXIST)
        return fail_errno(err, ERR_IO, "cannot make folder '%s'",
                          LAYOUT_CHECKS);
    *ret_fd = openat(dirfd, LAYOUT_CHECKS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_fd < 0)
        return fail_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                          "cannot open folder '%s'", LAYOUT_CHECKS);
    return 0;
}

struct search {
    int dirfd;
    struct check_state *newest;
};

static int look_at(void *arg, const char *id, struct error *err)
{
    struct search *search = arg;
    cleanup(check_state) struct check_state *s = NULL;
    cleanup_buf struct buf text = BUF_INIT;
    struct error why;
    int rc = path_read_file(search->dirfd, id, FILE_MAX, &text, &why);

    if (rc == 0)
        rc = check_state_parse(text.data, text.len, &s, &why);
    if (rc < 0) {
        log_debug("%s: %s", id, why.message);
        return rc == ERR_NOMEM ? error_copy(err, &why) : 0;
    }
    if (search->newest && search->newest->written_ns > s->written_ns)
        return 0;
    check_state_free(search->newest);
    search->newest = steal_ptr(&s);
    return 0;
}

int check_state_load(struct repository *r, struct check_state **ret,
                     struct error *err)
{
    cleanup_close int dirfd = -1;
    struct search search = {.dirfd = -1};
    struct object_folder folder;
    int rc = open_folder(r, false, &dirfd, err);

    if (rc == ERR_NOTFOUND)
        return check_state_new(ret, err);
    search.dirfd = dirfd;
    folder = layout_locks(dirfd);
    if (rc == 0)
        rc = object_list(&folder, look_at, &search, err);
    if (rc < 0) {
        check_state_free(search.newest);
        return rc;
    }
    if (!search.newest)
        return check_state_new(ret, err);
    *ret = search.newest;
    return 0;
}

static int write_file(int dirfd, const struct check_state *s, const char *id,
                      struct error *err)
{
    struct object_folder folder = layout_locks(dirfd);
    cleanup(object_file) struct object_file file = OBJECT_FILE_INIT;
    cleanup_buf struct buf text = BUF_INIT;
    int rc = check_state_print(s, &text, err);

    if (rc == 0)
        rc = object_file_create(&folder, &file, err);
    if (rc == 0)
        rc = path_write_at(file.fd, text.data, text.len, 0, err);
    if (rc == 0 && fsync(file.fd) < 0)
        rc = fail_errno(err, ERR_IO, "cannot sync the record of checks");
    return rc < 0 ? rc : object_file_link(&folder, &file, id, err);
}

struct removal {
    int dirfd;
    const char *except;
};

static int remove_other(void *arg, const char *id, struct error *err)
{
    const struct removal *r = arg;

    if (strcmp(id, r->except) != 0)
        unlinkat(r->dirfd, id, 0);
    return 0;
}

static int replace(struct repository *r, struct check_state *s,
                   struct error *err)
{
    cleanup_close int dirfd = -1;
    char id[LAYOUT_LOCK_ID_LEN + 1];
    struct object_folder folder;
    int rc = layout_new_id(id, LAYOUT_LOCK_ID_LEN, err);

    s->written_ns = MAX(s->written_ns + 1, clock_realtime_ns());
    if (rc == 0)
        rc = open_folder(r, true, &dirfd, err);
    if (rc == 0)
        rc = write_file(dirfd, s, id, err);
    if (rc < 0)
        return rc;
    folder = layout_locks(dirfd);
    return object_list(&folder, remove_other,
                       &(struct removal){.dirfd = dirfd, .except = id}, err);
}

/* Entries of objects that are no more. */
static void drop_gone(struct repository *r, struct check_state *s)
{
    const char *id;
    json_t *pair;
    void *next;

    json_object_foreach_safe(s->packs, next, id, pair)
    {
        struct error why;
        uint64_t bytes;

        if (layout_pack_stat(repository_packs_dirfd(r), id, &bytes, &why) ==
            ERR_NOTFOUND)
            json_object_del(s->packs, id);
    }
    json_object_foreach_safe(s->snapshots, next, id, pair)
    {
        struct stat st;

        if (fstatat(repository_snapshots_dirfd(r), id, &st,
                    AT_SYMLINK_NOFOLLOW) < 0 &&
            errno == ENOENT)
            json_object_del(s->snapshots, id);
    }
}

int check_state_store(struct repository *r, const struct check_state *changed,
                      struct error *err)
{
    cleanup(check_state) struct check_state *s = NULL;
    int rc = check_state_load(r, &s, err);

    if (rc < 0)
        return rc;
    if (json_object_update(s->packs, changed->packs) < 0 ||
        json_object_update(s->snapshots, changed->snapshots) < 0)
        return fail_nomem(err);
    drop_gone(r, s);
    return replace(r, s, err);
}

/*
 * condemned.c - lists of packs on death row, one file each.
 *
 * A file is never changed, only replaced by a new one with a new id: the new
 * one is linked and synced before the old one goes, so that after a crash at
 * any point each pack is in at least one of them. Twice is harmless, in none
 * would leave a pack that nobody needs and nobody removes. For the same reason
 * a damaged file counts as an empty one: its packs are still unreferenced, and
 * the next prune finds and condemns them anew.
 */
#include "storage/condemned.h"

#include <fcntl.h>
#include <sys/stat.h>

#define LOG_AREA "condemned"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "storage/packs/pack_writer.h"
#include "storage/repository_inside.h"

#define VERSION     1
#define FILE_MAX    (64u << 20)
#define FOLDER_MODE 0700

void condemned_release(struct condemned *c)
{
    json_decref(c->packs);
    json_decref(c->holders);
    *c = (struct condemned){.packs = NULL};
}

void condemned_list_release(struct condemned_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        condemned_release(&l->all[i]);
    free(l->all);
    *l = (struct condemned_list){0};
}

/* The folder came later than the others, so it is made when it is needed. */
static int open_folder(struct repository *r, bool make, int *ret_fd,
                       struct error *err)
{
    int dirfd = repository_dirfd(r);

    if (make && mkdirat(dirfd, LAYOUT_CONDEMNED, FOLDER_MODE) < 0 &&
        errno != EEXIST)
        return fail_errno(err, ERR_IO, "cannot make folder '%s'",
                          LAYOUT_CONDEMNED);
    *ret_fd =
        openat(dirfd, LAYOUT_CONDEMNED, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_fd < 0)
        return fail_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                          "cannot open folder '%s'", LAYOUT_CONDEMNED);
    return make ? path_sync_folder(dirfd, err) : 0;
}

static bool is_array_of_ids(const json_t *array, size_t digits)
{
    size_t i;
    json_t *value;

    if (!json_is_array(array))
        return false;
    json_array_foreach((json_t *)array, i, value)
    {
        const char *id = json_string_value(value);

        if (!id || (digits && !layout_is_id(id, digits)))
            return false;
    }
    return true;
}

int condemned_parse(const void *text, size_t len, struct condemned *ret,
                    struct error *err)
{
    cleanup_json json_t *object = NULL;
    json_t *packs, *holders;
    int rc = json_parse(text, len, &object, err);

    if (rc == ERR_NOMEM)
        return rc;
    packs = json_object_get(object, "packs");
    holders = json_object_get(object, "holders");
    if (rc < 0 || json_path_int(object, "version", 0) != VERSION ||
        !is_array_of_ids(packs, PACK_ID_LEN) ||
        (!is_array_of_ids(holders, 0) && !json_is_null(holders)))
        return fail(err, ERR_CORRUPT, "a list of condemned packs is damaged");
    ret->packs = json_incref(packs);
    ret->holders = json_is_null(holders) ? NULL : json_incref(holders);
    return 0;
}

int condemned_print(const struct condemned *c, struct buf *ret,
                    struct error *err)
{
    cleanup_json json_t *object = NULL;
    int rc = json_build(&object, err, "{s:i, s:I, s:O?, s:O}", "version",
                        VERSION, "time_ns", (json_int_t)clock_realtime_ns(),
                        "holders", c->holders, "packs", c->packs);

    return rc < 0 ? rc : json_print(object, ret, err);
}

struct reading {
    int dirfd;
    struct condemned_list found;
};

static int read_one(void *arg, const char *id, struct error *err)
{
    struct reading *r = arg;
    struct condemned_list *l = &r->found;
    cleanup_buf struct buf text = BUF_INIT;
    struct condemned c = {.packs = NULL};
    struct error why;
    int rc = path_read_file(r->dirfd, id, FILE_MAX, &text, &why);

    if (rc == ERR_NOTFOUND)
        return 0;
    if (rc == 0)
        rc = condemned_parse(text.data, text.len, &c, &why);
    if (rc == ERR_NOMEM || rc == ERR_IO)
        return error_copy(err, &why);
    if (rc < 0) {
        log_debug("%s: %s", id, why.message);
        c.packs = json_array();
    }
    /* Room comes in powers of two, so it is full when n is one. */
    if (!(l->n & (l->n - 1))) {
        void *all = realloc(l->all, (l->n ? l->n * 2 : 1) * sizeof(*l->all));

        if (!all) {
            condemned_release(&c);
            return fail_nomem(err);
        }
        l->all = all;
    }
    memcpy(c.id, id, sizeof(c.id));
    l->all[l->n++] = c;
    return 0;
}

int condemned_list_read(struct repository *r, struct condemned_list *ret,
                        struct error *err)
{
    cleanup_close int dirfd = -1;
    struct reading reading = {.dirfd = -1};
    struct object_folder folder;
    int rc = open_folder(r, false, &dirfd, err);

    *ret = (struct condemned_list){0};
    if (rc == ERR_NOTFOUND)
        return 0;
    if (rc < 0)
        return rc;
    reading.dirfd = dirfd;
    folder = layout_locks(dirfd);
    rc = object_list(&folder, read_one, &reading, err);
    if (rc < 0)
        condemned_list_release(&reading.found);
    *ret = reading.found;
    return rc;
}

int condemned_list_packs(const struct condemned_list *l, struct pack_set *add,
                         struct error *err)
{
    uint8_t bytes[LAYOUT_PACK_ID_BYTES];
    uint32_t number;
    int rc = 0;

    for (size_t i = 0; i < l->n; i++) {
        size_t at;
        json_t *value;

        json_array_foreach(l->all[i].packs, at, value)
        {
            if (rc == 0 &&
                layout_id_bytes(json_string_value(value), bytes, sizeof(bytes)))
                rc = pack_set_add(add, bytes, &number, err);
        }
    }
    return rc;
}

static int write_file(int dirfd, const struct condemned *c, const char *id,
                      struct error *err)
{
    struct object_folder folder = layout_locks(dirfd);
    cleanup(object_file) struct object_file file = OBJECT_FILE_INIT;
    cleanup_buf struct buf text = BUF_INIT;
    int rc = condemned_print(c, &text, err);

    if (rc == 0)
        rc = object_file_create(&folder, &file, err);
    if (rc == 0)
        rc = path_write_at(file.fd, text.data, text.len, 0, err);
    if (rc == 0 && fsync(file.fd) < 0)
        rc = fail_errno(err, ERR_IO, "cannot sync a list of condemned packs");
    return rc < 0 ? rc : object_file_link(&folder, &file, id, err);
}

int condemned_write(struct repository *r, struct condemned *c,
                    struct error *err)
{
    cleanup_close int dirfd = -1;
    char id[LAYOUT_LOCK_ID_LEN + 1];
    int rc = layout_new_id(id, LAYOUT_LOCK_ID_LEN, err);

    if (rc == 0)
        rc = open_folder(r, true, &dirfd, err);
    if (rc == 0)
        rc = write_file(dirfd, c, id, err);
    if (rc == 0 && c->id[0])
        rc = condemned_remove(r, c->id, err);
    if (rc < 0)
        return error_wrap(err, "cannot condemn packs");
    memcpy(c->id, id, sizeof(c->id));
    return 0;
}

int condemned_remove(struct repository *r, const char *id, struct error *err)
{
    cleanup_close int dirfd = -1;
    struct object_folder folder;
    int rc = open_folder(r, false, &dirfd, err);

    if (rc == ERR_NOTFOUND)
        return 0;
    if (rc < 0)
        return rc;
    folder = layout_locks(dirfd);
    rc = object_remove(&folder, id, err);
    return rc == ERR_NOTFOUND ? 0 : rc;
}

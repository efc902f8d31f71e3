/*
 * raw_export.c - page by page, in order, through one reader.
 *
 * A file is written without a name and gets it when it is complete. Names of
 * state files come from the snapshot, and so from somebody's disk: only plain
 * names are used, never a path.
 */
#include "restore/raw_export.h"

#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <sys/stat.h>

#include "core/base/path.h"
#include "storage/lease.h"
#include "storage/snapshot_reader.h"

#define BATCH_PAGES 64u

struct raw_export {
    const struct raw_export_args *args;
    struct snapshot_reader *reader;
    pgno_t n_pages;
    int fd;
    uint8_t batch[BATCH_PAGES * PAGE_BYTES];
};

/* ---- Files with a name at the end ---- */

static int make_file(int folder, int *ret_fd, struct error *err)
{
    *ret_fd = openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*ret_fd < 0)
        return fail_errno(err, ERR_IO, "cannot make an unnamed file");
    return 0;
}

static int name_file(int fd, int folder, const char *name, struct error *err)
{
    int rc;

    if (fsync(fd) < 0)
        return fail_errno(err, ERR_IO, "cannot sync '%s'", name);
    rc = path_link_unnamed(fd, folder, name, err);
    return rc < 0 ? rc : path_sync_folder(folder, err);
}

static int open_folder(const char *path, int *ret_fd, struct error *err)
{
    *ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_fd < 0)
        return fail_errno(err, ERR_INVALID, "cannot open folder '%s'", path);
    return 0;
}

/* ---- Memory ---- */

/* Data pages from `at` on, side by side, into the batch. */
static int read_run(struct raw_export *x, pgno_t at, uint32_t *ret_n,
                    struct error *err)
{
    uint32_t n = 0;

    while (n < BATCH_PAGES && at + n < x->n_pages) {
        const uint8_t *page;
        int rc = snapshot_reader_page(x->reader, 0, at + n, &page, err);

        if (rc < 0)
            return rc;
        if (!page)
            break;
        memcpy(x->batch + (size_t)n * PAGE_BYTES, page, PAGE_BYTES);
        n++;
    }
    *ret_n = n;
    return 0;
}

static int write_stream(int fd, const uint8_t *data, size_t len,
                        struct error *err)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, ERR_IO, "cannot write the memory");
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* What lies between data is a hole in a file, and zeros in a stream. */
static int write_zeros(struct raw_export *x, pgno_t n, struct error *err)
{
    int rc = 0;

    if (x->args->memory)
        return 0;
    memset(x->batch, 0, sizeof(x->batch));
    for (; n > 0 && rc == 0; n -= MIN(n, BATCH_PAGES)) {
        if (stopper_pulled(x->args->stop))
            return stopper_error(x->args->stop, err);
        rc = write_stream(x->fd, x->batch,
                          (size_t)MIN(n, BATCH_PAGES) * PAGE_BYTES, err);
    }
    return rc;
}

static int write_run(struct raw_export *x, pgno_t at, uint32_t n,
                     struct error *err)
{
    size_t len = (size_t)n * PAGE_BYTES;

    if (!x->args->memory)
        return write_stream(x->fd, x->batch, len, err);
    return path_write_at(x->fd, x->batch, len, at * PAGE_BYTES, err);
}

static int copy_memory(struct raw_export *x, struct error *err)
{
    pgno_t at = 0;
    int rc = 0;

    while (at < x->n_pages && rc == 0) {
        pgno_t data;
        uint32_t n = 0;

        if (stopper_pulled(x->args->stop))
            return stopper_error(x->args->stop, err);
        rc = snapshot_reader_next_data(x->reader, 0, at, &data, err);
        if (rc == 0)
            rc = write_zeros(x, data - at, err);
        if (rc == 0 && data < x->n_pages)
            rc = read_run(x, data, &n, err);
        if (rc == 0)
            rc = write_run(x, data, n, err);
        at = data + n;
        if (x->args->progress)
            x->args->progress(x->args->arg, at * PAGE_BYTES,
                              x->n_pages * PAGE_BYTES);
    }
    return rc;
}

static int export_file(struct raw_export *x, struct error *err)
{
    cleanup_free char *folder_copy = strdup(x->args->memory);
    cleanup_free char *name_copy = strdup(x->args->memory);
    cleanup_close int folder = -1;
    cleanup_close int fd = -1;
    const char *name;
    struct stat st;
    int rc;

    if (!folder_copy || !name_copy)
        return fail_nomem(err);
    name = basename(name_copy);
    rc = open_folder(dirname(folder_copy), &folder, err);
    if (rc < 0)
        return rc;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return fail(err, ERR_EXISTS, "'%s' is there already", x->args->memory);
    rc = make_file(folder, &fd, err);
    x->fd = fd;
    if (rc == 0 && ftruncate(fd, (off_t)(x->n_pages * PAGE_BYTES)) < 0)
        rc = fail_errno(err, ERR_IO, "'%s' cannot be made so large",
                        x->args->memory);
    if (rc == 0)
        rc = copy_memory(x, err);
    return rc < 0 ? rc : name_file(fd, folder, name, err);
}

/* ---- State files ---- */

static bool is_plain_name(const char *name)
{
    return name[0] && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           !strchr(name, '/');
}

static int export_state(const struct device_state *d,
                        const struct device_section *s, int folder,
                        struct error *err)
{
    cleanup_close int fd = -1;
    int rc;

    if (!is_plain_name(s->name))
        return fail(err, ERR_CORRUPT, "'%s' is no name of a state file",
                    s->name);
    if (s->offset > d->tail.len || s->bytes > d->tail.len - s->offset)
        return fail(err, ERR_CORRUPT, "state file '%s' is not in the snapshot",
                    s->name);
    rc = make_file(folder, &fd, err);
    if (rc == 0)
        rc = path_write_at(fd, d->tail.data + s->offset, s->bytes, 0, err);
    if (rc == 0)
        rc = name_file(fd, folder, s->name, err);
    return rc < 0 ? error_wrap(err, "state file '%s'", s->name) : 0;
}

static int export_states(struct raw_export *x, struct error *err)
{
    const struct device_state *d = snapshot_reader_devices(x->reader);
    cleanup_close int folder = -1;
    int rc;

    if (mkdir(x->args->state_folder, 0700) < 0 && errno != EEXIST)
        return fail_errno(err, ERR_IO, "cannot make folder '%s'",
                          x->args->state_folder);
    rc = open_folder(x->args->state_folder, &folder, err);
    for (size_t i = 0; i < d->n_sections && rc == 0; i++)
        rc = export_state(d, &d->sections[i], folder, err);
    return rc;
}

static int check_snapshot(struct raw_export *x, struct error *err)
{
    const struct ramblock_list *blocks = snapshot_reader_blocks(x->reader);

    if (blocks->n != 1 || blocks->blocks[0].left_out) {
        fail(err, ERR_INCOMPATIBLE,
             "snapshot '%s' has %u RAM blocks, and no flat image", x->args->id,
             blocks->n);
        return error_hint(err, "the format 'raw' is for what "
                               "'firn import --format raw' took in");
    }
    x->n_pages = ramblock_pages(&blocks->blocks[0]);
    return 0;
}

int raw_export_run(const struct raw_export_args *args, struct error *err)
{
    struct raw_export *x = calloc(1, sizeof(*x));
    cleanup(lease) struct lease *lease = NULL;
    int rc;

    if (!x)
        return fail_nomem(err);
    x->args = args;
    x->fd = args->stdout_fd;
    /* Its packs stay until the end, whatever is forgotten and pruned. */
    rc = lease_acquire(args->repository, "read", NULL, &lease, err);
    if (rc == 0)
        rc = snapshot_reader_open(args->repository, args->id, &x->reader, err);
    if (rc == 0)
        rc = check_snapshot(x, err);
    if (rc == 0 && args->state_folder)
        rc = export_states(x, err);
    if (rc == 0)
        rc = args->memory ? export_file(x, err) : copy_memory(x, err);
    snapshot_reader_close(x->reader);
    free(x);
    return rc;
}

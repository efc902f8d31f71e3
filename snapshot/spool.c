#include "snapshot/spool.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/statvfs.h>

/* Until 9.0 only a deposited descriptor ("fd:NAME") can be a file; later ones
 * warn about it and want a descriptor set. */
#define QEMU_HAS_FDSET QEMU_VERSION(9, 1)

#define FD_NAME "firn-spool"

/* A page's record: word, name of the block (when it is another one than
 * before), the page. Names are short; a stream in which blocks alternate with
 * each page does not exist. */
#define PAGE_RECORD_BYTES (PAGE_BYTES + 8u + 16u)

/* Device state of the largest machines is some MiB. */
#define REST_BYTES (UINT64_C(32) << 20)

uint64_t spool_worst_case_bytes(const json_t *ramblocks)
{
    uint64_t pages = 0;
    const json_t *b;
    size_t i;

    json_array_foreach(ramblocks, i, b)
    {
        int64_t used = json_path_int(b, "used_bytes", 0);

        if (used > 0)
            pages += (uint64_t)used / PAGE_BYTES;
    }
    return pages * PAGE_RECORD_BYTES + REST_BYTES;
}

/* A file system without reservations: at least the room must be there now. */
static int check_room(struct spool *s, struct error *err)
{
    struct statvfs st;

    if (fstatvfs(s->fd, &st) < 0)
        return fail_errno(err, ERR_IO, "cannot ask for the free space");
    if ((uint64_t)st.f_bavail * st.f_frsize >= s->reserved_bytes)
        return 0;
    errno = ENOSPC;
    return fail_errno(err, ERR_NOSPC, "not enough room");
}

int spool_reserve(struct spool *s, struct error *err)
{
    int rc = 0;

    do {
        if (fallocate(s->fd, FALLOC_FL_KEEP_SIZE, 0,
                      (off_t)s->reserved_bytes) == 0)
            return 0;
    } while (errno == EINTR);

    if (errno == EOPNOTSUPP)
        rc = check_room(s, err);
    else
        rc = fail_errno(err, ERR_IO, "cannot reserve it");
    if (rc < 0) {
        error_wrap(err,
                   "mode background needs %" PRIu64
                   " MiB for a while on the repository's file system",
                   s->reserved_bytes >> 20);
        error_hint(err, "pause the VM and use --mode stream, which needs less");
    }
    return rc;
}

int spool_open(struct spool *s, struct repository *repository,
               uint64_t worst_case_bytes, struct error *err)
{
    int rc;

    *s = SPOOL_INIT;
    rc = repository_unnamed_file(repository, &s->fd, err);
    if (rc < 0)
        return rc;
    s->reserved_bytes = worst_case_bytes;
    rc = spool_reserve(s, err);
    if (rc < 0)
        spool_close(s);
    return rc;
}

/* QEMU takes from a set the descriptor with exactly the access it wants. */
static int open_for_writing(const struct spool *s, int *ret_fd,
                            struct error *err)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", s->fd);
    *ret_fd = open(path, O_WRONLY | O_CLOEXEC);
    if (*ret_fd < 0)
        return fail_errno(err, ERR_IO, "cannot open the spool for writing");
    return 0;
}

static int hand_over_set(struct spool *s, struct qemu_source *source,
                         struct error *err)
{
    cleanup_close int fd = -1;
    cleanup_json json_t *answer = NULL;
    int rc = open_for_writing(s, &fd, err);

    if (rc == 0)
        rc = qmp_execute_with_fd(source->qmp, "add-fd", NULL, fd, &answer, err);
    if (rc < 0)
        return rc;
    s->fdset = (int)json_path_int(answer, "fdset-id", -1);
    snprintf(s->uri, sizeof(s->uri), "file:/dev/fdset/%d", s->fdset);
    return 0;
}

int spool_hand_over(struct spool *s, struct qemu_source *source,
                    struct error *err)
{
    if (source->version >= QEMU_HAS_FDSET)
        return hand_over_set(s, source, err);
    snprintf(s->uri, sizeof(s->uri), "fd:%s", FD_NAME);
    return qmp_send_fd(source->qmp, FD_NAME, s->fd, err);
}

void spool_take_back(struct spool *s, struct qemu_source *source)
{
    struct error ignored = ERROR_INIT;
    json_t *args = NULL;

    if (s->fdset < 0)
        return;
    if (json_build(&args, &ignored, "{s:i}", "fdset-id", s->fdset) < 0 ||
        qmp_execute(source->qmp, "remove-fd", args, NULL, &ignored) < 0) {
        /* QEMU drops it itself when our connection ends. */
    }
    s->fdset = -1;
}

void spool_close(struct spool *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

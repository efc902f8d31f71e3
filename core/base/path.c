/*
 * path.c - reads and writes that finish, and names that appear at once.
 *
 * The kernel may take or give less than was asked for, and signals interrupt:
 * each loop here goes on until all is done or nothing can be. A file becomes
 * visible only when it is whole: it is written without a name (O_TMPFILE),
 * synced, and linked; a crash before the link leaves nothing to clean up.
 */
#include "core/base/path.h"

#include <fcntl.h>
#include <sys/stat.h>

int path_join(const char *folder, const char *name, char **ret,
              struct error *err)
{
    char *joined;

    if (asprintf(&joined, "%s/%s", folder, name) < 0)
        return fail_nomem(err);
    *ret = joined;
    return 0;
}

int path_read_file(int dirfd, const char *name, size_t max, struct buf *ret,
                   struct error *err)
{
    cleanup_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return fail_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                          "cannot open '%s'", name);
    for (;;) {
        ssize_t n;
        int rc = buf_reserve(ret, 64 << 10, err);

        if (rc < 0)
            return rc;
        n = read(fd, ret->data + ret->len, 64 << 10);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, ERR_IO, "cannot read '%s'", name);
        if (n == 0)
            return 0;
        ret->len += (size_t)n;
        if (ret->len > max)
            return fail(err, ERR_INVALID, "'%s' is longer than %zu bytes", name,
                        max);
    }
}

int path_write_at(int fd, const void *data, size_t len, uint64_t offset,
                  struct error *err)
{
    const uint8_t *p = data;

    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, ERR_IO, "cannot write at offset %llu",
                              (unsigned long long)offset);
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int path_read_at(int fd, void *data, size_t len, uint64_t offset,
                 struct error *err)
{
    uint8_t *p = data;

    while (len > 0) {
        ssize_t n = pread(fd, p, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, ERR_IO, "cannot read at offset %llu",
                              (unsigned long long)offset);
        if (n == 0)
            return fail(err, ERR_CORRUPT,
                        "file ends at offset %llu, %zu bytes too early",
                        (unsigned long long)offset, len);
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int path_sync_folder(int dirfd, struct error *err)
{
    if (fsync(dirfd) < 0)
        return fail_errno(err, ERR_IO, "cannot sync a folder");
    return 0;
}

int path_link_unnamed(int fd, int dirfd, const char *name, struct error *err)
{
    char self[64];

    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, self, dirfd, name, AT_SYMLINK_FOLLOW) < 0)
        return fail_errno(err, errno == EEXIST ? ERR_EXISTS : ERR_IO,
                          "cannot put '%s' in place", name);
    return 0;
}

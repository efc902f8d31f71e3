/*
 * lock_file.c - the file may go away between open and flock: then what was
 * locked is no longer what the name stands for, and it is done again.
 */
#include "core/host/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

static bool is_at(int fd, const char *path)
{
    struct stat ours, there;

    return fstat(fd, &ours) == 0 && stat(path, &there) == 0 &&
           ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

static int fail_locked(int fd, struct error *err)
{
    char text[16] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? strcspn(text, "\n") : 0] = '\0';
    return fail(err, ERR_LOCKED, "process %s is working on it",
                text[0] ? text : "(unknown)");
}

/* 0 with *ret_fd -1: the file went away, try again. */
static int try_once(const char *path, int *ret_fd, struct error *err)
{
    cleanup_close int fd =
        open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return fail_errno(err, ERR_IO, "cannot open the lock '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return fail_locked(fd, err);
    if (is_at(fd, path))
        *ret_fd = steal_fd(&fd);
    return 0;
}

int lock_file_take(const char *path, struct lock_file *ret, struct error *err)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%d\n", getpid());
    int rc = 0;

    *ret = LOCK_FILE_NONE;
    while (rc == 0 && ret->fd < 0)
        rc = try_once(path, &ret->fd, err);
    if (rc < 0)
        return rc;
    ret->path = strdup(path);
    if (ret->path && ftruncate(ret->fd, 0) == 0 &&
        pwrite(ret->fd, text, (size_t)len, 0) == len)
        return 0;
    rc = ret->path ? fail_errno(err, ERR_IO, "cannot write '%s'", path)
                   : fail_nomem(err);
    lock_file_release(ret);
    return rc;
}

void lock_file_release(struct lock_file *l)
{
    /* While it is ours: nobody else's can have the name. */
    if (l->path)
        unlink(l->path);
    if (l->fd >= 0)
        close(l->fd);
    free(l->path);
    *l = LOCK_FILE_NONE;
}

/*
 * object_folder.c - unnamed until complete, then linked in place.
 *
 * An unnamed file (O_TMPFILE) vanishes with its last descriptor: a process
 * killed at any instant leaves nothing. Where the file system has no such
 * files (NFS, some FUSE) a hidden name `.tmp-…` stands in. Its writer holds an
 * flock on it for as long as it lives, so whoever gets that lock knows that
 * the writer is dead and may remove the name, without looking at any clock.
 */
#include "storage/objects/object_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#define LOG_AREA "object"
#include "core/base/log.h"
#include "core/base/path.h"

#define TEMPORARY_PREFIX ".tmp-"
#define FAN_OUT_DIGITS   2u
#define FOLDER_MODE      0700
#define FILE_MODE        0600

/* "ab/" and the id. */
struct object_path {
    char text[FAN_OUT_DIGITS + 1 + OBJECT_ID_MAX + 1];
};

static bool is_hex(const char *text, size_t len)
{
    return strspn(text, "0123456789abcdef") == len && text[len] == '\0';
}

int object_id_check(const char *id, unsigned len, struct error *err)
{
    if (len > OBJECT_ID_MAX || !is_hex(id, len))
        return fail(err, ERR_INVALID, "'%.*s' is no id of %u hex digits",
                    (int)OBJECT_ID_MAX, id, len);
    return 0;
}

static int build_path(const struct object_folder *folder, const char *id,
                      struct object_path *ret, struct error *err)
{
    int rc = object_id_check(id, folder->id_len, err);

    if (rc < 0)
        return rc;
    if (folder->fan_out)
        snprintf(ret->text, sizeof(ret->text), "%.*s/%s", (int)FAN_OUT_DIGITS,
                 id, id);
    else
        snprintf(ret->text, sizeof(ret->text), "%s", id);
    return 0;
}

static int open_hidden(const struct object_folder *folder,
                       struct object_file *ret, struct error *err)
{
    struct object_file f;
    struct stat st;
    uint64_t random[2];

    for (;;) {
        f = (struct object_file){.dirfd = folder->dirfd};
        if (getrandom(random, sizeof(random), 0) != sizeof(random))
            return fail_errno(err, ERR_IO, "no random numbers");
        snprintf(f.temporary, sizeof(f.temporary),
                 TEMPORARY_PREFIX "%016llx%016llx",
                 (unsigned long long)random[0], (unsigned long long)random[1]);
        f.fd = openat(f.dirfd, f.temporary,
                      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
        if (f.fd < 0)
            return fail_errno(err, ERR_IO, "cannot make a file");
        /* No locks here at all: then no sweeper gets one either. */
        if (flock(f.fd, LOCK_EX | LOCK_NB) < 0 && errno != EWOULDBLOCK)
            break;
        /* A sweeper may have come between open and lock; then once more. */
        if (fstat(f.fd, &st) == 0 && st.st_nlink > 0)
            break;
        object_file_release(&f);
    }
    *ret = f;
    return 0;
}

static bool means_no_unnamed_files(int sys_errno)
{
    /* EISDIR: kernels and file systems that never heard of O_TMPFILE. */
    return sys_errno == EOPNOTSUPP || sys_errno == EISDIR ||
           sys_errno == ENOENT || sys_errno == EINVAL;
}

int object_file_create(const struct object_folder *folder,
                       struct object_file *ret, struct error *err)
{
    struct object_file f = OBJECT_FILE_INIT;

    if (folder->no_unnamed)
        return open_hidden(folder, ret, err);
    f.fd =
        openat(folder->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, FILE_MODE);
    if (f.fd < 0 && means_no_unnamed_files(errno))
        return open_hidden(folder, ret, err);
    if (f.fd < 0)
        return fail_errno(err, ERR_IO, "cannot make an unnamed file");
    *ret = f;
    return 0;
}

void object_file_release(struct object_file *f)
{
    if (f->temporary[0] && unlinkat(f->dirfd, f->temporary, 0) < 0)
        log_debug("'%s' stays behind: %s", f->temporary, strerror(errno));
    if (f->fd >= 0)
        close(f->fd);
    *f = OBJECT_FILE_INIT;
}

static int open_folder(int dirfd, const char *name, int *ret_fd,
                       struct error *err)
{
    *ret_fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_fd < 0)
        return fail_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                          "cannot open folder '%s'", name);
    return 0;
}

/* The folder in which an id lies, by a descriptor of its own. */
static int open_home(const struct object_folder *folder, const char *id,
                     bool create, int *ret_fd, struct error *err)
{
    char name[FAN_OUT_DIGITS + 1] = ".";

    if (folder->fan_out)
        snprintf(name, sizeof(name), "%.*s", (int)FAN_OUT_DIGITS, id);
    if (folder->fan_out && create &&
        mkdirat(folder->dirfd, name, FOLDER_MODE) < 0 && errno != EEXIST)
        return fail_errno(err, ERR_IO, "cannot make folder '%s'", name);
    return open_folder(folder->dirfd, name, ret_fd, err);
}

static int link_hidden(struct object_file *f, int home, const char *id,
                       struct error *err)
{
    if (linkat(f->dirfd, f->temporary, home, id, 0) < 0)
        return fail_errno(err, errno == EEXIST ? ERR_EXISTS : ERR_IO,
                          "cannot put '%s' in place", id);
    if (unlinkat(f->dirfd, f->temporary, 0) < 0)
        log_debug("'%s' stays behind: %s", f->temporary, strerror(errno));
    f->temporary[0] = '\0';
    return 0;
}

int object_file_link(const struct object_folder *folder, struct object_file *f,
                     const char *id, struct error *err)
{
    cleanup_close int home = -1;
    int rc = object_id_check(id, folder->id_len, err);

    if (rc < 0)
        return rc;
    rc = open_home(folder, id, true, &home, err);
    if (rc < 0)
        return rc;
    rc = f->temporary[0] ? link_hidden(f, home, id, err)
                         : path_link_unnamed(f->fd, home, id, err);
    if (rc < 0)
        return rc;
    rc = path_sync_folder(home, err);
    /* Also when `ab` was there before: who made it may have crashed before
     * its own sync, and our file would go with it. */
    if (rc == 0 && folder->fan_out)
        rc = path_sync_folder(folder->dirfd, err);
    if (rc < 0)
        unlinkat(home, id, 0);
    return rc;
}

int object_file_exchange(const struct object_folder *folder,
                         struct object_file *f, const char *id,
                         struct error *err)
{
    struct object_path path;
    int rc = build_path(folder, id, &path, err);

    if (rc < 0)
        return rc;
    if (renameat2(f->dirfd, f->temporary, folder->dirfd, path.text,
                  RENAME_EXCHANGE) < 0)
        return fail_errno(err,
                          errno == ENOENT                      ? ERR_NOTFOUND
                          : errno == EINVAL || errno == ENOSYS ? ERR_UNSUPPORTED
                                                               : ERR_IO,
                          "cannot replace object '%s'", path.text);
    /* Not fan-out: both names are in the one folder. */
    return path_sync_folder(folder->dirfd, err);
}

int object_open(const struct object_folder *folder, const char *id, int *ret_fd,
                struct error *err)
{
    struct object_path path;
    int fd;
    int rc = build_path(folder, id, &path, err);

    if (rc < 0)
        return rc;
    /* NOFOLLOW, NONBLOCK: what is no plain file must not hang the opening. */
    fd = openat(folder->dirfd, path.text,
                O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                          "cannot open object '%s'", path.text);
    *ret_fd = fd;
    return 0;
}

int object_remove(const struct object_folder *folder, const char *id,
                  struct error *err)
{
    cleanup_close int home = -1;
    int rc = object_id_check(id, folder->id_len, err);

    if (rc < 0)
        return rc;
    rc = open_home(folder, id, false, &home, err);
    if (rc < 0)
        return rc;
    if (unlinkat(home, id, 0) < 0)
        return fail_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                          "cannot remove object '%s'", id);
    return path_sync_folder(home, err);
}

/* Calls `visit` with each name in a folder; takes `fd` over. */
static int walk(int fd,
                int (*visit)(void *arg, int dirfd, const char *name,
                             struct error *err),
                void *arg, struct error *err)
{
    DIR *dir = fdopendir(fd);
    int rc = 0;

    if (!dir) {
        rc = fail_errno(err, ERR_IO, "cannot read a folder");
        close(fd);
        return rc;
    }
    while (rc >= 0) {
        struct dirent *entry;

        errno = 0;
        entry = readdir(dir);
        if (!entry) {
            if (errno)
                rc = fail_errno(err, ERR_IO, "cannot read a folder");
            break;
        }
        rc = visit(arg, fd, entry->d_name, err);
    }
    closedir(dir);
    return MIN(rc, 0);
}

struct listing {
    const struct object_folder *folder;
    const char *prefix; /* the fan-out folder being read, or "" */
    int (*visit)(void *arg, const char *id, struct error *err);
    void *arg;
};

static int list_object(void *arg, int dirfd, const char *name,
                       struct error *err)
{
    const struct listing *l = arg;

    if (!is_hex(name, l->folder->id_len) ||
        strncmp(name, l->prefix, strlen(l->prefix)) != 0)
        return 0;
    return l->visit(l->arg, name, err);
}

static int list_fan_out(void *arg, int dirfd, const char *name,
                        struct error *err)
{
    struct listing l = *(const struct listing *)arg;
    struct error why = ERROR_INIT;
    int fd;

    if (!is_hex(name, FAN_OUT_DIGITS))
        return 0;
    if (open_folder(dirfd, name, &fd, &why) < 0) {
        /* A plain file, or removed since: no object is in there. */
        if (why.sys_errno == ENOTDIR || why.sys_errno == ENOENT)
            return 0;
        return error_copy(err, &why);
    }
    l.prefix = name;
    return walk(fd, list_object, &l, err);
}

/* The folder once more, so that each walk has a position of its own. */
static int walk_top(const struct object_folder *folder,
                    int (*visit)(void *arg, int dirfd, const char *name,
                                 struct error *err),
                    void *arg, struct error *err)
{
    int fd;
    int rc = open_folder(folder->dirfd, ".", &fd, err);

    return rc < 0 ? rc : walk(fd, visit, arg, err);
}

int object_list(const struct object_folder *folder,
                int (*visit)(void *arg, const char *id, struct error *err),
                void *arg, struct error *err)
{
    struct listing l = {
        .folder = folder, .prefix = "", .visit = visit, .arg = arg};

    return walk_top(folder, folder->fan_out ? list_fan_out : list_object, &l,
                    err);
}

static int sweep_one(void *arg, int dirfd, const char *name, struct error *err)
{
    unsigned *removed = arg;
    cleanup_close int fd = -1;

    if (strncmp(name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)) != 0)
        return 0;
    fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return 0;
    if (unlinkat(dirfd, name, 0) == 0) {
        log_debug("removed '%s' of a dead writer", name);
        (*removed)++;
    }
    return 0;
}

int object_sweep(const struct object_folder *folder, unsigned *ret_removed,
                 struct error *err)
{
    unsigned removed = 0;
    int rc = walk_top(folder, sweep_one, &removed, err);

    if (rc == 0)
        *ret_removed = removed;
    return rc;
}

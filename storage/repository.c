/*
 * repository.c - a folder becomes a repository when `config` is linked in.
 *
 * That is the last step of create(), so there is never half a repository: a
 * folder without `config` is none. What a killed create() may leave is empty
 * folders with our names; the next create() takes them over.
 */
#include "storage/repository.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#define LOG_AREA "repository"
#include "core/base/log.h"
#include "core/base/path.h"
#include "storage/layout.h"
#include "storage/lease.h"
#include "storage/repository_inside.h"

#define FOLDER_MODE 0700

/* In the order of enum folder. Hints are written by restores, made here. */
static const char *const folder_names[] = {
    LAYOUT_PACKS,
    LAYOUT_SNAPSHOTS,
    LAYOUT_LOCKS,
    LAYOUT_HINTS,
};

enum folder { PACKS = 0, SNAPSHOTS, LOCKS, HINTS, FOLDER__COUNT };

static_assert(ARRAY_LEN(folder_names) == FOLDER__COUNT, "a name a folder");

struct repository {
    char *path;
    int dirfd;
    int folders[FOLDER__COUNT]; /* HINTS may be -1 */
    struct repository_config config;
};

/* What a folder may hold and still be taken: leftovers of a killed create(),
 * and what a fresh file system brings. */
static bool is_no_obstacle(const char *name)
{
    if (strcmp(name, "lost+found") == 0)
        return true;
    for (size_t i = 0; i < FOLDER__COUNT; i++) {
        if (strcmp(name, folder_names[i]) == 0)
            return true;
    }
    return false;
}

static int open_folder(int dirfd, const char *name, int *ret_fd,
                       struct error *err)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return fail_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                          "cannot open folder '%s'", name);
    *ret_fd = fd;
    return 0;
}

/* Empty, or holding only names for which `allowed` says so; NULL: none. */
static int check_empty(int dirfd, const char *name,
                       bool (*allowed)(const char *name), struct error *err)
{
    int fd, rc = open_folder(dirfd, name, &fd, err);
    struct dirent *entry;
    DIR *dir;

    if (rc < 0)
        return rc;
    dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return fail_nomem(err);
    }
    while (rc == 0 && (entry = readdir(dir))) {
        const char *n = entry->d_name;

        if (strcmp(n, ".") != 0 && strcmp(n, "..") != 0 &&
            !(allowed && allowed(n)))
            rc = fail(err, ERR_EXISTS, "'%s' is there already", n);
    }
    closedir(dir);
    return rc;
}

static int check_takeable(int dirfd, struct error *err)
{
    struct stat st;
    int rc = 0;

    if (fstatat(dirfd, LAYOUT_CONFIG, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return fail(err, ERR_EXISTS, "there is a repository already");
    rc = check_empty(dirfd, ".", is_no_obstacle, err);
    for (size_t i = 0; rc == 0 && i < FOLDER__COUNT; i++) {
        rc = check_empty(dirfd, folder_names[i], NULL, err);
        if (rc == ERR_NOTFOUND)
            rc = 0;
    }
    return rc;
}

static int write_config(int dirfd, struct error *err)
{
    struct repository_config config;
    cleanup_buf struct buf text = BUF_INIT;
    struct object_folder folder = {.dirfd = dirfd, .id_len = 4};
    cleanup(object_file) struct object_file file = OBJECT_FILE_INIT;
    int rc = repository_config_make(&config, err);

    if (rc == 0)
        rc = repository_config_print(&config, &text, err);
    explicit_bzero(&config, sizeof(config));
    if (rc == 0)
        rc = object_file_create(&folder, &file, err);
    if (rc == 0)
        rc = path_write_at(file.fd, text.data, text.len, 0, err);
    if (rc == 0 && fsync(file.fd) < 0)
        rc = fail_errno(err, ERR_IO, "cannot sync 'config'");
    if (rc == 0)
        rc = path_link_unnamed(file.fd, dirfd, LAYOUT_CONFIG, err);
    if (rc == 0)
        rc = path_sync_folder(dirfd, err);
    return rc;
}

static int make_folders(int dirfd, struct error *err)
{
    for (size_t i = 0; i < FOLDER__COUNT; i++) {
        const char *name = folder_names[i];

        if (mkdirat(dirfd, name, FOLDER_MODE) < 0 && errno != EEXIST)
            return fail_errno(err, ERR_IO, "cannot make folder '%s'", name);
        if (fchmodat(dirfd, name, FOLDER_MODE, 0) < 0)
            return fail_errno(err, ERR_IO, "cannot close folder '%s' to others",
                              name);
    }
    return 0;
}

/* So that the folder itself survives a crash. */
static int sync_parent(int dirfd, struct error *err)
{
    cleanup_close int parent = -1;
    int rc = open_folder(dirfd, "..", &parent, err);

    return rc < 0 ? rc : path_sync_folder(parent, err);
}

static int fill_folder(const char *path, struct error *err)
{
    cleanup_close int dirfd = -1;
    int rc = open_folder(AT_FDCWD, path, &dirfd, err);

    if (rc == 0)
        rc = check_takeable(dirfd, err);
    if (rc < 0)
        return rc;
    if (fchmod(dirfd, FOLDER_MODE) < 0)
        return fail_errno(err, ERR_IO, "cannot close it to others");
    rc = make_folders(dirfd, err);
    if (rc == 0)
        rc = sync_parent(dirfd, err);
    if (rc == 0)
        rc = write_config(dirfd, err);
    if (rc == 0)
        return 0;
    unlinkat(dirfd, LAYOUT_CONFIG, 0);
    for (size_t i = 0; i < FOLDER__COUNT; i++)
        unlinkat(dirfd, folder_names[i], AT_REMOVEDIR);
    return rc;
}

int repository_create(const char *path, struct error *err)
{
    bool made = mkdir(path, FOLDER_MODE) == 0;
    int rc;

    if (!made && errno != EEXIST)
        return fail_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                          "cannot make folder '%s'", path);
    rc = fill_folder(path, err);
    if (rc < 0 && made)
        rmdir(path);
    if (rc == ERR_EXISTS)
        error_hint(err, "give a new or an empty folder");
    return rc < 0 ? error_wrap(err, "cannot make a repository of '%s'", path)
                  : 0;
}

static int read_config(int dirfd, struct repository_config *ret,
                       struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    int rc = path_read_file(dirfd, LAYOUT_CONFIG, REPOSITORY_CONFIG_MAX_BYTES,
                            &text, err);

    if (rc == ERR_NOTFOUND)
        return fail(err, ERR_NOREPO, "it has no file 'config'");
    if (rc == ERR_INVALID)
        return fail(err, ERR_CORRUPT, "'config' is damaged: it is too long");
    if (rc == 0)
        rc = repository_config_parse(text.data, text.len, ret, err);
    if (text.data)
        explicit_bzero(text.data, text.cap);
    return rc;
}

static int open_parts(struct repository *r, struct error *err)
{
    int rc = open_folder(AT_FDCWD, r->path, &r->dirfd, err);

    if (rc == ERR_NOTFOUND || (rc < 0 && err->sys_errno == ENOTDIR))
        return fail(err, ERR_NOREPO, "there is no such folder");
    if (rc == 0)
        rc = read_config(r->dirfd, &r->config, err);
    for (size_t i = 0; rc == 0 && i < FOLDER__COUNT; i++) {
        rc = open_folder(r->dirfd, folder_names[i], &r->folders[i], err);
        if (rc == ERR_NOTFOUND && i == HINTS)
            rc = 0;
        else if (rc == ERR_NOTFOUND)
            rc = fail(err, ERR_CORRUPT, "the folder '%s' is missing",
                      folder_names[i]);
    }
    return rc;
}

/* What dead processes left. A repository that cannot be written is opened all
 * the same. */
static void clean_up(struct repository *r)
{
    struct object_folder folders[] = {
        layout_packs(r->folders[PACKS]),
        layout_snapshots(r->folders[SNAPSHOTS]),
        layout_locks(r->folders[LOCKS]),
    };
    struct error why = ERROR_INIT;
    unsigned swept;
    size_t reaped;

    if (lease_reap(r, &reaped, &why) < 0)
        log_debug("not reaped: %s", why.message);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        if (object_sweep(&folders[i], &swept, &why) < 0)
            log_debug("not swept: %s", why.message);
    }
}

int repository_open(const char *path, struct repository **ret,
                    struct error *err)
{
    cleanup(repository) struct repository *r = calloc(1, sizeof(*r));
    int rc;

    if (!r)
        return fail_nomem(err);
    r->dirfd = -1;
    for (size_t i = 0; i < FOLDER__COUNT; i++)
        r->folders[i] = -1;
    r->path = strdup(path);
    if (!r->path)
        return fail_nomem(err);
    rc = open_parts(r, err);
    if (rc == ERR_NOREPO)
        error_hint(err, "make one with 'firn init %s'", path);
    if (rc < 0)
        return error_wrap(err, "cannot open repository '%s'", path);
    clean_up(r);
    *ret = steal_ptr(&r);
    return 0;
}

void repository_close(struct repository *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < FOLDER__COUNT; i++) {
        if (r->folders[i] >= 0)
            close(r->folders[i]);
    }
    if (r->dirfd >= 0)
        close(r->dirfd);
    free(r->path);
    explicit_bzero(&r->config, sizeof(r->config));
    free(r);
}

const char *repository_path(const struct repository *r)
{
    return r->path;
}

const char *repository_id(const struct repository *r)
{
    return r->config.id;
}

int repository_unnamed_file(struct repository *r, int *ret_fd,
                            struct error *err)
{
    /* In packs/, where a sweep finds it if it had to have a name. */
    struct object_folder folder = layout_packs(r->folders[PACKS]);
    cleanup(object_file) struct object_file file = OBJECT_FILE_INIT;
    int rc = object_file_create(&folder, &file, err);

    if (rc < 0)
        return rc;
    /* Releasing the object takes the name away, where it has one. */
    *ret_fd = steal_fd(&file.fd);
    return 0;
}

int repository_dirfd(const struct repository *r)
{
    return r->dirfd;
}

int repository_packs_dirfd(const struct repository *r)
{
    return r->folders[PACKS];
}

int repository_snapshots_dirfd(const struct repository *r)
{
    return r->folders[SNAPSHOTS];
}

int repository_locks_dirfd(const struct repository *r)
{
    return r->folders[LOCKS];
}

const struct hash_key *repository_write_key(const struct repository *r)
{
    return repository_key(r, r->config.hash_key_id);
}

const struct hash_key *repository_key(const struct repository *r, uint32_t id)
{
    return repository_config_key(&r->config, id);
}

uint32_t repository_frame_bytes(const struct repository *r)
{
    return r->config.frame_bytes;
}

int repository_check_config(const struct repository *r, struct error *err)
{
    struct repository_config config;
    int rc = read_config(r->dirfd, &config, err);

    if (rc == 0)
        explicit_bzero(&config, sizeof(config));
    return rc;
}

void snapshot_summary_release(struct snapshot_summary *s)
{
    json_decref(s->tags);
    s->tags = NULL;
}

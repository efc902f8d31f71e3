/*
 * temp_folder.h - a folder for one test, removed with all that is in it.
 *
 * Header only; asserts by cmocka, whose headers come first.
 */
#ifndef FIRN_TESTS_FAKES_TEMP_FOLDER_H
#define FIRN_TESTS_FAKES_TEMP_FOLDER_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/error.h"

struct temp_folder {
    char path[128];
    int fd;
    bool mounted;
};

static inline UNUSED int temp_folder_remove_one(const char *path,
                                                const struct stat *st, int kind,
                                                struct FTW *ftw)
{
    return remove(path);
}

static inline UNUSED void temp_folder_init(struct temp_folder *t)
{
    const char *base = getenv("TMPDIR");

    *t = (struct temp_folder){0};
    snprintf(t->path, sizeof(t->path), "%s/firn-test-XXXXXX",
             base ? base : "/tmp");
    assert_non_null(mkdtemp(t->path));
    t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(t->fd >= 0);
}

/* A tmpfs of its own that holds `bytes`; false where that is not allowed. */
static inline UNUSED NODISCARD bool temp_folder_mount(struct temp_folder *t,
                                                      size_t bytes)
{
    char options[64];

    snprintf(options, sizeof(options), "size=%zu,mode=0700", bytes);
    if (mount("none", t->path, "tmpfs", 0, options) < 0)
        return false;
    close(t->fd);
    t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(t->fd >= 0);
    t->mounted = true;
    return true;
}

static inline UNUSED void temp_folder_release(struct temp_folder *t)
{
    close(t->fd);
    if (t->mounted)
        assert_int_equal(umount(t->path), 0);
    nftw(t->path, temp_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline UNUSED unsigned temp_folder_count_in(int dirfd)
{
    DIR *dir = fdopendir(dirfd);
    struct dirent *entry;
    unsigned n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (entry->d_type == DT_DIR)
            n += temp_folder_count_in(
                openat(dirfd, entry->d_name, O_RDONLY | O_DIRECTORY));
        else
            n++;
    }
    closedir(dir);
    return n;
}

/* Files below the folder, hidden ones too, folders not. */
static inline UNUSED unsigned temp_folder_count(const struct temp_folder *t)
{
    return temp_folder_count_in(openat(t->fd, ".", O_RDONLY | O_DIRECTORY));
}

#endif

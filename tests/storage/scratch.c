#include "tests/storage/scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "core/base/path.h"

#define CHECK(condition)        \
    do {                        \
        if (!(condition)) {     \
            perror(#condition); \
            abort();            \
        }                       \
    } while (0)

void scratch_make(struct scratch *s)
{
    const char *root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    snprintf(s->path, sizeof(s->path), "%s/firn-test-XXXXXX", root);
    CHECK(mkdtemp(s->path));
    snprintf(s->repo, sizeof(s->repo), "%s/repo", s->path);
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

void scratch_remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void scratch_remove(struct scratch *s)
{
    scratch_remove_tree(s->path);
}

/* nftw() gives its callback no argument. */
static _Thread_local struct scratch_files *listing;
static _Thread_local size_t listing_root;

static int list_one(const char *path, const struct stat *st, int type,
                    struct FTW *ftw)
{
    void *names;

    if (type == FTW_D || type == FTW_DP)
        return 0;
    names = realloc(listing->names, (listing->n + 1) * sizeof(*listing->names));
    CHECK(names);
    listing->names = names;
    snprintf(listing->names[listing->n++], sizeof(*listing->names), "%s",
             path + listing_root + 1);
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

void scratch_files_list(const char *path, struct scratch_files *ret)
{
    *ret = (struct scratch_files){0};
    listing = ret;
    listing_root = strlen(path);
    CHECK(nftw(path, list_one, 16, FTW_PHYS) == 0);
    if (ret->n)
        qsort(ret->names, ret->n, sizeof(*ret->names), compare_names);
}

void scratch_files_release(struct scratch_files *f)
{
    free(f->names);
    *f = (struct scratch_files){0};
}

void scratch_read(const char *folder, const char *name, struct buf *ret)
{
    cleanup_close int dirfd = open(folder, O_RDONLY | O_DIRECTORY);
    struct error err;

    buf_reset(ret);
    CHECK(dirfd >= 0);
    CHECK(path_read_file(dirfd, name, SIZE_MAX / 4, ret, &err) == 0);
}

void scratch_write(const char *folder, const char *name, const void *data,
                   size_t len)
{
    cleanup_close int dirfd = open(folder, O_RDONLY | O_DIRECTORY);
    cleanup_close int fd =
        openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct error err;

    CHECK(fd >= 0);
    CHECK(path_write_at(fd, data, len, 0, &err) == 0);
}

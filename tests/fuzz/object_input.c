#include "tests/fuzz/object_input.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"
#include "tests/storage/scratch.h"

static struct scratch folder;
static int folder_fd = -1;

static void remove_folder(void)
{
    close(folder_fd);
    scratch_remove(&folder);
}

int object_input_folder(void)
{
    if (folder_fd >= 0)
        return folder_fd;
    scratch_make(&folder);
    folder_fd = open(folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    promise(folder_fd >= 0);
    atexit(remove_folder);
    return folder_fd;
}

void object_input_put(const char *name, const void *data, size_t len)
{
    int dirfd = object_input_folder();
    const char *slash = strchr(name, '/');
    int fd;

    if (slash) {
        char parent[16];

        snprintf(parent, sizeof(parent), "%.*s", (int)(slash - name), name);
        promise(mkdirat(dirfd, parent, 0700) == 0 || errno == EEXIST);
    }
    fd = openat(dirfd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    promise(fd >= 0 && write(fd, data, len) == (ssize_t)len);
    close(fd);
}

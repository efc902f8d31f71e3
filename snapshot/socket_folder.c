#include "snapshot/socket_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "core/base/channel.h"
#include "core/host/process.h"

#define LOG_AREA "socket"
#include "core/base/log.h"

#define PREFIX      "firn-capture-"
#define SOCKET_NAME "migrate.sock"

/* All connections of a migration at once: QEMU may say nothing before it has
 * made the last of them. */
#define BACKLOG 32

const char *socket_folder_base(void)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    struct stat st;

    /* Longer paths leave no room for our own part in a socket's address. */
    if (runtime && runtime[0] == '/' && strlen(runtime) < 40 &&
        stat(runtime, &st) == 0 && S_ISDIR(st.st_mode) &&
        access(runtime, W_OK | X_OK) == 0)
        return runtime;
    return "/tmp";
}

static bool left_by_the_dead(const char *name)
{
    uint64_t start;
    int pid;

    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return false;
    if (sscanf(name + strlen(PREFIX), "%9d-%20" SCNu64 "-", &pid, &start) != 2)
        return false;
    return pid > 0 && !process_alive(pid, start);
}

/* Only an empty folder, or one with our socket in it, goes away: rmdir sees to
 * that, and a folder of another user cannot be removed. */
static bool remove_folder(int base_fd, const char *name)
{
    cleanup_close int fd =
        openat(base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid())
        return false;
    unlinkat(fd, SOCKET_NAME, 0);
    return unlinkat(base_fd, name, AT_REMOVEDIR) == 0;
}

size_t socket_folder_sweep(const char *base)
{
    cleanup_close int base_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = opendir(base);
    struct dirent *entry;
    size_t n = 0;

    while (dir && base_fd >= 0 && (entry = readdir(dir))) {
        if (left_by_the_dead(entry->d_name) &&
            remove_folder(base_fd, entry->d_name)) {
            log_debug("swept '%s/%s'", base, entry->d_name);
            n++;
        }
    }
    if (dir)
        closedir(dir);
    return n;
}

static int make_folder(struct socket_folder *f, const char *base,
                       struct error *err)
{
    uint64_t start;
    int rc = process_start_time(getpid(), &start, err);

    if (rc < 0)
        return rc;
    snprintf(f->path, sizeof(f->path), "%s/" PREFIX "%d-%" PRIu64 "-XXXXXX",
             base, getpid(), start);
    if (!mkdtemp(f->path)) {
        f->path[0] = '\0';
        return fail_errno(err, ERR_IO, "cannot make a folder under '%s'", base);
    }
    return 0;
}

/* Root captures VMs of other users: theirs must be the way to the socket. */
static int hand_to(const char *path, uid_t peer, struct error *err)
{
    if (geteuid() != 0 || peer == 0)
        return 0;
    if (lchown(path, peer, (gid_t)-1) < 0)
        return fail_errno(err, ERR_IO, "cannot give '%s' to QEMU's user", path);
    return 0;
}

int socket_folder_open(struct socket_folder *f, uid_t peer, struct error *err)
{
    const char *base = socket_folder_base();
    char folder[sizeof(f->path)];
    size_t len;
    int rc;

    *f = SOCKET_FOLDER_INIT;
    socket_folder_sweep(base);
    rc = make_folder(f, base, err);
    if (rc < 0)
        return rc;
    len = strlen(f->path);
    memcpy(folder, f->path, len + 1);
    assert(len + sizeof("/" SOCKET_NAME) <= sizeof(f->path));
    memcpy(f->path + len, "/" SOCKET_NAME, sizeof("/" SOCKET_NAME));

    rc = channel_listen(f->path, BACKLOG, &f->listen_fd, err);
    if (rc == 0)
        rc = hand_to(f->path, peer, err);
    if (rc == 0)
        rc = hand_to(folder, peer, err);
    if (rc < 0)
        socket_folder_close(f);
    return rc;
}

void socket_folder_unlink(struct socket_folder *f)
{
    char *slash;

    if (!f->path[0])
        return;
    unlink(f->path);
    slash = strrchr(f->path, '/');
    *slash = '\0';
    rmdir(f->path);
    f->path[0] = '\0';
}

void socket_folder_close(struct socket_folder *f)
{
    socket_folder_unlink(f);
    if (f->listen_fd >= 0)
        close(f->listen_fd);
    f->listen_fd = -1;
}

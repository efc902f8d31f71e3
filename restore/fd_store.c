#include "restore/fd_store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/cleanup.h"

#define LOG_AREA "keeper"
#include "core/base/log.h"

#define FIRST_FD 3

void fd_store_name(pid_t qemu, char ret[static FD_STORE_NAME_LEN])
{
    snprintf(ret, FD_STORE_NAME_LEN, "firn-qemu-%d", (int)qemu);
}

/* A path, or with '@' a name that is in no file system. */
static bool manager_address(struct sockaddr_un *ret, socklen_t *ret_len)
{
    const char *name = getenv("NOTIFY_SOCKET");
    size_t len = name ? strlen(name) : 0;

    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (len < 2 || len >= sizeof(ret->sun_path) || !strchr("/@", name[0]))
        return false;
    memcpy(ret->sun_path, name, len);
    if (name[0] == '@')
        ret->sun_path[0] = '\0';
    *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    return true;
}

static void attach(struct msghdr *msg, void *room, int fd)
{
    struct cmsghdr *c;

    msg->msg_control = room;
    msg->msg_controllen = CMSG_SPACE(sizeof(int));
    c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
}

/* One datagram, with a descriptor if `fd` is one. Without a manager: nothing. */
static int notify(const char *text, int fd, struct error *err)
{
    _Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {0};
    cleanup_close int s = -1;
    struct sockaddr_un address;
    socklen_t len;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text,
                        .iov_len = strlen(text)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (!manager_address(&address, &len))
        return 0;
    msg.msg_name = &address;
    msg.msg_namelen = len;
    if (fd >= 0)
        attach(&msg, room, fd);
    s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0 || sendmsg(s, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return fail_errno(err, ERR_PEER,
                          "the service manager takes no descriptor");
    return 0;
}

int fd_store_put(const char *name, int fd, struct error *err)
{
    char text[100];

    snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
    return notify(text, fd, err);
}

void fd_store_remove(const char *name)
{
    struct error ignored = ERROR_INIT;
    char text[100];

    snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
    if (notify(text, -1, &ignored) < 0)
        log_debug("%s", ignored.message);
}

static long number_in(const char *variable)
{
    const char *text = getenv(variable);

    return text ? strtol(text, NULL, 10) : 0;
}

int fd_store_count(void)
{
    long pid = number_in("LISTEN_PID");
    long n = number_in("LISTEN_FDS");

    /* The keeper is forked from the process that was started. */
    if (n < 0 || n > 4096 || (pid != getpid() && pid != getppid()))
        return 0;
    return (int)n;
}

int fd_store_take(const char *name)
{
    const char *names = getenv("LISTEN_FDNAMES");
    int n = fd_store_count();

    for (int i = 0; names && i < n; i++) {
        size_t len = strcspn(names, ":");

        if (len == strlen(name) && memcmp(names, name, len) == 0 &&
            fcntl(FIRST_FD + i, F_SETFD, FD_CLOEXEC) == 0)
            return FIRST_FD + i;
        names = names[len] ? names + len + 1 : NULL;
    }
    return -1;
}

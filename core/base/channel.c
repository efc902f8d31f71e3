/*
 * channel.c - unix sockets that a stopper can interrupt.
 *
 * Each call tries first, with MSG_DONTWAIT, and polls only when nothing moves:
 * on a busy socket a read is one system call, and the descriptor itself stays
 * blocking, so that it may be handed to a child as it is. A signal (EINTR)
 * leads to the same poll, which looks at the stopper.
 *
 * Two ends of a connection mean different things. Reading from a peer that went
 * away is the end of its bytes, however it went; writing to one is an error,
 * since the bytes were wanted.
 */
#include "core/base/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define CONNECT_LIMIT_S 2

static int fill_address(const char *path, struct sockaddr_un *ret,
                        struct error *err)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret->sun_path))
        return fail(err, ERR_INVALID,
                    "socket path '%s' is longer than %zu bytes", path,
                    sizeof(ret->sun_path) - 1);
    snprintf(ret->sun_path, sizeof(ret->sun_path), "%s", path);
    return 0;
}

static int new_socket(int *ret_fd, struct error *err)
{
    *ret_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*ret_fd < 0)
        return fail_errno(err, ERR_IO, "cannot make a socket");
    return 0;
}

/* Clients that nobody accepts make connect() wait: not for ever. */
static int connect_soon(int fd, const struct sockaddr_un *address)
{
    static const struct timeval soon = {.tv_sec = CONNECT_LIMIT_S};
    static const struct timeval never = {0};
    int rc;

    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon));
    rc = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    if (rc == 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &never, sizeof(never));
    return rc;
}

int channel_connect(const char *path, int *ret_fd, struct error *err)
{
    cleanup_close int fd = -1;
    struct sockaddr_un address;
    int rc = fill_address(path, &address, err);

    if (rc < 0)
        return rc;
    rc = new_socket(&fd, err);
    if (rc < 0)
        return rc;
    if (connect_soon(fd, &address) < 0) {
        fail_errno(err, ERR_PEER, "cannot connect to socket '%s'", path);
        if (err->sys_errno == EAGAIN)
            error_hint(err, "its process accepts nobody at present: it may "
                            "serve another client, or hang");
        return err->code;
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}

int channel_listen(const char *path, int backlog, int *ret_fd,
                   struct error *err)
{
    cleanup_close int fd = -1;
    struct sockaddr_un address;
    int rc = fill_address(path, &address, err);

    if (rc < 0)
        return rc;
    rc = new_socket(&fd, err);
    if (rc < 0)
        return rc;
    /* bind() gives the name the socket's own mode. umask(2) would do it too,
     * but to every file and folder that other threads make meanwhile. */
    if (fchmod(fd, 0600) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, backlog) < 0)
        return fail_errno(err, ERR_IO, "cannot listen at socket '%s'", path);
    *ret_fd = steal_fd(&fd);
    return 0;
}

int channel_accept(int listen_fd, struct stopper *stop, uint64_t deadline_ns,
                   int *ret_fd, struct error *err)
{
    for (;;) {
        int fd;
        int rc = stopper_wait(stop, listen_fd, POLLIN, deadline_ns, err);

        if (rc < 0)
            return rc;
        fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            *ret_fd = fd;
            return 0;
        }
        if (errno != EINTR && errno != EAGAIN && errno != ECONNABORTED)
            return fail_errno(err, ERR_IO, "cannot accept a connection");
    }
}

int channel_peer(int fd, struct channel_peer *ret, struct error *err)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return fail_errno(err, ERR_IO, "cannot ask who the peer is");
    *ret = (struct channel_peer){.pid = cred.pid, .uid = cred.uid};
    return 0;
}

int channel_read(int fd, void *data, size_t max, struct stopper *stop,
                 uint64_t deadline_ns, size_t *ret_n, struct error *err)
{
    assert(max > 0); /* recv() gives 0 for that, as at the end */
    for (;;) {
        ssize_t n = recv(fd, data, max, MSG_DONTWAIT);
        int rc;

        if (n >= 0) {
            *ret_n = (size_t)n;
            return 0;
        }
        if (errno == ECONNRESET) {
            *ret_n = 0;
            return 0;
        }
        if (errno != EAGAIN && errno != EINTR)
            return fail_errno(err, ERR_IO, "cannot read from a socket");
        rc = stopper_wait(stop, fd, POLLIN, deadline_ns, err);
        if (rc < 0)
            return rc;
    }
}

int channel_write(int fd, const void *data, size_t len, struct stopper *stop,
                  uint64_t deadline_ns, struct error *err)
{
    const uint8_t *p = data;

    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        int rc;

        if (n >= 0) {
            p += n;
            len -= (size_t)n;
            continue;
        }
        if (errno == EPIPE || errno == ECONNRESET)
            return fail_errno(err, ERR_PEER, "the peer closed the socket");
        if (errno != EAGAIN && errno != EINTR)
            return fail_errno(err, ERR_IO, "cannot write to a socket");
        rc = stopper_wait(stop, fd, POLLOUT, deadline_ns, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int channel_write_with_fd(int fd, const void *data, size_t len, int passed,
                          struct error *err)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof(control.space),
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    ssize_t n;

    assert(len > 0 && passed >= 0); /* a descriptor rides on a byte */
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &passed, sizeof(int));
    do {
        n = sendmsg(fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return fail_errno(err, ERR_PEER, "cannot pass a descriptor");
    if ((size_t)n != len)
        return fail(err, ERR_PEER, "only %zd of %zu bytes were taken", n, len);
    return 0;
}

/*
 * qemu_connections.c - accepts all, then peeks at the first four bytes.
 *
 * Peeking leaves the bytes to the decoders, which begin with them. It is needed
 * only with multifd, where one connection in several is the main stream; the
 * wait for bytes that are not all there yet is by the clock, since poll() calls
 * a socket with one byte readable at once, for ever.
 */
#include "snapshot/qemu_connections.h"

#include <poll.h>
#include <sys/socket.h>

#include "core/base/bytes.h"
#include "core/base/channel.h"
#include "core/base/clock.h"

#define CONNECTIONS_MAX (1 + MULTIFD_CHANNELS_MAX)

/* Between two looks at a connection that has sent less than its magic. */
#define PEEK_PAUSE_NS NS_PER_MS

struct connections {
    int fds[CONNECTIONS_MAX];
    unsigned n;
};

static void cleanup_connections_fn(struct connections *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->fds[i] >= 0)
            close(c->fds[i]);
    }
}

static int accept_all(struct connections *c, int listen_fd, unsigned wanted,
                      struct stopper *stop, uint64_t deadline_ns,
                      struct error *err)
{
    assert(wanted <= CONNECTIONS_MAX);
    while (c->n < wanted) {
        int rc =
            channel_accept(listen_fd, stop, deadline_ns, &c->fds[c->n], err);

        if (rc == ERR_TIMEOUT && !stopper_pulled(stop) && c->n == 0)
            return fail(err, ERR_PEER,
                        "QEMU did not connect to our migration socket");
        if (rc == ERR_TIMEOUT && !stopper_pulled(stop))
            return fail(err, ERR_PEER,
                        "QEMU made %u of %u connections (main stream, %u "
                        "multifd channels) in time",
                        c->n, wanted, wanted - 1);
        if (rc < 0)
            return rc;
        c->n++;
    }
    return 0;
}

static int await_more(int fd, ssize_t n, struct stopper *stop,
                      uint64_t deadline_ns, struct error *err)
{
    uint64_t soon = clock_monotonic_ns() + PEEK_PAUSE_NS;
    int rc;

    if (n <= 0 || soon > deadline_ns)
        return stopper_wait(stop, fd, POLLIN, deadline_ns, err);
    rc = stopper_wait(stop, -1, 0, soon, err);
    return rc == ERR_TIMEOUT && !stopper_pulled(stop) ? 0 : rc;
}

static int peek(int fd, struct stopper *stop, uint64_t deadline_ns,
                uint32_t *ret, struct error *err)
{
    for (;;) {
        uint8_t bytes[sizeof(*ret)];
        ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
        int rc;

        if (n == sizeof(bytes)) {
            *ret = load_be32(bytes);
            return 0;
        }
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return fail(err, ERR_PEER, "QEMU closed a connection at once");
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return fail_errno(err, ERR_IO, "cannot read from a socket");
        if (n > 0 && clock_monotonic_ns() >= deadline_ns)
            return fail(err, ERR_PEER, "a connection says %zd bytes, no more",
                        n);
        rc = await_more(fd, n, stop, deadline_ns, err);
        if (rc == ERR_TIMEOUT && !stopper_pulled(stop))
            return fail(err, ERR_PEER,
                        "QEMU made all connections and is silent in one");
        if (rc < 0)
            return rc;
    }
}

int qemu_connections_accept(int listen_fd, unsigned n_channels,
                            struct stopper *stop, uint64_t deadline_ns,
                            int *ret_main, int *ret_channels, struct error *err)
{
    cleanup(connections) struct connections c = {.n = 0};
    int main_at = -1;
    unsigned n = 0;
    int rc = accept_all(&c, listen_fd, 1 + n_channels, stop, deadline_ns, err);

    for (unsigned i = 0; rc == 0 && n_channels > 0 && i < c.n; i++) {
        uint32_t magic = 0;

        rc = peek(c.fds[i], stop, deadline_ns, &magic, err);
        if (rc < 0)
            break;
        /* What is neither is a main stream gone wrong: its decoder says how. */
        if (magic != QEMU_MULTIFD_MAGIC && main_at < 0)
            main_at = (int)i;
        else if (magic == QEMU_MULTIFD_MAGIC && n < n_channels)
            ret_channels[n++] = c.fds[i];
        else
            rc = fail(err, ERR_PROTOCOL,
                      "QEMU made %u connections, of which %s main stream", c.n,
                      main_at < 0 ? "none is a" : "more than one is a");
    }
    if (rc < 0)
        return rc;
    *ret_main = c.fds[MAX(main_at, 0)];
    c.n = 0;
    return 0;
}

/*
 * channel.h - unix sockets: the only sockets of the program.
 *
 * Descriptors are plain ints, close-on-exec; who gets one owns it. Waiting
 * calls take a stopper and a deadline (monotonic ns, 0: none) and can be ended
 * by either. Any thread; one thread at a time a direction of a descriptor.
 */
#ifndef FIRN_CORE_BASE_CHANNEL_H
#define FIRN_CORE_BASE_CHANNEL_H

#include <sys/types.h>

#include "core/base/stopper.h"

struct channel_peer {
    pid_t pid;
    uid_t uid;
};

/* ERR_PEER when nobody listens, the path is wrong or not to be reached, or the
 * listener accepts nobody within two seconds; ERR_INVALID when the path is
 * longer than a socket's address (107 bytes). */
int channel_connect(const char *path, int *ret_fd, struct error *err) NODISCARD;

/* A listening socket, mode 0600, at a path that must not exist yet. */
int channel_listen(const char *path, int backlog, int *ret_fd,
                   struct error *err) NODISCARD;
/* Waits for the next client; who it is, channel_peer() says. */
int channel_accept(int listen_fd, struct stopper *stop, uint64_t deadline_ns,
                   int *ret_fd, struct error *err) NODISCARD;

/* Who is at the other end, as the kernel knows it. */
int channel_peer(int fd, struct channel_peer *ret, struct error *err) NODISCARD;

/* At least one byte and at most `max`, which is not 0; *ret_n is 0 at end of
 * file, and when the peer was killed with bytes of ours unread. */
int channel_read(int fd, void *data, size_t max, struct stopper *stop,
                 uint64_t deadline_ns, size_t *ret_n,
                 struct error *err) NODISCARD;
/* All of it; ERR_PEER when the other side is gone. */
int channel_write(int fd, const void *data, size_t len, struct stopper *stop,
                  uint64_t deadline_ns, struct error *err) NODISCARD;
/* All of it (at least one byte), and one descriptor with the first: the peer
 * gets a copy, `passed` stays the caller's. For short messages only: there is
 * no stopper, and what the socket does not take in one go is ERR_PEER. */
int channel_write_with_fd(int fd, const void *data, size_t len, int passed,
                          struct error *err) NODISCARD;

#endif

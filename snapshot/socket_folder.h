/*
 * socket_folder.h - a private place for the socket that QEMU connects to.
 *
 * A folder of mode 0700 under $XDG_RUNTIME_DIR or /tmp, named after this
 * process, with one socket in it. Both are removed as soon as QEMU has
 * connected, or by close(). What a killed process left is swept by the next
 * one: the name tells pid and start time, so nobody living is disturbed.
 * One thread at a time.
 */
#ifndef FIRN_SNAPSHOT_SOCKET_FOLDER_H
#define FIRN_SNAPSHOT_SOCKET_FOLDER_H

#include <sys/types.h>

#include "core/base/error.h"

struct socket_folder {
    char path[108]; /* of the socket; "" when there is none */
    int listen_fd;
};

#define SOCKET_FOLDER_INIT ((struct socket_folder){.listen_fd = -1})

/* `peer`: QEMU's user, who must be able to get there. */
int socket_folder_open(struct socket_folder *f, uid_t peer,
                       struct error *err) NODISCARD;
/* Removes the names; connections and the listening socket stay. */
void socket_folder_unlink(struct socket_folder *f);
/* Socket, names and folder; harmless when there are none. */
void socket_folder_close(struct socket_folder *f);

/* $XDG_RUNTIME_DIR where it can be used, else /tmp. */
const char *socket_folder_base(void);

/* Removes what dead processes left under `base`; returns how many. */
size_t socket_folder_sweep(const char *base);

#endif

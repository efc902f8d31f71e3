/*
 * qemu_connections.h - the connections of one migration, told apart.
 *
 * QEMU connects once for the main stream and once for each multifd channel. In
 * which order they are accepted is nobody's promise, and QEMU may send nothing
 * in the main one before all are there: so all are accepted first and then
 * known by their first bytes, which stay in the sockets. One thread.
 */
#ifndef FIRN_SNAPSHOT_QEMU_CONNECTIONS_H
#define FIRN_SNAPSHOT_QEMU_CONNECTIONS_H

#include "core/base/stopper.h"
#include "core/wire/multifd_packet.h"

/* The caller owns the descriptors. ERR_PEER when they do not come before the
 * deadline (monotonic ns) or are closed again, ERR_PROTOCOL when their number
 * is right and their kinds are not. */
int qemu_connections_accept(int listen_fd, unsigned n_channels,
                            struct stopper *stop, uint64_t deadline_ns,
                            int *ret_main, int *ret_channels,
                            struct error *err) NODISCARD;

#endif

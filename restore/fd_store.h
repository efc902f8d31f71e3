/*
 * fd_store.h - descriptors that outlive us, in the service manager's store.
 *
 * A service manager (systemd, with FileDescriptorStoreMax=) keeps what it is
 * sent over NOTIFY_SOCKET and hands it to the next start of the unit:
 * sd_notify(3) FDSTORE=1, sd_listen_fds(3). Without one nothing happens. One
 * thread.
 */
#ifndef FIRN_RESTORE_FD_STORE_H
#define FIRN_RESTORE_FD_STORE_H

#include <sys/types.h>

#include "core/base/error.h"

#define FD_STORE_NAME_LEN 40u

/* "firn-qemu-PID": the monitor of that QEMU. */
void fd_store_name(pid_t qemu, char ret[static FD_STORE_NAME_LEN]);

/* A copy of `fd` under `name`; ERR_PEER when the manager does not take it. */
int fd_store_put(const char *name, int fd, struct error *err) NODISCARD;
/* Forgets it; harmless when it is not there. */
void fd_store_remove(const char *name);

/* How many descriptors, from 3 on, we or our parent were started with. */
int fd_store_count(void);
/* The one of that name among them; -1: none. The caller owns it. */
int fd_store_take(const char *name);

#endif

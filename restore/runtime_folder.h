/*
 * runtime_folder.h - sockets, logs and state files of running restores.
 *
 * $XDG_RUNTIME_DIR/firn, for root /run/firn, else /tmp/firn-UID: a folder of
 * our own, 0700. What lies there does not survive a reboot and need not.
 *
 * A state file names a VM to which pages are still owed: the QMP socket,
 * QEMU's pid and start time, the VM's uuid, the snapshot, the repository. It is
 * what a later process needs to know that this QEMU was restored from that
 * snapshot, since QEMU itself cannot tell.
 */
#ifndef FIRN_RESTORE_RUNTIME_FOLDER_H
#define FIRN_RESTORE_RUNTIME_FOLDER_H

#include "core/base/json.h"

/* The folder, made if need be; the caller frees. ERR_IO when it cannot be
 * made, or when it belongs to somebody else. */
int runtime_folder_open(char **ret_path, struct error *err) NODISCARD;

/* Removes what processes left that are gone: logs that nobody has open any
 * more, sockets on which nobody listens, state files of QEMUs that ended.
 * Failing is no harm. */
void runtime_folder_sweep(const char *folder);

/* FOLDER/NAME-PID.SUFFIX; what an earlier process of this pid left under that
 * name is removed. The caller frees. */
int runtime_folder_name(const char *folder, const char *name,
                        const char *suffix, char **ret_path,
                        struct error *err) NODISCARD;

/* Writes `state` whole or not at all, 0600, replacing what is there. */
int runtime_state_write(const char *path, const json_t *state,
                        struct error *err) NODISCARD;

/* A new log for appending, 0600, locked for as long as this descriptor or a
 * copy of it, in whatever process, is open. */
int runtime_log_open(const char *path, int *ret_fd,
                     struct error *err) NODISCARD;

/* The last lines of a log, at most `max` bytes, on one line joined by "; ", for
 * an error message. Empty if there is nothing to read. The caller frees. */
char *runtime_log_tail(const char *path, size_t max);

#endif

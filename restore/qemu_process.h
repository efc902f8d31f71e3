/*
 * qemu_process.h - the QEMU that a restore starts: a child of the keeper.
 *
 * It runs in a session of its own, with /dev/null as input and its output in a
 * log file, since the reasons of a failing restore are told there and nowhere
 * else. One thread.
 */
#ifndef FIRN_RESTORE_QEMU_PROCESS_H
#define FIRN_RESTORE_QEMU_PROCESS_H

#include <sys/types.h>

#include "core/base/cleanup.h"
#include "core/base/error.h"

struct qemu_process {
    pid_t pid;  /* 0: none */
    int status; /* as waitpid() tells it, once ended */
    bool ended;
    char *log_path;
};

struct qemu_process_args {
    char *const *argv;
    const char *cwd; /* NULL: ours */
    const char *log_path;
    int log_fd; /* the same file, open; borrowed */
};

/* ERR_PEER when the program is not there or cannot be run. */
int qemu_process_start(const struct qemu_process_args *args,
                       struct qemu_process *ret, struct error *err) NODISCARD;
/* Looks, without waiting, whether it has ended. */
bool qemu_process_ended(struct qemu_process *p);
/* Kills and reaps it; harmless when it is gone. */
void qemu_process_kill(struct qemu_process *p);
/* ERR_PEER: how it ended and the last it said; call when it has ended. */
int qemu_process_error(const struct qemu_process *p, struct error *err);
/* Lets go; QEMU lives on. */
void qemu_process_release(struct qemu_process *p);

#endif

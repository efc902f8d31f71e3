/*
 * child.h - a process of ours: started, waited for with a limit, ended.
 *
 * It leads a process group, so that what it starts ends with it, and gets
 * SIGTERM when the thread that started it dies. It inherits no descriptor but
 * those named here, no blocked and no ignored signal. A child belongs to one
 * thread.
 */
#ifndef FIRN_CORE_HOST_CHILD_H
#define FIRN_CORE_HOST_CHILD_H

#include <sys/types.h>

#include "core/base/buf.h"
#include "core/base/stopper.h"

struct child {
    pid_t pid; /* 0: none, or waited for */
    int fd;    /* pidfd: readable when it has ended; -1: none */
};

#define CHILD_NONE ((struct child){.fd = -1})

struct child_args {
    const char *program;            /* path; NULL: argv[0] is it */
    const char *const *argv;        /* ends with NULL */
    const char *const *environment; /* "NAME=value" beside ours, or NULL */
    const void *input;              /* what it reads on stdin; NULL: nothing */
    size_t input_len;
    int out_fd;  /* its stdout; borrowed */
    int err_fd;  /* its stderr; borrowed */
    int keep_fd; /* stays open in it under its number; -1: none */
};

/* ERR_UNSUPPORTED when the program cannot be started. */
int child_start(const struct child_args *args, struct child *ret,
                struct error *err) NODISCARD;

/* To the process alone, so that it can end what it started. */
void child_signal(const struct child *c, int number);

/* Waits until it has ended; 0 or a code of stopper_wait(), after which it
 * still runs. `stop` may be NULL; deadline in monotonic ns, 0: none.
 * *ret_status is as wait(2) has it. */
int child_wait(struct child *c, struct stopper *stop, uint64_t deadline_ns,
               int *ret_status, struct error *err) NODISCARD;

/* Kills its group and waits for it; an empty child is fine. */
void child_kill(struct child *c);

/*
 * All in one: 0 when it exits with status 0 within `limit_ms`, ERR_UNSUPPORTED
 * with how else it ended. At the limit (ERR_TIMEOUT) and when the stopper is
 * pulled (its code) its whole group is killed; what it left in the background
 * when it ended by itself is not ours. `what` is the subject of messages.
 */
int child_run(const struct child_args *args, const char *what,
              struct stopper *stop, uint64_t limit_ms,
              struct error *err) NODISCARD;

#endif

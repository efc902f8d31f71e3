/*
 * stopper.h - one descriptor that ends every wait.
 *
 * Every poll of the program includes stopper_fd(): when it turns readable the
 * waiter returns stopper_error(). A stopper is pulled by a signal (the first
 * SIGINT or SIGTERM), by a time limit or by a failing thread; the first reason
 * stays. All functions may be called by any thread; stopper_pull() also from a
 * signal handler.
 */
#ifndef FIRN_CORE_BASE_STOPPER_H
#define FIRN_CORE_BASE_STOPPER_H

#include "core/base/cleanup.h"
#include "core/base/error.h"

struct stopper {
    int fd;          /* eventfd; set by init, then read only */
    _Atomic int why; /* 0 or the enum error_code that pulled it first */
};

/* Not pulled. ERR_IO when no descriptor is to be had. */
int stopper_init(struct stopper *s, struct error *err) NODISCARD;
/* Nobody waits on it any more. */
void stopper_release(struct stopper *s);

/* `code` is the reason, a negative enum error_code; a second pull changes
 * nothing. It cannot be undone. */
void stopper_pull(struct stopper *s, int code);
/* For loops that compute: a look that costs no system call. */
bool stopper_pulled(struct stopper *s);

static inline int stopper_fd(const struct stopper *s)
{
    return s->fd;
}

/* Fills `err` with the reason and returns its code. Only after a pull. */
int stopper_error(struct stopper *s, struct error *err);

/*
 * SIGINT pulls with ERR_INTERRUPTED, SIGTERM and SIGHUP with ERR_TERMINATED,
 * but for those that were ignored (nohup); one stopper a process. A second
 * signal of the same kind kills the process.
 * stopper_release() puts the old handlers back.
 */
int stopper_watch_signals(struct stopper *s, struct error *err) NODISCARD;

/*
 * Waits until `fd` has one of `events` (poll's POLLIN, POLLOUT), the stopper is
 * pulled or the deadline (monotonic ns, 0: none) is over. Returns 0 when `fd`
 * is ready or closed, else the stopper's code or ERR_TIMEOUT.
 */
int stopper_wait(struct stopper *s, int fd, short events, uint64_t deadline_ns,
                 struct error *err) NODISCARD;

#endif

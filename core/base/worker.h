/*
 * worker.h - a named group of threads that fails as one.
 *
 * Each thread runs `main` once and returns its error by `err`. The first error
 * of the group wins, the others are dropped with a debug line; at the first
 * one `cancel` is called (from the failing thread, at most once), which must
 * make the other threads end: pull a stopper, cancel the queues.
 */
#ifndef FIRN_CORE_BASE_WORKER_H
#define FIRN_CORE_BASE_WORKER_H

#include "core/base/error.h"
#include "core/base/lock.h"

#define WORKER_MAX 64

struct worker_group {
    /* set before the threads start, then read only */
    void (*cancel)(void *arg);
    void *arg;

    /* only the thread that owns the group */
    pthread_t threads[WORKER_MAX];
    unsigned n_threads;

    /* protected by `lock` */
    struct lock lock; /* `first` */
    struct error first GUARDED_BY(lock);
};

/* No thread yet. `cancel(arg)` must not wait for the group's threads. */
void worker_group_init(struct worker_group *g, void (*cancel)(void *arg),
                       void *arg);

/* Starts one thread called `name` (at most 15 bytes are shown by the system).
 * Signals are blocked in it: the main thread takes them. */
int worker_start(struct worker_group *g, const char *name,
                 int (*main)(void *arg, struct error *err), void *arg,
                 struct error *err) NODISCARD;

/* Reports an error from outside the group's threads, as if one had failed. */
void worker_group_fail(struct worker_group *g, const struct error *why);

/* Waits for all threads; returns the first error, 0 if there was none. */
int worker_group_join(struct worker_group *g, struct error *err) NODISCARD;

/* Joins what still runs (the caller has cancelled it) and lets go. */
void worker_group_release(struct worker_group *g);

#endif

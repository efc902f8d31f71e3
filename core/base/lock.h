/*
 * lock.h - a mutex and a condition that the thread-safety checker knows.
 *
 * Each lock's declaration says what it protects. Locks are leaves: no lock is
 * held while another is taken, nor over I/O, a callback or a queue wait. Debug
 * builds abort when a thread takes a second lock.
 */
#ifndef FIRN_CORE_BASE_LOCK_H
#define FIRN_CORE_BASE_LOCK_H

#include <pthread.h>

#include "core/base/cleanup.h"

struct CAPABILITY("mutex") lock {
    pthread_mutex_t mutex; /* protects what its struct lock is said to */
};

/* An error of pthread here is a mistake of the program and aborts. */
void lock_init(struct lock *l);
/* Nobody holds it, nobody will. */
void lock_release(struct lock *l);
/* Waits until nobody has it; a second lock of this thread aborts. */
void lock_take(struct lock *l);
/* By the thread that took it. */
void lock_drop(struct lock *l);

struct condition {
    pthread_cond_t cond;
};

/* Waits by the monotonic clock: setting the time moves no deadline. */
void condition_init(struct condition *c);
/* Nobody waits at it. */
void condition_release(struct condition *c);
/* Waits with `l` held; as always, for a predicate in a loop. */
void condition_wait(struct condition *c, struct lock *l);
/* The same until a time (monotonic ns); false when it is over. */
NODISCARD bool condition_wait_until(struct condition *c, struct lock *l,
                                    uint64_t deadline_ns);
/* All, never one: waiters of a condition may wait for different things. */
void condition_wake_all(struct condition *c);

static inline UNUSED void cleanup_lock_fn(struct lock **l)
{
    if (*l)
        lock_drop(*l);
}

static inline UNUSED struct lock *lock_taken(struct lock *l)
{
    lock_take(l);
    return l;
}

/* Holds `l` until the end of the scope. */
#define LOCK_SCOPE(l) \
    cleanup(lock) struct lock *lock_scope_ UNUSED = lock_taken(l)

#endif

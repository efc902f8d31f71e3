/*
 * lock.c - mutexes that watch their own rule.
 *
 * The rule is that locks are leaves: who holds one takes no other. So there is
 * no lock order to write down and none to get wrong. Builds with assertions
 * count what each thread holds and abort at the second lock, wherever it is
 * taken; waiting at a condition gives the lock back, and so counts as not
 * holding it.
 */
#include "core/base/lock.h"

#include <stdlib.h>
#include <time.h>

#include "core/base/clock.h"

#ifndef NDEBUG
/* How many locks this thread holds: the rule is one. */
static _Thread_local int held;
#define HELD(step) (held += (step))
#else
#define HELD(step) ((void)0)
#endif

void lock_init(struct lock *l)
{
    if (pthread_mutex_init(&l->mutex, NULL) != 0)
        abort();
}

void lock_release(struct lock *l)
{
    pthread_mutex_destroy(&l->mutex);
}

void lock_take(struct lock *l)
{
    if (pthread_mutex_lock(&l->mutex) != 0)
        abort();
    HELD(1);
#ifndef NDEBUG
    assert(held == 1);
#endif
}

void lock_drop(struct lock *l)
{
#ifndef NDEBUG
    assert(held == 1);
#endif
    HELD(-1);
    if (pthread_mutex_unlock(&l->mutex) != 0)
        abort();
}

void condition_init(struct condition *c)
{
    pthread_condattr_t attr;

    if (pthread_condattr_init(&attr) != 0 ||
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 ||
        pthread_cond_init(&c->cond, &attr) != 0)
        abort();
    pthread_condattr_destroy(&attr);
}

void condition_release(struct condition *c)
{
    pthread_cond_destroy(&c->cond);
}

void condition_wait(struct condition *c, struct lock *l)
{
    HELD(-1);
    if (pthread_cond_wait(&c->cond, &l->mutex) != 0)
        abort();
    HELD(1);
}

bool condition_wait_until(struct condition *c, struct lock *l,
                          uint64_t deadline_ns)
{
    const struct timespec until = {
        .tv_sec = (time_t)(deadline_ns / NS_PER_SEC),
        .tv_nsec = (long)(deadline_ns % NS_PER_SEC),
    };
    int rc;

    HELD(-1);
    rc = pthread_cond_timedwait(&c->cond, &l->mutex, &until);
    if (rc != 0 && rc != ETIMEDOUT)
        abort();
    HELD(1);
    return rc == 0;
}

void condition_wake_all(struct condition *c)
{
    pthread_cond_broadcast(&c->cond);
}

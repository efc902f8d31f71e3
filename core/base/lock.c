#include "core/base/lock.h"

#include <stdlib.h>

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
    HELD(-1);
    if (pthread_mutex_unlock(&l->mutex) != 0)
        abort();
}

void condition_init(struct condition *c)
{
    if (pthread_cond_init(&c->cond, NULL) != 0)
        abort();
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

void condition_wake_all(struct condition *c)
{
    pthread_cond_broadcast(&c->cond);
}

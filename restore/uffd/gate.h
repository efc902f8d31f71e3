/*
 * gate.h - the door between placing pages and reading events.
 *
 * The one lock of this program that is held over a system call, and why: while
 * a remove event waits to be read the kernel refuses to place pages (EAGAIN),
 * but from the moment it is read it does not. A thread that had looked at the
 * marks before would place the image's bytes where the client has just been
 * promised zeros. So many may place at once, each behind gate_enter(), looking
 * at the marks and placing within; and who reads events is alone
 * (gate_close()) until the marks show them. Readers go first in line, and
 * placing is cut in small steps, so that a fault does not wait long. No other
 * lock is taken within, but for leaves.
 */
#ifndef FIRN_RESTORE_UFFD_GATE_H
#define FIRN_RESTORE_UFFD_GATE_H

#include <pthread.h>
#include <stdlib.h>

#include "core/base/compiler.h"

struct gate {
    pthread_rwlock_t lock; /* page marks against events; see above */
};

static inline void gate_init(struct gate *g)
{
    pthread_rwlockattr_t attr;

    if (pthread_rwlockattr_init(&attr) != 0 ||
        pthread_rwlockattr_setkind_np(
            &attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) != 0 ||
        pthread_rwlock_init(&g->lock, &attr) != 0)
        abort();
    pthread_rwlockattr_destroy(&attr);
}

static inline void gate_release(struct gate *g)
{
    pthread_rwlock_destroy(&g->lock);
}

static inline void gate_enter(struct gate *g)
{
    if (pthread_rwlock_rdlock(&g->lock) != 0)
        abort();
}

static inline void gate_close(struct gate *g)
{
    if (pthread_rwlock_wrlock(&g->lock) != 0)
        abort();
}

static inline void gate_leave(struct gate *g)
{
    if (pthread_rwlock_unlock(&g->lock) != 0)
        abort();
}

#endif

/*
 * uffd_engine_inside.h - what an engine and its fault threads share. No door.
 */
#ifndef FIRN_RESTORE_UFFD_UFFD_ENGINE_INSIDE_H
#define FIRN_RESTORE_UFFD_UFFD_ENGINE_INSIDE_H

#include "core/base/worker.h"
#include "restore/uffd/uffd_engine.h"

#define NOTIFIERS_MAX 8u

struct pending {
    struct uffd_space *space;
    struct space_fault fault;
    uint64_t read_ns;
};

struct fault_thread {
    struct uffd_engine *engine;
    unsigned lane;

    /* only this thread */
    struct pending *pending;
    unsigned n_pending;
    unsigned cap_pending;
    uint64_t busy_ns; /* pause before the next try; 0: nothing was busy */
    uint64_t eager_until_ns; /* look for the next fault without sleeping */
};

struct uffd_engine {
    /* set before the threads start, then read only */
    struct uffd_engine_args args;
    void *zero_page;
    int stop_fd; /* readable: threads end */
    int wake_fd; /* a descriptor was attached */
    int over_fd;
    struct fault_thread threads[UFFD_ENGINE_THREADS_MAX];
    struct worker_group group;

    /* only the owner's thread */
    struct {
        int (*notify)(void *arg, enum uffd_notice notice, struct error *err);
        void *arg;
    } notifiers[NOTIFIERS_MAX];
    unsigned n_notifiers;
    struct uffd_attach_args *waiting; /* noted until listen */
    unsigned n_waiting;

    /* protected by `lock` */
    struct lock lock; /* all below */
    enum uffd_state state GUARDED_BY(lock);
    struct uffd_space *spaces[UFFD_ENGINE_SPACES_MAX] GUARDED_BY(lock);
    bool shared[UFFD_ENGINE_SPACES_MAX] GUARDED_BY(lock);
    unsigned n_spaces GUARDED_BY(lock);
    struct uffd_engine_stats stats GUARDED_BY(lock);
};

static inline void signal_fd(int fd, uint64_t n)
{
    if (write(fd, &n, sizeof(n)) < 0) {
        /* EAGAIN: it is readable already. */
    }
}

/* Knows one more descriptor; ERR_UNSUPPORTED when there are too many. Any
 * thread. */
int uffd_engine_add_space(struct uffd_engine *e, struct uffd_space *s,
                          bool shared, struct error *err) NODISCARD;
/* uffd_engine_place(), for a fault too. */
enum uffd_outcome uffd_engine_place_as(struct uffd_engine *e,
                                       struct uffd_space *space,
                                       uint64_t offset, const void *data,
                                       uint64_t len, enum space_how how,
                                       uint64_t *ret_done, struct error *err);

/* fault_thread.c: the body of a worker; `arg` is a struct fault_thread. */
int fault_thread_main(void *arg, struct error *err) NODISCARD;

#endif

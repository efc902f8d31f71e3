/*
 * fault_thread.c - reads what waits, and answers it.
 *
 * Each thread polls all descriptors, the stop and the wake eventfd. It reads
 * what waits, applies the events (uffd_space.c) and answers the faults in
 * turn. A page that cannot be placed because an event waits stays in the
 * thread's list while it reads on; the kernel lets nothing be placed until the
 * thread that caused the event has run again, so the list is tried with
 * growing pauses, not in a loop.
 *
 * A thread that ends with faults in its list wakes their pages: whoever waits
 * faults again, and another thread, or nobody, has the fault.
 */
#include <poll.h>
#include <sched.h>

#include "core/base/clock.h"
#include "restore/uffd/uffd_engine_inside.h"

/* Pauses between tries while an event's thread has not run: from the time of a
 * wake-up to what still keeps a fault below a disk's. */
#define BUSY_FIRST_NS UINT64_C(20000)
#define BUSY_LAST_NS  UINT64_C(2000000)

/* Faults come in trains: so long after one a thread looks for the next without
 * going to sleep, since waking an idle processor takes longer than a fault. */
#define EAGER_NS UINT64_C(50000)

static void count_fault(struct uffd_engine *e, const struct pending *p)
{
    LOCK_SCOPE(&e->lock);

    fault_stats_add(&e->stats.latency, clock_monotonic_ns() - p->read_ns);
}

static void count(struct uffd_engine *e, uint64_t *counter, uint64_t n)
{
    LOCK_SCOPE(&e->lock);

    *counter += n;
}

static int tell_damage(struct uffd_engine *e, const struct pending *p,
                       const struct error *why, struct error *err)
{
    count(e, &e->stats.damaged, 1);
    if (!e->args.provider.damaged)
        return error_copy(err, why);
    return e->args.provider.damaged(e->args.provider.arg, p->fault.offset, why,
                                    err);
}

/* The mark can be believed only where removing is told: else the page may have
 * been dropped, and waking alone would go on for ever. */
static bool is_there(const struct uffd_space *s, uint64_t page)
{
    return (s->tells & UFFD_TELLS_REMOVE) &&
           page_marks_test(&s->received, page);
}

/* The page's content, and where it belongs with it. */
static int answer_missing(struct fault_thread *t, const struct pending *p,
                          enum uffd_outcome *ret, struct error *err)
{
    struct uffd_engine *e = t->engine;
    const struct uffd_provider *provider = &e->args.provider;
    uint64_t page = p->fault.offset / p->space->page_bytes;
    struct error why = ERROR_INIT;
    const uint8_t *data = NULL;
    uint64_t done;

    if (!page_marks_test(&p->space->removed, page)) {
        if (provider->asked)
            provider->asked(provider->arg, t->lane, p->space, p->fault.offset);
        if (is_there(p->space, page)) {
            *ret = uffd_space_wake(p->space, p->fault.offset, err);
            count_fault(e, p);
            return 0;
        }
        if (provider->fetch(provider->arg, t->lane, p->fault.offset, &data,
                            &why) < 0) {
            *ret = UFFD_DONE;
            return tell_damage(e, p, &why, err);
        }
    }
    *ret =
        uffd_engine_place_as(e, p->space, p->fault.offset, data,
                             p->space->page_bytes, SPACE_FOR_FAULT, &done, err);
    if (*ret == UFFD_DONE)
        count_fault(e, p);
    return 0;
}

static int answer(struct fault_thread *t, const struct pending *p,
                  enum uffd_outcome *ret, struct error *err)
{
    uint64_t page = p->fault.offset / p->space->page_bytes;
    unsigned slot;
    int rc = 0;

    if (!uffd_space_begin(p->space, page, &slot)) {
        count(t->engine, &t->engine->stats.coalesced, 1);
        *ret = UFFD_DONE;
        return 0;
    }
    if (p->fault.protected)
        *ret = uffd_space_unprotect(p->space, p->fault.offset, err);
    else if (p->fault.minor)
        *ret = uffd_space_continue(p->space, p->fault.offset, err);
    else
        rc = answer_missing(t, p, ret, err);
    uffd_space_end(p->space, slot);
    return rc;
}

/* Every process behind a descriptor is gone. */
static bool all_exited(struct uffd_engine *e)
{
    LOCK_SCOPE(&e->lock);

    for (unsigned i = 0; i < e->n_spaces; i++) {
        if (!e->spaces[i]->exited)
            return false;
    }
    return e->n_spaces > 0;
}

/* Answers what is in the list; what is busy stays in it. */
static int answer_pending(struct fault_thread *t, struct error *err)
{
    const struct uffd_provider *provider = &t->engine->args.provider;
    unsigned kept = 0;
    int rc = 0;

    for (unsigned i = 0; i < t->n_pending; i++) {
        struct pending p = t->pending[i];
        enum uffd_outcome outcome = UFFD_BUSY;

        if (rc == 0)
            rc = answer(t, &p, &outcome, err);
        if (rc == 0 && outcome == UFFD_FAILED)
            rc = err->code;
        if (outcome == UFFD_BUSY)
            t->pending[kept++] = p;
        else if (rc == 0 && outcome == UFFD_DONE && provider->answered)
            provider->answered(provider->arg, t->lane, p.space, p.fault.offset);
        if (outcome == UFFD_EXITED && all_exited(t->engine))
            signal_fd(t->engine->over_fd, 1);
    }
    t->eager_until_ns =
        kept == 0 && t->n_pending > 0 ? clock_monotonic_ns() + EAGER_NS : 0;
    t->n_pending = kept;
    if (kept == 0)
        t->busy_ns = 0;
    else
        t->busy_ns = MIN(MAX(t->busy_ns * 2, BUSY_FIRST_NS), BUSY_LAST_NS);
    return rc;
}

static int keep_child(void *arg, struct uffd_space *child, struct error *err)
{
    struct uffd_engine *e = arg;
    int rc = uffd_engine_add_space(e, child, false, err);

    if (rc < 0) {
        /* Its descriptor stays open without a master: the child waits, where
         * closing it would show it zeros. */
        child->fd = -1;
        uffd_space_free(child);
        return rc;
    }
    count(e, &e->stats.children, 1);
    return 0;
}

static int add_pending(struct fault_thread *t, struct uffd_space *space,
                       const struct space_fault *faults, unsigned n,
                       struct error *err)
{
    uint64_t now = clock_monotonic_ns();

    if (t->n_pending + n > t->cap_pending) {
        unsigned cap = t->n_pending + n + UFFD_READ_MAX;
        struct pending *more = realloc(t->pending, cap * sizeof(*more));

        if (!more)
            return fail_nomem(err);
        t->pending = more;
        t->cap_pending = cap;
    }
    for (unsigned i = 0; i < n; i++)
        t->pending[t->n_pending++] = (struct pending){
            .space = space, .fault = faults[i], .read_ns = now};
    return 0;
}

static int read_space(struct fault_thread *t, struct uffd_space *space,
                      struct error *err)
{
    struct space_fault faults[UFFD_READ_MAX];
    unsigned n = 0;
    int rc = uffd_space_read(space, faults, ARRAY_LEN(faults), &n, keep_child,
                             t->engine, err);

    if (rc < 0)
        return rc;
    if (n > 0)
        count(t->engine, &t->engine->stats.faults, n);
    return add_pending(t, space, faults, n, err);
}

#define POLL_STOP  0
#define POLL_WAKE  1
#define POLL_FIRST 2

/* Whoever was answered may want this very processor: it is offered. */
static bool look_eagerly(struct fault_thread *t, struct pollfd *polled,
                         unsigned n)
{
    while (clock_monotonic_ns() < t->eager_until_ns) {
        if (poll(polled, n, 0) > 0)
            return true;
        sched_yield();
    }
    return false;
}

/* Waits until something is to be done. */
static int wait_for_work(struct fault_thread *t, struct pollfd *polled,
                         struct uffd_space **spaces, unsigned *ret_n,
                         struct error *err)
{
    struct uffd_engine *e = t->engine;
    struct timespec pause = {.tv_nsec = (long)t->busy_ns};
    unsigned n;

    lock_take(&e->lock);
    n = e->n_spaces;
    memcpy(spaces, e->spaces, n * sizeof(*spaces));
    lock_drop(&e->lock);
    polled[POLL_STOP] = (struct pollfd){.fd = e->stop_fd, .events = POLLIN};
    polled[POLL_WAKE] = (struct pollfd){.fd = e->wake_fd, .events = POLLIN};
    for (unsigned i = 0; i < n; i++)
        polled[POLL_FIRST + i] =
            (struct pollfd){.fd = spaces[i]->exited ? -1 : spaces[i]->fd,
                            .events = POLLIN};
    *ret_n = n;
    if (look_eagerly(t, polled, POLL_FIRST + n))
        return 0;
    if (ppoll(polled, POLL_FIRST + n, t->busy_ns ? &pause : NULL, NULL) < 0 &&
        errno != EINTR)
        return fail_errno(err, ERR_IO, "poll failed");
    return 0;
}

static int thread_loop(struct fault_thread *t, struct error *err)
{
    struct pollfd polled[POLL_FIRST + UFFD_ENGINE_SPACES_MAX];
    struct uffd_space *spaces[UFFD_ENGINE_SPACES_MAX];
    uint64_t ignored;
    unsigned n;
    int rc = 0;

    while (rc == 0) {
        rc = wait_for_work(t, polled, spaces, &n, err);
        if (rc < 0 || polled[POLL_STOP].revents)
            break;
        if (polled[POLL_WAKE].revents &&
            read(t->engine->wake_fd, &ignored, sizeof(ignored)) < 0) {
            /* EAGAIN: another thread was faster. */
        }
        for (unsigned i = 0; i < n && rc == 0; i++) {
            if (polled[POLL_FIRST + i].revents)
                rc = read_space(t, spaces[i], err);
        }
        if (rc == 0)
            rc = answer_pending(t, err);
    }
    return rc;
}

int fault_thread_main(void *arg, struct error *err)
{
    struct fault_thread *t = arg;
    int rc = thread_loop(t, err);
    struct error ignored;

    for (unsigned i = 0; i < t->n_pending; i++)
        uffd_space_wake(t->pending[i].space, t->pending[i].fault.offset,
                        &ignored);
    t->n_pending = 0;
    return rc;
}

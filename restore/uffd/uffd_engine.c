/*
 * uffd_engine.c - fault threads over a set of descriptors.
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
#include "restore/uffd/uffd_engine.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define LOG_AREA "uffd"
#include "core/base/log.h"
#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "core/base/worker.h"

#define NOTIFIERS_MAX 8u

/* Pauses between tries while an event's thread has not run: from the time of a
 * wake-up to what still keeps a fault below a disk's. */
#define BUSY_FIRST_NS UINT64_C(20000)
#define BUSY_LAST_NS  UINT64_C(2000000)

/* Faults come in trains: so long after one a thread looks for the next without
 * going to sleep, since waking an idle processor takes longer than a fault. */
#define EAGER_NS UINT64_C(50000)

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

/* ---- Birth ---- */

static void signal_fd(int fd, uint64_t n)
{
    if (write(fd, &n, sizeof(n)) < 0) {
        /* EAGAIN: it is readable already. */
    }
}

static void cancel(void *arg)
{
    struct uffd_engine *e = arg;

    signal_fd(e->stop_fd, 1);
    signal_fd(e->over_fd, 1);
}

int uffd_engine_new(const struct uffd_engine_args *args,
                    struct uffd_engine **ret, struct error *err)
{
    struct uffd_engine *e = calloc(1, sizeof(*e));

    if (!e)
        return fail_nomem(err);
    e->args = *args;
    if (e->args.fault_threads == 0)
        e->args.fault_threads = 1;
    assert(e->args.fault_threads <= UFFD_ENGINE_THREADS_MAX);
    lock_init(&e->lock);
    worker_group_init(&e->group, cancel, e);
    e->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    e->over_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    e->zero_page = mmap(NULL, args->page_bytes, PROT_READ,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (e->zero_page == MAP_FAILED)
        e->zero_page = NULL;
    if (e->stop_fd < 0 || e->wake_fd < 0 || e->over_fd < 0 || !e->zero_page) {
        fail_errno(err, ERR_IO, "cannot make an engine");
        uffd_engine_free(e);
        return err->code;
    }
    *ret = e;
    return 0;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

void uffd_engine_free(struct uffd_engine *e)
{
    struct error ignored = ERROR_INIT;

    if (!e)
        return;
    if (uffd_engine_state(e) != UFFD_STATE_END &&
        uffd_engine_end(e, UFFD_END_LEAVE, &ignored) < 0)
        log_debug("ended with: %s", ignored.message);
    for (unsigned i = 0; i < UFFD_ENGINE_THREADS_MAX; i++)
        free(e->threads[i].pending);
    close_if_open(e->stop_fd);
    close_if_open(e->wake_fd);
    close_if_open(e->over_fd);
    if (e->zero_page)
        munmap(e->zero_page, e->args.page_bytes);
    worker_group_release(&e->group);
    lock_release(&e->lock);
    free(e);
}

enum uffd_state uffd_engine_state(struct uffd_engine *e)
{
    LOCK_SCOPE(&e->lock);

    return e->state;
}

static int move_to(struct uffd_engine *e, enum uffd_state to, struct error *err)
{
    LOCK_SCOPE(&e->lock);

    return uffd_state_move(&e->state, to, err);
}

/* Whether the move would be legal, before anything is done for it. */
static int check_move(struct uffd_engine *e, enum uffd_state to,
                      struct error *err)
{
    enum uffd_state s = uffd_engine_state(e);

    return uffd_state_move(&s, to, err);
}

int uffd_engine_add_notifier(struct uffd_engine *e,
                             int (*notify)(void *arg, enum uffd_notice notice,
                                           struct error *err),
                             void *arg, struct error *err)
{
    if (e->n_notifiers == NOTIFIERS_MAX)
        return fail(err, ERR_INVALID, "more than %u notifiers", NOTIFIERS_MAX);
    e->notifiers[e->n_notifiers].notify = notify;
    e->notifiers[e->n_notifiers++].arg = arg;
    return 0;
}

static int notify(struct uffd_engine *e, enum uffd_notice notice,
                  struct error *err)
{
    for (unsigned i = 0; i < e->n_notifiers; i++) {
        int rc = e->notifiers[i].notify(e->notifiers[i].arg, notice, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

static int probe_host(struct error *err)
{
    struct uffd_ability a;
    struct error first = ERROR_INIT;

    for (int way = 0; way < UFFD_WAY__COUNT; way++) {
        if (uffd_try_memory((enum uffd_way)way, UFFD_MEMORY_ANONYMOUS, &a,
                            first.code ? err : &first) == 0)
            return 0;
    }
    error_copy(err, &first);
    return error_hint(err, "'firn doctor' tells what helps");
}

int uffd_engine_advise(struct uffd_engine *e, struct error *err)
{
    int rc = check_move(e, UFFD_STATE_ADVISE, err);

    if (rc == 0)
        rc = notify(e, UFFD_NOTICE_PROBE, err);
    if (rc == 0 && !e->args.skip_probe)
        rc = probe_host(err);
    if (rc == 0)
        rc = notify(e, UFFD_NOTICE_ADVISE, err);
    return rc < 0 ? rc : move_to(e, UFFD_STATE_ADVISE, err);
}

/* ---- Descriptors ---- */

static int add_space(struct uffd_engine *e, struct uffd_space *s, bool shared,
                     struct error *err)
{
    LOCK_SCOPE(&e->lock);

    if (e->n_spaces == UFFD_ENGINE_SPACES_MAX)
        return fail(err, ERR_UNSUPPORTED, "more than %u descriptors",
                    UFFD_ENGINE_SPACES_MAX);
    e->shared[e->n_spaces] = shared;
    e->spaces[e->n_spaces++] = s;
    return 0;
}

static int attach_now(struct uffd_engine *e,
                      const struct uffd_attach_args *args, struct error *err)
{
    struct uffd_space_args space = {
        .fd = args->fd,
        .regions = args->regions,
        .n_regions = args->n_regions,
        .image_bytes = e->args.image_bytes,
        .page_bytes = e->args.page_bytes,
        .modes = args->modes ? args->modes : UFFD_MODE_MISSING,
        .local = args->local,
        .place_protected = args->place_protected,
        .zero_page = e->zero_page,
    };
    struct uffd_space *s;
    int rc = uffd_space_new(&space, &s, err);

    if (rc < 0)
        return rc;
    rc = add_space(e, s, args->shared, err);
    if (rc < 0) {
        uffd_space_unregister(s);
        s->fd = -1;
        uffd_space_free(s);
        return rc;
    }
    signal_fd(e->wake_fd, e->args.fault_threads);
    return 0;
}

/* Copies the regions: the caller's are borrowed for the call only. */
static int attach_later(struct uffd_engine *e,
                        const struct uffd_attach_args *args, struct error *err)
{
    size_t bytes = args->n_regions * sizeof(*args->regions);
    struct space_region *regions = malloc(bytes ? bytes : 1);
    struct uffd_attach_args *more =
        realloc(e->waiting, (e->n_waiting + 1) * sizeof(*more));

    if (more)
        e->waiting = more;
    if (!more || !regions) {
        free(regions);
        return fail_nomem(err);
    }
    if (bytes)
        memcpy(regions, args->regions, bytes);
    e->waiting[e->n_waiting] = *args;
    e->waiting[e->n_waiting++].regions = regions;
    return 0;
}

int uffd_engine_attach(struct uffd_engine *e,
                       const struct uffd_attach_args *args, struct error *err)
{
    enum uffd_state state = uffd_engine_state(e);

    if (state == UFFD_STATE_NONE || state == UFFD_STATE_END)
        return fail(err, ERR_INVALID,
                    "a descriptor cannot be attached in state '%s'",
                    uffd_state_name(state));
    if (state == UFFD_STATE_ADVISE || state == UFFD_STATE_DISCARD)
        return attach_later(e, args, err);
    return attach_now(e, args, err);
}

struct uffd_space *uffd_engine_space(struct uffd_engine *e, unsigned n)
{
    LOCK_SCOPE(&e->lock);

    return n < e->n_spaces ? e->spaces[n] : NULL;
}

int uffd_engine_discard(struct uffd_engine *e,
                        const struct space_region *region, uint64_t offset,
                        uint64_t len, bool shared, struct error *err)
{
    int rc = check_move(e, UFFD_STATE_DISCARD, err);

    if (rc == 0)
        rc = uffd_space_discard(region, offset, len, shared, err);
    return rc < 0 ? rc : move_to(e, UFFD_STATE_DISCARD, err);
}

/* ---- Placing ---- */

/* Pages that came into shared memory by one descriptor are there for all, but
 * the kernel wakes only who waits on that one. */
static void wake_shared(struct uffd_engine *e, const struct uffd_space *placed,
                        uint64_t offset, uint64_t len)
{
    struct uffd_space *others[UFFD_ENGINE_SPACES_MAX];
    unsigned n = 0;
    bool shared = false;
    struct error ignored;

    lock_take(&e->lock);
    for (unsigned i = 0; i < e->n_spaces; i++) {
        if (e->spaces[i] == placed)
            shared = e->shared[i];
        else if (e->shared[i])
            others[n++] = e->spaces[i];
    }
    lock_drop(&e->lock);
    for (unsigned i = 0; shared && i < n; i++) {
        for (uint64_t at = 0; at < len; at += placed->page_bytes)
            uffd_space_wake(others[i], offset + at, &ignored);
    }
}

static enum uffd_outcome place(struct uffd_engine *e, struct uffd_space *space,
                               uint64_t offset, const void *data, uint64_t len,
                               enum space_how how, uint64_t *ret_done,
                               struct error *err)
{
    enum uffd_outcome outcome =
        uffd_space_place(space, offset, data, len, how, ret_done, err);

    if (*ret_done > 0)
        wake_shared(e, space, offset, *ret_done);
    return outcome;
}

enum uffd_outcome uffd_engine_place(struct uffd_engine *e,
                                    struct uffd_space *space, uint64_t offset,
                                    const void *data, uint64_t len,
                                    bool quietly, uint64_t *ret_done,
                                    struct error *err)
{
    return place(e, space, offset, data, len,
                 quietly ? SPACE_QUIETLY : SPACE_WAKING, ret_done, err);
}

/* ---- Fault threads ---- */

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
    *ret = place(e, p->space, p->fault.offset, data, p->space->page_bytes,
                 SPACE_FOR_FAULT, &done, err);
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
    int rc = add_space(e, child, false, err);

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

static int fault_thread_main(void *arg, struct error *err)
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

/* ---- Moves ---- */

static int attach_waiting(struct uffd_engine *e, struct error *err)
{
    int rc = 0;

    for (unsigned i = 0; i < e->n_waiting && rc == 0; i++) {
        rc = attach_now(e, &e->waiting[i], err);
        if (rc == 0)
            e->waiting[i].fd = -1;
    }
    return rc;
}

static int start_threads(struct uffd_engine *e, struct error *err)
{
    int rc = 0;

    for (unsigned i = 0; i < e->args.fault_threads && rc == 0; i++) {
        e->threads[i].engine = e;
        e->threads[i].lane = i;
        rc = worker_start(&e->group, "fault", fault_thread_main, &e->threads[i],
                          err);
    }
    return rc;
}

int uffd_engine_listen(struct uffd_engine *e, struct error *err)
{
    int rc = check_move(e, UFFD_STATE_LISTENING, err);

    if (rc == 0)
        rc = notify(e, UFFD_NOTICE_LISTEN, err);
    if (rc == 0)
        rc = attach_waiting(e, err);
    if (rc == 0)
        rc = start_threads(e, err);
    return rc < 0 ? rc : move_to(e, UFFD_STATE_LISTENING, err);
}

int uffd_engine_run(struct uffd_engine *e, struct error *err)
{
    return move_to(e, UFFD_STATE_RUNNING, err);
}

static void let_go(struct uffd_engine *e, enum uffd_end how)
{
    struct uffd_space *s;

    for (unsigned i = 0; (s = uffd_engine_space(e, i)); i++) {
        if (how == UFFD_END_RELEASE)
            uffd_space_unregister(s);
        /* The counters go on to be asked for; the descriptor does not. */
        close_if_open(s->fd);
        s->fd = -1;
    }
    for (unsigned i = 0; i < e->n_waiting; i++) {
        close_if_open(e->waiting[i].fd);
        free((void *)(uintptr_t)e->waiting[i].regions);
    }
    free(e->waiting);
    e->waiting = NULL;
    e->n_waiting = 0;
}

/* Adds up what the spaces counted, then frees them. */
static void free_spaces(struct uffd_engine *e)
{
    struct uffd_engine_stats all;

    uffd_engine_stats(e, &all);
    lock_take(&e->lock);
    e->stats = all;
    for (unsigned i = 0; i < e->n_spaces; i++)
        uffd_space_free(e->spaces[i]);
    e->n_spaces = 0;
    lock_drop(&e->lock);
}

int uffd_engine_end(struct uffd_engine *e, enum uffd_end how, struct error *err)
{
    struct error ignored;
    int rc;

    if (uffd_engine_state(e) == UFFD_STATE_END)
        return 0;
    signal_fd(e->stop_fd, 1);
    rc = worker_group_join(&e->group, err);
    let_go(e, how);
    free_spaces(e);
    if (notify(e, UFFD_NOTICE_END, &ignored) < 0)
        log_debug("the end cannot be refused: %s", ignored.message);
    if (move_to(e, UFFD_STATE_END, &ignored) < 0)
        log_error("%s", ignored.message);
    return rc;
}

int uffd_engine_over_fd(const struct uffd_engine *e)
{
    return e->over_fd;
}

void uffd_engine_stats(struct uffd_engine *e, struct uffd_engine_stats *ret)
{
    LOCK_SCOPE(&e->lock);

    *ret = e->stats;
    for (unsigned i = 0; i < e->n_spaces; i++) {
        const struct space_counts *c = &e->spaces[i]->counts;

        ret->placed += c->placed;
        ret->present += c->present;
        ret->removed += c->removed;
        ret->busy += c->busy;
        ret->gone += c->gone;
    }
}

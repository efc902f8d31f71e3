/*
 * uffd_engine.c - descriptors, states and ends; fault_thread.c does the work.
 *
 * The owner's thread alone moves the state; a descriptor may be attached before
 * the engine listens (its ranges are only noted) or after. What goes wrong in a
 * fault thread ends all of them and is told by end(), which is reached from any
 * state. Letting go and leaving differ: who is released sees zeros where a page
 * was missing, who is left goes on waiting and never sees a wrong byte.
 */
#include "restore/uffd/uffd_engine_inside.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

#define LOG_AREA "uffd"
#include "core/base/log.h"

/* ---- Birth ---- */

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

int uffd_engine_add_space(struct uffd_engine *e, struct uffd_space *s,
                          bool shared, struct error *err)
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
    rc = uffd_engine_add_space(e, s, args->shared, err);
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

enum uffd_outcome uffd_engine_place_as(struct uffd_engine *e,
                                       struct uffd_space *space,
                                       uint64_t offset, const void *data,
                                       uint64_t len, enum space_how how,
                                       uint64_t *ret_done, struct error *err)
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
    return uffd_engine_place_as(e, space, offset, data, len,
                                quietly ? SPACE_QUIETLY : SPACE_WAKING,
                                ret_done, err);
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

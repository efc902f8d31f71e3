/*
 * snapshot_feed.c - who places which page, and when.
 *
 * A fault is answered alone and first; what came with its frame is placed
 * after the client runs again, and the kernel is asked to read around it.
 *
 * Hints are cut into groups of GROUP pages in the order of first touch. The
 * workers take one group after the other, each with many reads in flight. A
 * client that touches faster than they place meets a page whose group is not
 * yet taken: then the fault thread takes that group itself, places all of it
 * and the asked-for page last, and the workers go on behind it. If a worker has
 * it already, the fault thread waits for the whole group as well. Pages of a
 * group are placed without waking: their faults are all answered here. So the
 * client is stopped once a group instead of once a page, and the whole is as
 * fast as placing is.
 *
 * What was prefetched is never heard of again: a touch of a page that is there
 * is not told by anybody. So that old hints can die, the last page of each full
 * group is kept back as a sample. If it is asked for, its group was right; if
 * not, the whole group counts as not asked for in this run.
 *
 * Filling goes through the image in chunks, by a counter that all workers
 * share. Workers run at a lower priority than the fault threads.
 */
#include "restore/uffd/snapshot_feed.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#define LOG_AREA "feed"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/worker.h"

#define GROUP       32u
#define CHUNK_PAGES 512u /* 2 MiB: what the caches of a core hold */
#define DEPTH       8u
#define WORKER_NICE 5

/* The first touches that are worth remembering: what hints can hold. */
#define LOG_MAX HINTS_MAX

/* A group takes half a millisecond when nothing is in its way. */
#define GROUP_PAUSE_NS 50000L
#define GROUP_PAUSES   30u

#define BUSY_FIRST_NS 20000L
#define BUSY_LAST_NS  2000000L

/* A thread's workspace: of a fault thread or of a worker. */
struct lane {
    struct snapshot_feed *feed;
    struct frame_reader *reader;
    uint8_t *staging;         /* CHUNK_PAGES */
    struct frame_want *wants; /* CHUNK_PAGES */
    size_t n_wants;
    _Atomic uint64_t *counter; /* of what scan() places */
    bool failed;               /* a page of the last scan cannot be had */
    bool waits;                /* a worker: may wait for others */
    bool quietly;              /* waiters are woken by the fault thread */
    bool quiet;                /* scan() only brings: the caller places */
    struct error why;

    /* the page answered last, for its neighbours */
    struct page_place place;
    const uint8_t *frame; /* NULL: it was zero, or came in another way */
    bool cached;
};

enum group_state { GROUP_OPEN = 0, GROUP_TAKEN, GROUP_DONE };

struct snapshot_feed {
    /* set before the threads start, then read only */
    struct snapshot_feed_args args;
    struct uffd_engine *engine;
    uint64_t n_pages;
    unsigned per_page; /* image pages in a host page */
    struct lane faults[UFFD_ENGINE_THREADS_MAX];
    struct lane *workers;
    struct worker_group group;
    int done_fd;
    pgno_t *wanted;     /* hinted pages in order */
    uint32_t *position; /* of a page in `wanted`, plus 1; 0: none */
    size_t n_wanted;
    size_t group_pages;
    size_t n_groups;

    /* by any thread, each for itself */
    struct page_marks logged;      /* asked for already */
    struct page_marks held;        /* samples of the hints */
    struct page_marks bad;         /* cannot be had */
    _Atomic unsigned char *groups; /* enum group_state */
    _Atomic size_t next_group;     /* where the workers go on */
    _Atomic size_t swept_groups;   /* the second time through, for gaps */
    _Atomic uint64_t next_chunk;
    _Atomic unsigned busy_workers;
    _Atomic bool stop;
    _Atomic bool fill;
    _Atomic bool filled;
    _Atomic uint64_t asked;
    _Atomic uint64_t near_pages;
    _Atomic uint64_t prefetched;
    _Atomic uint64_t fill_count;
    _Atomic uint64_t worker_cpu_ns;

    /* protected by `lock` */
    struct lock lock; /* `log` */
    pgno_t *log GUARDED_BY(lock);
    size_t n_log GUARDED_BY(lock);
    size_t cap_log GUARDED_BY(lock);

    struct hint *run; /* snapshot_feed_run() */
};

/* ---- Birth ---- */

static void lane_release(struct lane *l)
{
    frame_reader_free(l->reader);
    if (l->staging)
        munmap(l->staging, (size_t)CHUNK_PAGES * PAGE_BYTES);
    free(l->wants);
}

static int lane_init(struct lane *l, struct snapshot_feed *f, struct error *err)
{
    l->feed = f;
    /* Taken from the system page by page: a lane that only answers faults
     * needs none of it. */
    l->staging =
        mmap(NULL, (size_t)CHUNK_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (l->staging == MAP_FAILED) {
        l->staging = NULL;
        return fail_nomem(err);
    }
    l->wants = calloc(CHUNK_PAGES, sizeof(*l->wants));
    if (!l->wants)
        return fail_nomem(err);
    return frame_reader_new(f->args.frames, DEPTH, &l->reader, err);
}

static int take_hints(struct snapshot_feed *f, struct error *err)
{
    const struct hints *h = f->args.hints;

    f->group_pages = f->per_page == 1 ? GROUP : 1;
    if (!h || h->n == 0 || f->args.workers == 0)
        return 0;
    f->wanted = calloc(h->n, sizeof(*f->wanted));
    f->position = calloc(f->n_pages, sizeof(*f->position));
    f->groups = calloc(h->n, sizeof(*f->groups));
    if (!f->wanted || !f->position || !f->groups)
        return fail_nomem(err);
    for (size_t i = 0; i < h->n; i++) {
        pgno_t pgno = h->list[i].pgno / f->per_page * f->per_page;

        if (!hint_is_wanted(h, i) || h->list[i].block != f->args.block ||
            pgno >= f->n_pages || f->position[pgno] != 0)
            continue;
        f->wanted[f->n_wanted++] = pgno;
        f->position[pgno] = (uint32_t)f->n_wanted;
        if (f->group_pages > 1 && f->n_wanted % f->group_pages == 0)
            page_marks_set(&f->held, pgno);
    }
    f->n_groups = (f->n_wanted + f->group_pages - 1) / f->group_pages;
    return 0;
}

int snapshot_feed_new(const struct snapshot_feed_args *args,
                      struct snapshot_feed **ret, struct error *err)
{
    cleanup(snapshot_feed) struct snapshot_feed *f = calloc(1, sizeof(*f));
    const struct ramblock_list *blocks = snapshot_frames_blocks(args->frames);
    int rc;

    if (!f)
        return fail_nomem(err);
    f->args = *args;
    f->n_pages = ramblock_pages(&blocks->blocks[args->block]);
    f->per_page = args->page_bytes / PAGE_BYTES;
    f->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    lock_init(&f->lock);
    if (f->done_fd < 0)
        return fail_errno(err, ERR_IO, "eventfd failed");
    rc = page_marks_init(&f->logged, f->n_pages, err);
    if (rc == 0)
        rc = page_marks_init(&f->held, f->n_pages, err);
    if (rc == 0)
        rc = page_marks_init(&f->bad, f->n_pages, err);
    if (rc == 0)
        rc = take_hints(f, err);
    if (rc == 0)
        rc = lane_init(&f->faults[0], f, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&f);
    return 0;
}

void snapshot_feed_free(struct snapshot_feed *f)
{
    if (!f)
        return;
    for (unsigned i = 0; i < UFFD_ENGINE_THREADS_MAX; i++)
        lane_release(&f->faults[i]);
    for (unsigned i = 0; f->workers && i < f->args.workers; i++)
        lane_release(&f->workers[i]);
    free(f->workers);
    if (f->done_fd >= 0)
        close(f->done_fd);
    page_marks_release(&f->logged);
    page_marks_release(&f->held);
    page_marks_release(&f->bad);
    free(f->wanted);
    free(f->position);
    free((void *)f->groups);
    free(f->log);
    free(f->run);
    lock_release(&f->lock);
    free(f);
}

/* ---- Placing ---- */

static struct uffd_space *main_space(struct snapshot_feed *f)
{
    return uffd_engine_space(f->engine, 0);
}

/* A page that a worker has no business with. */
static bool is_settled(struct snapshot_feed *f, const struct uffd_space *s,
                       pgno_t pgno)
{
    uint64_t host = pgno / f->per_page;

    return page_marks_test(&s->received, host) ||
           page_marks_test(&s->removed, host);
}

static int tell_damage(struct snapshot_feed *f, pgno_t pgno,
                       const struct error *why, struct error *err)
{
    if (page_marks_set(&f->bad, pgno))
        return 0;
    return f->args.damaged(f->args.arg, pgno, why, err);
}

/* Places all of it. A worker waits while an event keeps it from being placed;
 * a fault thread must not, for it is the one who reads the event. */
static int place_run(struct lane *l, pgno_t pgno, const uint8_t *data,
                     uint64_t pages, struct error *err)
{
    struct snapshot_feed *f = l->feed;
    struct uffd_space *space = main_space(f);
    uint64_t offset = pgno * PAGE_BYTES;
    uint64_t len = pages * PAGE_BYTES;
    uint64_t done;
    struct timespec pause = {.tv_nsec = BUSY_FIRST_NS};

    while (len > 0 && !f->stop) {
        enum uffd_outcome outcome =
            uffd_engine_place(f->engine, space, offset, data, len, l->quietly,
                              &done, err);

        offset += done;
        len -= done;
        data += done;
        if (outcome == UFFD_FAILED)
            return err->code;
        if (outcome == UFFD_EXITED)
            f->stop = true;
        if (outcome == UFFD_BUSY && !l->waits)
            break;
        if (outcome == UFFD_BUSY) {
            nanosleep(&pause, NULL);
            pause.tv_nsec = MIN(pause.tv_nsec * 2, BUSY_LAST_NS);
        }
    }
    return 0;
}

/* ---- Scans ---- */

static int scan_ready(void *arg, const struct frame_want *wants, size_t n,
                      struct error *err)
{
    struct lane *l = arg;
    size_t at = 0;
    int rc = 0;

    while (at < n && rc == 0 && !l->quiet) {
        size_t end = at + 1;

        while (end < n && wants[end].tag == wants[end - 1].tag + 1 &&
               wants[end].to == wants[end - 1].to + PAGE_BYTES)
            end++;
        rc = place_run(l, wants[at].tag, wants[at].to, end - at, err);
        *l->counter += end - at;
        at = end;
    }
    return rc;
}

static int scan_damaged(void *arg, const struct frame_want *wants, size_t n,
                        const struct error *why, struct error *err)
{
    struct lane *l = arg;
    int rc = 0;

    l->failed = true;
    error_copy(&l->why, why);
    for (size_t i = 0; i < n && rc == 0 && !l->quiet; i++)
        rc = tell_damage(l->feed, wants[i].tag, why, err);
    return rc;
}

static int run_scan(struct lane *l, struct error *err)
{
    const struct frame_scan scan = {.arg = l,
                                    .views = !l->quiet,
                                    .ready = scan_ready,
                                    .damaged = scan_damaged};

    l->failed = false;
    return frame_reader_scan(l->reader, l->wants, l->n_wants, &scan, err);
}

static void want(struct lane *l, const struct page_place *place, pgno_t pgno,
                 size_t slot)
{
    l->wants[l->n_wants++] = (struct frame_want){
        .place = *place, .to = l->staging + slot * PAGE_BYTES, .tag = pgno};
}

/* ---- Huge pages: all of one, then placed ---- */

/* The whole host page at `pgno` into the staging; *ret NULL if it is zero. */
static int gather(struct lane *l, pgno_t pgno, const uint8_t **ret,
                  struct error *err)
{
    struct snapshot_feed *f = l->feed;
    int rc = 0;

    l->n_wants = 0;
    l->quiet = true;
    for (unsigned i = 0; i < f->per_page && rc == 0; i++) {
        struct page_place place;

        rc = snapshot_frames_locate(f->args.frames, f->args.block, pgno + i,
                                    &place, err);
        if (rc == 0 && place.zero)
            memset(l->staging + (size_t)i * PAGE_BYTES, 0, PAGE_BYTES);
        else if (rc == 0)
            want(l, &place, pgno + i, i);
    }
    if (rc == 0)
        rc = run_scan(l, err);
    l->quiet = false;
    if (rc == 0 && l->failed)
        rc = error_copy(err, &l->why);
    *ret = l->n_wants ? l->staging : NULL;
    return rc;
}

/* Fills one host page; zero ones are left to the kernel. */
static int place_huge(struct lane *l, pgno_t pgno, struct error *err)
{
    struct snapshot_feed *f = l->feed;
    struct error why = ERROR_INIT;
    const uint8_t *data;

    if (is_settled(f, main_space(f), pgno))
        return 0;
    if (gather(l, pgno, &data, &why) < 0)
        return tell_damage(f, pgno, &why, err);
    *l->counter += data ? f->per_page : 0;
    return data ? place_run(l, pgno, data, f->per_page, err) : 0;
}

/* ---- Hints ---- */

static bool is_wanted_already(const struct lane *l, pgno_t pgno)
{
    for (size_t i = l->n_wants; i-- > 0;) {
        if (l->wants[i].tag == pgno)
            return true;
    }
    return false;
}

/* The whole frame around a hinted page: it costs the same. */
static void want_frame(struct lane *l, pgno_t pgno)
{
    struct snapshot_feed *f = l->feed;
    struct uffd_space *space = main_space(f);
    struct page_place place;
    struct error ignored;
    pgno_t first;
    pgno_t end;

    if (snapshot_frames_locate(f->args.frames, f->args.block, pgno, &place,
                               &ignored) < 0 ||
        place.zero || is_wanted_already(l, pgno))
        return;
    snapshot_frames_around(f->args.frames, f->args.block, pgno, &first, &end);
    for (pgno_t p = first; p < end && l->n_wants < CHUNK_PAGES; p++) {
        struct page_place at = place;

        at.slot = place.slot + (uint32_t)(p - pgno);
        if (!is_settled(f, space, p) && !page_marks_test(&f->held, p))
            want(l, &at, p, l->n_wants);
    }
}

/* Zero pages cost no read, only a call. */
static int place_if_zero(struct lane *l, pgno_t pgno, struct error *err)
{
    struct snapshot_feed *f = l->feed;
    struct uffd_space *space = main_space(f);
    struct page_place place;
    struct error ignored;
    uint64_t done;

    if (snapshot_frames_locate(f->args.frames, f->args.block, pgno, &place,
                               &ignored) < 0 ||
        !place.zero || is_settled(f, space, pgno) ||
        page_marks_test(&f->held, pgno))
        return 0;
    *l->counter += 1;
    return uffd_engine_place(f->engine, space, pgno * PAGE_BYTES, NULL,
                             PAGE_BYTES, true, &done, err) == UFFD_FAILED
               ? err->code
               : 0;
}

/* Places a group that the caller has taken; `but`: a page that the caller
 * itself answers (n_pages: none). */
static int place_pages_of(struct lane *l, size_t group, pgno_t but,
                          struct error *err)
{
    struct snapshot_feed *f = l->feed;
    size_t first = group * f->group_pages;
    size_t end = MIN(first + f->group_pages, f->n_wanted);
    int rc = 0;

    l->counter = &f->prefetched;
    if (f->per_page > 1)
        return f->wanted[first] == but ? 0
                                       : place_huge(l, f->wanted[first], err);
    l->n_wants = 0;
    for (size_t i = first; i < end && rc == 0; i++) {
        if (f->wanted[i] == but)
            continue;
        want_frame(l, f->wanted[i]);
        rc = place_if_zero(l, f->wanted[i], err);
    }
    return rc < 0 ? rc : run_scan(l, err);
}

static int place_group(struct lane *l, size_t group, pgno_t but,
                       struct error *err)
{
    struct snapshot_feed *f = l->feed;
    int rc;

    l->quietly = true;
    rc = place_pages_of(l, group, but, err);
    l->quietly = false;
    f->groups[group] = GROUP_DONE;
    return rc;
}

/* A worker is at it: the page comes with the rest of the group, and whoever
 * asked is woken once for all of it. Not for long: on a busy machine the worker
 * may not run, and then the page alone is answered. */
static void wait_for_group(struct snapshot_feed *f, size_t group)
{
    const struct timespec pause = {.tv_nsec = GROUP_PAUSE_NS};

    for (unsigned i = 0;
         i < GROUP_PAUSES && f->groups[group] == GROUP_TAKEN && !f->stop; i++)
        nanosleep(&pause, NULL);
}

static bool take_group(struct snapshot_feed *f, size_t group)
{
    unsigned char open = GROUP_OPEN;

    return atomic_compare_exchange_strong_explicit(&f->groups[group], &open,
                                                   GROUP_TAKEN,
                                                   memory_order_seq_cst,
                                                   memory_order_seq_cst);
}

/* The next group that nobody has: first on from where the client is, then from
 * the beginning, for what it jumped over. */
static bool find_group(struct snapshot_feed *f, size_t *ret)
{
    for (;;) {
        size_t g = f->next_group;

        if (g >= f->n_groups) {
            g = f->swept_groups++;
            if (g >= f->n_groups)
                return false;
        } else {
            f->next_group++;
        }
        if (g < f->n_groups && take_group(f, g)) {
            *ret = g;
            return true;
        }
    }
}

/* ---- Faults ---- */

static void log_touch(struct snapshot_feed *f, pgno_t pgno)
{
    LOCK_SCOPE(&f->lock);

    if (f->n_log == LOG_MAX)
        return;
    if (f->n_log == f->cap_log) {
        size_t cap = MAX(f->cap_log * 2, (size_t)1024);
        pgno_t *more = realloc(f->log, cap * sizeof(*more));

        if (!more)
            return; /* a hint less */
        f->log = more;
        f->cap_log = cap;
    }
    f->log[f->n_log++] = pgno;
}

static void on_asked(void *arg, unsigned lane, struct uffd_space *space,
                     uint64_t offset)
{
    struct snapshot_feed *f = arg;
    struct lane *l = &f->faults[lane];
    pgno_t pgno = offset / PAGE_BYTES;
    struct error why = ERROR_INIT;
    size_t group;

    if (page_marks_set(&f->logged, pgno))
        return;
    f->asked++;
    log_touch(f, pgno);
    if (!f->position || f->position[pgno] == 0 || space != main_space(f))
        return;
    group = (f->position[pgno] - 1) / f->group_pages;
    if (!take_group(f, group)) {
        wait_for_group(f, group);
        return;
    }
    if (f->next_group <= group)
        f->next_group = group + 1;
    if (place_group(l, group, pgno, &why) < 0)
        log_debug("prefetch: %s", why.message);
}

static int on_fetch(void *arg, unsigned lane, uint64_t offset,
                    const uint8_t **ret, struct error *err)
{
    struct snapshot_feed *f = arg;
    struct lane *l = &f->faults[lane];
    uint32_t bytes;
    int rc;

    l->frame = NULL;
    if (f->per_page > 1)
        return gather(l, offset / PAGE_BYTES, ret, err);
    rc = snapshot_frames_locate(f->args.frames, f->args.block,
                                offset / PAGE_BYTES, &l->place, err);
    if (rc < 0)
        return rc;
    if (l->place.zero) {
        *ret = NULL;
        return 0;
    }
    rc = frame_reader_get(l->reader, &l->place, &l->frame, &bytes, &l->cached,
                          err);
    if (rc < 0) {
        l->frame = NULL;
        return rc;
    }
    *ret = l->frame + (size_t)l->place.slot * PAGE_BYTES;
    return 0;
}

/* One try is enough: what is not placed now will be asked for, or filled. */
static void place_near(struct lane *l, struct uffd_space *space, pgno_t pgno,
                       pgno_t first, pgno_t end)
{
    struct snapshot_feed *f = l->feed;
    struct error ignored;
    uint64_t done;

    while (first < end && page_marks_test(&space->received, first))
        first++;
    if (first >= end)
        return;
    uffd_engine_place(f->engine, space, first * PAGE_BYTES,
                      l->frame + (l->place.slot + first - pgno) * PAGE_BYTES,
                      (end - first) * PAGE_BYTES, false, &done, &ignored);
    f->near_pages += done / PAGE_BYTES;
}

static void on_answered(void *arg, unsigned lane, struct uffd_space *space,
                        uint64_t offset)
{
    struct snapshot_feed *f = arg;
    struct lane *l = &f->faults[lane];
    pgno_t pgno = offset / PAGE_BYTES;
    pgno_t first;
    pgno_t end;

    if (!l->frame)
        return;
    snapshot_frames_around(f->args.frames, f->args.block, pgno, &first, &end);
    place_near(l, space, pgno, first, pgno);
    place_near(l, space, pgno, pgno + 1, end);
    if (!l->cached)
        frame_reader_hint(l->reader, &l->place);
    l->frame = NULL;
}

static int on_damaged(void *arg, uint64_t offset, const struct error *why,
                      struct error *err)
{
    return tell_damage(arg, offset / PAGE_BYTES, why, err);
}

struct uffd_provider snapshot_feed_provider(struct snapshot_feed *f)
{
    return (struct uffd_provider){
        .arg = f,
        .fetch = on_fetch,
        .asked = on_asked,
        .answered = on_answered,
        .damaged = on_damaged,
    };
}

/* ---- Workers ---- */

static int prefetch(struct lane *l, struct error *err)
{
    struct snapshot_feed *f = l->feed;
    size_t group;
    int rc = 0;

    while (rc == 0 && !f->stop && find_group(f, &group))
        rc = place_group(l, group, f->n_pages, err);
    return rc;
}

static int fill_chunk(struct lane *l, pgno_t first, pgno_t end, bool samples,
                      struct error *err)
{
    struct snapshot_feed *f = l->feed;
    struct uffd_space *space = main_space(f);
    int rc = 0;

    l->n_wants = 0;
    for (pgno_t p = first; p < end && rc == 0; p++) {
        struct page_place place;
        struct error why = ERROR_INIT;

        if (is_settled(f, space, p) || page_marks_test(&f->bad, p) ||
            page_marks_test(&f->held, p) != samples)
            continue;
        if (snapshot_frames_locate(f->args.frames, f->args.block, p, &place,
                                   &why) < 0)
            rc = tell_damage(f, p, &why, err);
        else if (!place.zero)
            want(l, &place, p, p - first);
    }
    return rc < 0 ? rc : run_scan(l, err);
}

static int fill_all(struct lane *l, struct error *err)
{
    struct snapshot_feed *f = l->feed;
    uint64_t n = (f->n_pages + CHUNK_PAGES - 1) / CHUNK_PAGES;
    int rc = 0;

    l->counter = &f->fill_count;
    while (rc == 0 && !f->stop) {
        uint64_t chunk = f->next_chunk++;
        pgno_t first = chunk % n * CHUNK_PAGES;
        pgno_t end = MIN(first + CHUNK_PAGES, f->n_pages);

        /* Twice through: the samples of the hints come last. */
        if (chunk >= (f->held.n_set ? 2 * n : n))
            break;
        if (f->per_page == 1)
            rc = fill_chunk(l, first, end, chunk >= n, err);
        for (; f->per_page > 1 && first < end && rc == 0; first += f->per_page)
            rc = place_huge(l, first, err);
    }
    return rc;
}

static int worker_main(void *arg, struct error *err)
{
    struct lane *l = arg;
    struct snapshot_feed *f = l->feed;
    uint64_t one = 1;
    int rc;

    rc = prefetch(l, err);
    if (rc == 0 && f->fill) {
        /* Fails where it is not allowed; then it is as urgent as a fault. */
        /* Not for huge pages: whoever stands in the gate with 2 MiB must get
         * through, or a fault waits for a thread that is not let run. */
        if (f->per_page == 1 &&
            setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), WORKER_NICE) <
                0)
            log_debug("no lower priority for a worker: %s", strerror(errno));
        rc = fill_all(l, err);
    }
    f->worker_cpu_ns += clock_thread_cpu_ns();
    if (--f->busy_workers == 0) {
        f->filled = rc == 0 && f->fill && !f->stop;
        if (write(f->done_fd, &one, sizeof(one)) < 0)
            log_debug("done is told already");
    }
    return rc;
}

static void cancel(void *arg)
{
    struct snapshot_feed *f = arg;

    f->stop = true;
}

static int start_workers(struct snapshot_feed *f, struct error *err)
{
    int rc = 0;

    worker_group_init(&f->group, cancel, f);
    if (!f->workers)
        f->workers = calloc(f->args.workers, sizeof(*f->workers));
    if (!f->workers)
        return fail_nomem(err);
    f->busy_workers = f->args.workers;
    for (unsigned i = 0; i < f->args.workers && rc == 0; i++) {
        if (!f->workers[i].reader)
            rc = lane_init(&f->workers[i], f, err);
        f->workers[i].waits = true;
        if (rc == 0)
            rc = worker_start(&f->group, "fill", worker_main, &f->workers[i],
                              err);
    }
    return rc;
}

void snapshot_feed_set_engine(struct snapshot_feed *f,
                              struct uffd_engine *engine)
{
    f->engine = engine;
}

int snapshot_feed_start(struct snapshot_feed *f, bool fill, struct error *err)
{
    f->fill = fill;
    if (f->args.workers == 0 || (!fill && f->n_wanted == 0))
        return 0;
    return start_workers(f, err);
}

int snapshot_feed_fill(struct snapshot_feed *f, struct error *err)
{
    uint64_t ignored;
    int rc = snapshot_feed_stop(f, err);

    if (rc < 0)
        return rc;
    f->stop = false;
    f->fill = true;
    f->args.workers = MAX(f->args.workers, 1u);
    if (read(f->done_fd, &ignored, sizeof(ignored)) < 0)
        log_debug("the workers had not ended by themselves");
    return start_workers(f, err);
}

int snapshot_feed_done_fd(const struct snapshot_feed *f)
{
    return f->done_fd;
}

bool snapshot_feed_full(const struct snapshot_feed *f)
{
    return f->filled && f->bad.n_set == 0;
}

int snapshot_feed_stop(struct snapshot_feed *f, struct error *err)
{
    int rc = 0;

    f->stop = true;
    if (f->group.cancel) {
        rc = worker_group_join(&f->group, err);
        worker_group_release(&f->group);
    }
    return rc;
}

/* ---- What it came to ---- */

static uint64_t read_bytes(struct snapshot_feed *f)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < UFFD_ENGINE_THREADS_MAX; i++) {
        if (f->faults[i].reader)
            bytes += frame_reader_read_bytes(f->faults[i].reader);
    }
    for (unsigned i = 0; f->workers && i < f->args.workers; i++) {
        if (f->workers[i].reader)
            bytes += frame_reader_read_bytes(f->workers[i].reader);
    }
    return bytes;
}

static bool is_missed_sample(struct snapshot_feed *f, size_t i)
{
    return page_marks_test(&f->held, f->wanted[i]) &&
           !page_marks_test(&f->logged, f->wanted[i]);
}

void snapshot_feed_stats(struct snapshot_feed *f,
                         struct snapshot_feed_stats *ret)
{
    *ret = (struct snapshot_feed_stats){
        .asked = f->asked,
        .near_pages = f->near_pages,
        .prefetched = f->prefetched,
        .prefetch_held = f->held.n_set,
        .filled = f->fill_count,
        .damaged = f->bad.n_set,
        .read_bytes = read_bytes(f),
        .worker_cpu_ns = f->worker_cpu_ns,
    };
    for (size_t i = 0; i < f->n_wanted; i++)
        ret->prefetch_missed += is_missed_sample(f, i);
}

/* Hinted pages whose group was right, then what was asked for besides. */
const struct hint *snapshot_feed_run(struct snapshot_feed *f, size_t *ret_n,
                                     struct error *err)
{
    size_t n = 0;
    LOCK_SCOPE(&f->lock);

    f->run = calloc(f->n_wanted + f->n_log + 1, sizeof(*f->run));
    if (!f->run) {
        fail_nomem(err);
        return NULL;
    }
    for (size_t i = 0; i < f->n_wanted; i++) {
        size_t sample =
            i / f->group_pages * f->group_pages + f->group_pages - 1;

        if (sample < f->n_wanted && is_missed_sample(f, sample) &&
            !page_marks_test(&f->logged, f->wanted[i]))
            continue;
        f->run[n++] =
            (struct hint){.block = f->args.block, .pgno = f->wanted[i]};
    }
    for (size_t i = 0; i < f->n_log; i++)
        f->run[n++] = (struct hint){.block = f->args.block, .pgno = f->log[i]};
    *ret_n = n;
    return f->run;
}

/*
 * snapshot_feed.c - who places which page, and when.
 *
 * A fault is answered alone and first; what came with its frame is placed
 * after the client runs again, and the kernel is asked to read around it. What
 * hints bring is feed_hints.c, how a thread reads and places feed_lane.c.
 *
 * Filling goes through the image in chunks, by a counter that all workers
 * share. Workers run at a lower priority than the fault threads.
 */
#include "restore/uffd/snapshot_feed_inside.h"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define LOG_AREA "feed"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/worker.h"

#define WORKER_NICE 5

/* ---- Birth ---- */

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
    if (f->done_fd < 0)
        return fail_errno(err, ERR_IO, "eventfd failed");
    rc = page_marks_init(&f->logged, f->n_pages, err);
    if (rc == 0)
        rc = page_marks_init(&f->held, f->n_pages, err);
    if (rc == 0)
        rc = page_marks_init(&f->bad, f->n_pages, err);
    if (rc == 0)
        rc = feed_hints_take(f, err);
    if (rc == 0)
        rc = feed_lane_init(&f->faults[0], f, err);
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
        feed_lane_release(&f->faults[i]);
    for (unsigned i = 0; f->workers && i < f->args.workers; i++)
        feed_lane_release(&f->workers[i]);
    free(f->workers);
    if (f->done_fd >= 0)
        close(f->done_fd);
    page_marks_release(&f->logged);
    page_marks_release(&f->held);
    page_marks_release(&f->bad);
    prefetch_plan_free(f->plan);
    free(f);
}

/* ---- Faults ---- */

static void on_asked(void *arg, unsigned lane, struct uffd_space *space,
                     uint64_t offset)
{
    struct snapshot_feed *f = arg;
    struct lane *l = &f->faults[lane];
    pgno_t pgno = offset / PAGE_BYTES;

    if (page_marks_set(&f->logged, pgno))
        return;
    f->asked++;
    prefetch_plan_asked(f->plan, f->args.block, pgno);
    if (space == feed_main_space(f))
        feed_hints_asked(l, pgno);
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
        return feed_lane_gather(l, offset / PAGE_BYTES, ret, err);
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
    return feed_tell_damage(arg, offset / PAGE_BYTES, why, err);
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

static int fill_chunk(struct lane *l, pgno_t first, pgno_t end, bool samples,
                      struct error *err)
{
    struct snapshot_feed *f = l->feed;
    struct uffd_space *space = feed_main_space(f);
    int rc = 0;

    l->n_wants = 0;
    for (pgno_t p = first; p < end && rc == 0; p++) {
        struct page_place place;
        struct error why = ERROR_INIT;

        if (feed_is_settled(f, space, p) || page_marks_test(&f->bad, p) ||
            page_marks_test(&f->held, p) != samples)
            continue;
        if (snapshot_frames_locate(f->args.frames, f->args.block, p, &place,
                                   &why) < 0)
            rc = feed_tell_damage(f, p, &why, err);
        else if (!place.zero)
            feed_lane_want(l, &place, p, p - first);
    }
    return rc < 0 ? rc : feed_lane_scan(l, err);
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
            rc = feed_lane_place_huge(l, first, err);
    }
    return rc;
}

static int worker_main(void *arg, struct error *err)
{
    struct lane *l = arg;
    struct snapshot_feed *f = l->feed;
    uint64_t one = 1;
    int rc;

    rc = feed_hints_place_all(l, err);
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
            rc = feed_lane_init(&f->workers[i], f, err);
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
    if (f->args.workers == 0 || (!fill && prefetch_plan_groups(f->plan) == 0))
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

void snapshot_feed_stats(struct snapshot_feed *f,
                         struct snapshot_feed_stats *ret)
{
    struct prefetch_stats hints;

    prefetch_plan_stats(f->plan, &hints);
    *ret = (struct snapshot_feed_stats){
        .asked = f->asked,
        .near_pages = f->near_pages,
        .prefetched = f->prefetched,
        .prefetch_held = hints.sampled,
        .prefetch_missed = hints.unasked,
        .filled = f->fill_count,
        .damaged = f->bad.n_set,
        .read_bytes = read_bytes(f),
        .worker_cpu_ns = f->worker_cpu_ns,
    };
}

int snapshot_feed_store_run(struct snapshot_feed *f, struct repository *r,
                            const char *id, size_t min_pages, struct error *err)
{
    return prefetch_plan_store(f->plan, r, id, min_pages, NULL, err);
}

/*
 * feed_hints.c - what a client will want, in groups, before it asks.
 *
 * The groups are those of the prefetch plan. The workers take one after the
 * other, each with many reads in flight. A client that touches faster than they
 * place meets a page whose group is not yet taken: then the fault thread takes
 * that group itself, places all of it and the asked-for page last, and the
 * workers go on behind it. If a worker has it already, the fault thread waits
 * for the whole group as well. Pages of a group are placed without waking:
 * their faults are all answered here. So the client is stopped once a group
 * instead of once a page, and the whole is as fast as placing is.
 *
 * Of whole host pages of 2 MiB each is a group of its own, without samples.
 */
#include "restore/uffd/snapshot_feed_inside.h"

#include <time.h>

#define LOG_AREA "feed"
#include "core/base/log.h"

/* A group takes half a millisecond when nothing is in its way. */
#define GROUP_PAUSE_NS 50000L
#define GROUP_PAUSES   30u

static void hold_samples(struct snapshot_feed *f)
{
    for (size_t g = 0; g < prefetch_plan_groups(f->plan); g++) {
        size_t n;
        const struct hint *h = prefetch_plan_group(f->plan, g, &n);
        size_t group;
        bool sample;

        if (prefetch_plan_find(f->plan, h[n - 1].block, h[n - 1].pgno, &group,
                               &sample) &&
            sample)
            page_marks_set(&f->held, h[n - 1].pgno);
    }
}

int feed_hints_take(struct snapshot_feed *f, struct error *err)
{
    uint32_t n = f->args.block + 1;
    cleanup_free struct prefetch_block *blocks = calloc(n, sizeof(*blocks));
    struct prefetch_args args = {
        .hints = f->args.workers > 0 ? f->args.hints : NULL,
        .blocks = blocks,
        .n_blocks = n,
        .group_pages = f->per_page == 1 ? PREFETCH_GROUP : 1,
    };
    int rc;

    if (!blocks)
        return fail_nomem(err);
    blocks[f->args.block] =
        (struct prefetch_block){.pages = f->n_pages, .unit_pages = f->per_page};
    rc = prefetch_plan_new(&args, &f->plan, err);
    if (rc == 0)
        hold_samples(f);
    return rc;
}

/* ---- Groups ---- */

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
    struct uffd_space *space = feed_main_space(f);
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
        if (!feed_is_settled(f, space, p) && !page_marks_test(&f->held, p))
            feed_lane_want(l, &at, p, l->n_wants);
    }
}

/* Zero pages cost no read, only a call. */
static int place_if_zero(struct lane *l, pgno_t pgno, struct error *err)
{
    struct snapshot_feed *f = l->feed;
    struct uffd_space *space = feed_main_space(f);
    struct page_place place;
    struct error ignored;
    uint64_t done;

    if (snapshot_frames_locate(f->args.frames, f->args.block, pgno, &place,
                               &ignored) < 0 ||
        !place.zero || feed_is_settled(f, space, pgno) ||
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
    size_t n;
    const struct hint *wanted = prefetch_plan_group(f->plan, group, &n);
    int rc = 0;

    l->counter = &f->prefetched;
    if (f->per_page > 1)
        return wanted[0].pgno == but
                   ? 0
                   : feed_lane_place_huge(l, wanted[0].pgno, err);
    l->n_wants = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (wanted[i].pgno == but)
            continue;
        want_frame(l, wanted[i].pgno);
        rc = place_if_zero(l, wanted[i].pgno, err);
    }
    return rc < 0 ? rc : feed_lane_scan(l, err);
}

static int place_group(struct lane *l, size_t group, pgno_t but,
                       struct error *err)
{
    struct snapshot_feed *f = l->feed;
    int rc;

    l->quietly = true;
    rc = place_pages_of(l, group, but, err);
    l->quietly = false;
    prefetch_plan_finish(f->plan, group);
    return rc;
}

/* A worker is at it: the page comes with the rest of the group, and whoever
 * asked is woken once for all of it. Not for long: on a busy machine the worker
 * may not run, and then the page alone is answered. */
static void wait_for_group(struct snapshot_feed *f, size_t group)
{
    const struct timespec pause = {.tv_nsec = GROUP_PAUSE_NS};

    for (unsigned i = 0;
         i < GROUP_PAUSES && prefetch_plan_in_work(f->plan, group) && !f->stop;
         i++)
        nanosleep(&pause, NULL);
}

/* ---- For others ---- */

void feed_hints_asked(struct lane *l, pgno_t pgno)
{
    struct snapshot_feed *f = l->feed;
    struct error why = ERROR_INIT;
    size_t group;

    if (!prefetch_plan_find(f->plan, f->args.block, pgno, &group, NULL))
        return;
    if (!prefetch_plan_claim(f->plan, group)) {
        wait_for_group(f, group);
        return;
    }
    prefetch_plan_jump(f->plan, group);
    if (place_group(l, group, pgno, &why) < 0)
        log_debug("prefetch: %s", why.message);
}

int feed_hints_place_all(struct lane *l, struct error *err)
{
    struct snapshot_feed *f = l->feed;
    size_t group;
    int rc = 0;

    while (rc == 0 && !f->stop && prefetch_plan_next(f->plan, &group))
        rc = place_group(l, group, f->n_pages, err);
    return rc;
}

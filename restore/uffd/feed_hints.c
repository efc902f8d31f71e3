/*
 * feed_hints.c - what a client will want, in groups, before it asks.
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
 */
#include "restore/uffd/snapshot_feed_inside.h"

#include <time.h>

#define LOG_AREA "feed"
#include "core/base/log.h"

#define GROUP 32u

/* A group takes half a millisecond when nothing is in its way. */
#define GROUP_PAUSE_NS 50000L
#define GROUP_PAUSES   30u

int feed_hints_take(struct snapshot_feed *f, struct error *err)
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
    size_t first = group * f->group_pages;
    size_t end = MIN(first + f->group_pages, f->n_wanted);
    int rc = 0;

    l->counter = &f->prefetched;
    if (f->per_page > 1)
        return f->wanted[first] == but
                   ? 0
                   : feed_lane_place_huge(l, f->wanted[first], err);
    l->n_wants = 0;
    for (size_t i = first; i < end && rc == 0; i++) {
        if (f->wanted[i] == but)
            continue;
        want_frame(l, f->wanted[i]);
        rc = place_if_zero(l, f->wanted[i], err);
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

/* ---- For others ---- */

void feed_hints_asked(struct lane *l, pgno_t pgno)
{
    struct snapshot_feed *f = l->feed;
    struct error why = ERROR_INIT;
    size_t group;

    if (!f->position || f->position[pgno] == 0)
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

int feed_hints_place_all(struct lane *l, struct error *err)
{
    struct snapshot_feed *f = l->feed;
    size_t group;
    int rc = 0;

    while (rc == 0 && !f->stop && find_group(f, &group))
        rc = place_group(l, group, f->n_pages, err);
    return rc;
}

bool feed_hints_missed(struct snapshot_feed *f, size_t i)
{
    return page_marks_test(&f->held, f->wanted[i]) &&
           !page_marks_test(&f->logged, f->wanted[i]);
}

/*
 * page_stock.c - one thread: which pages are brought in which order.
 *
 * How they get into a batch is page_gatherer.c's, how a batch gets to the one
 * that sends stock_shelf.c's. The fill takes pieces of a sorted window of the
 * index (page_window.c), each of whole frames.
 *
 * A unit of several pages (a huge host page) is brought whole: QEMU places it
 * in one piece. These come behind the others, in the guest's order.
 */
#include "restore/pages/page_stock.h"

#include "core/base/worker.h"
#include "restore/pages/page_gatherer.h"
#include "restore/pages/page_window.h"
#include "restore/pages/stock_shelf.h"

#define LOG_AREA "stock"
#include "core/base/log.h"

#define AROUND 16u /* pages before and behind one that is asked for */
/* 64 MiB of pages kept back: what lies around them is 1 GiB. */
#define TELLTALES_MAX 16384u

enum phase {
    PHASE_PLAN = 0,
    PHASE_FILL,
    PHASE_HUGE,
    PHASE_TELLTALES,
    PHASE_SAMPLES,
    PHASE_END
};

struct page_stock {
    /* set before the thread starts, then read only */
    struct page_stock_args args;
    const struct ramblock_list *blocks;

    /* only the thread */
    enum phase phase;
    struct page_gatherer gatherer;
    struct page_window window;
    struct telltales telltales; /* with a fill */
    uint32_t next_block; /* of huge units */
    pgno_t next_pgno;
    size_t next_sample; /* group */

    struct worker_group group;
    struct stock_shelf shelf; /* both threads */
};

/* ---- Hints and neighbours ---- */

/* What a guest that touches this page is likely to touch next, wherever it is
 * stored. */
static void add_around(struct page_gatherer *g, const struct hint *h)
{
    page_gatherer_add_frame(g, h->block, h->pgno);
    page_gatherer_add_frames(g, h->block, h->pgno, h->pgno + AROUND);
    page_gatherer_add_frames(
        g, h->block, h->pgno - MIN(h->pgno, (pgno_t)AROUND), h->pgno);
}

static int bring_range(struct page_gatherer *g, uint32_t block, pgno_t first,
                       pgno_t end, struct error *err)
{
    if (!page_gatherer_begin(g, PAGE_TURN_NEAR))
        return 0;
    page_gatherer_add_frames(g, block, first, end);
    return page_gatherer_finish(g, PAGE_TURN_NEAR, err);
}

/* Most guests go forwards: what lies there is shown first. */
static int bring_near(struct page_gatherer *g, const struct page_position *at,
                      struct error *err)
{
    int rc = bring_range(g, at->block, at->pgno, at->pgno + AROUND, err);

    if (rc == 0)
        rc = bring_range(g, at->block,
                         at->pgno - MIN(at->pgno, (pgno_t)AROUND), at->pgno,
                         err);
    return rc;
}

/* A guest that outruns its hints waits for what it touches, not for them. */
static int bring_asked(struct page_gatherer *g, struct error *err)
{
    struct page_position at;
    int rc;

    if (!stock_shelf_next_asked(g->args.shelf, &at))
        return 0;
    rc = page_gatherer_finish(g, PAGE_TURN_PREFETCH, err);
    return rc < 0 ? rc : bring_near(g, &at, err);
}

/* Pages of a group that are 4 KiB large, with what is around them. */
static int bring_hints(struct page_gatherer *g, const struct hint *h, size_t n,
                       struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        int rc;

        if (!page_gatherer_is_single(g, h[i].block))
            continue;
        rc = bring_asked(g, err);
        if (rc < 0)
            return rc;
        if (!g->batch && !page_gatherer_begin(g, PAGE_TURN_PREFETCH))
            return 0;
        /* Room for all around it, and for the rest of the outermost frames. */
        if (page_gatherer_left(g) < 4 * AROUND)
            rc = page_gatherer_finish(g, PAGE_TURN_PREFETCH, err);
        if (rc < 0)
            return rc;
        if (!g->batch && !page_gatherer_begin(g, PAGE_TURN_PREFETCH))
            return 0;
        add_around(g, &h[i]);
    }
    return page_gatherer_finish(g, PAGE_TURN_PREFETCH, err);
}

static int bring_group(struct page_stock *s, size_t group, struct error *err)
{
    struct page_gatherer *g = &s->gatherer;
    size_t n;
    const struct hint *h = prefetch_plan_group(s->args.plan, group, &n);
    int rc = 0;

    if (page_gatherer_begin(g, PAGE_TURN_PREFETCH))
        rc = bring_hints(g, h, n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!page_gatherer_is_single(g, h[i].block))
            rc = page_gatherer_bring_unit(g, h[i].block, h[i].pgno,
                                          PAGE_TURN_PREFETCH, err);
    }
    prefetch_plan_finish(s->args.plan, group);
    return rc;
}

/* ---- The rest ---- */

/* Pages of the window, of whole frames. */
static void add_piece(struct page_gatherer *g, struct page_window *w)
{
    size_t at = w->at;
    size_t end = page_window_take(w, g->batch_pages);

    for (; at < end; at++) {
        const struct window_entry *e = &w->entries[at];

        if (!page_gatherer_has(g, e->block, e->pgno) &&
            !page_gatherer_is_sample(g, e->block, e->pgno))
            page_gatherer_add(g, e->block, e->pgno, &e->place);
    }
}

static int fill_piece(struct page_stock *s, struct error *err)
{
    int rc = 0;

    if (s->window.at == s->window.n)
        rc = page_window_load(&s->window, err);
    if (rc < 0)
        return rc;
    if (s->window.n == 0) {
        s->phase = PHASE_HUGE;
        return 0;
    }
    if (telltales_left(&s->telltales) < s->gatherer.batch_pages) {
        page_gatherer_show_telltales(&s->gatherer);
        return 0;
    }
    if (!page_gatherer_begin(&s->gatherer, PAGE_TURN_FILL))
        return 0;
    add_piece(&s->gatherer, &s->window);
    return page_gatherer_finish(&s->gatherer, PAGE_TURN_FILL, err);
}

/* One unit of several pages a time. */
static int fill_huge(struct page_stock *s, struct error *err)
{
    uint32_t block = s->next_block;
    struct error why = ERROR_INIT;
    pgno_t pages;
    pgno_t pgno;
    uint32_t unit;

    if (block == s->blocks->n) {
        s->phase = PHASE_TELLTALES;
        return 0;
    }
    pages = ramblock_pages(&s->blocks->blocks[block]);
    unit = page_queue_unit_pages(s->args.queue, block);
    if (unit == 1 ||
        snapshot_frames_next_data(s->args.frames, block, s->next_pgno, &pgno,
                                  &why) < 0 ||
        pgno >= pages) {
        s->next_block++;
        s->next_pgno = 0;
        return 0;
    }
    pgno -= pgno % unit;
    s->next_pgno = pgno + unit;
    return page_gatherer_bring_unit(&s->gatherer, block, pgno, PAGE_TURN_FILL,
                                    err);
}

static void fill_telltales(struct page_stock *s)
{
    page_gatherer_show_telltales(&s->gatherer);
    /* What is brought from here on nobody waits to hear of. */
    if (s->telltales.n == 0) {
        s->gatherer.args.telltales = NULL;
        s->phase = PHASE_SAMPLES;
    }
}

/* A page that was kept back, if nobody asked for it. */
static void add_sample(struct page_stock *s, const struct hint *h)
{
    struct error ignored = ERROR_INIT;
    struct page_place place;

    if (page_gatherer_is_single(&s->gatherer, h->block) &&
        !page_gatherer_has(&s->gatherer, h->block, h->pgno) &&
        snapshot_frames_locate(s->args.frames, h->block, h->pgno, &place,
                               &ignored) == 0 &&
        !place.zero)
        page_gatherer_add(&s->gatherer, h->block, h->pgno, &place);
}

/* The samples of some groups. */
static int fill_samples(struct page_stock *s, struct error *err)
{
    struct page_gatherer *g = &s->gatherer;
    size_t groups = s->args.plan ? prefetch_plan_groups(s->args.plan) : 0;

    if (!page_gatherer_begin(g, PAGE_TURN_FILL))
        return 0;
    while (s->next_sample < groups && g->batch->shown.n < GATHER_PAGES) {
        size_t n;
        const struct hint *h =
            prefetch_plan_group(s->args.plan, s->next_sample++, &n);

        add_sample(s, &h[n - 1]);
    }
    if (s->next_sample == groups)
        s->phase = PHASE_END;
    return page_gatherer_finish(g, PAGE_TURN_FILL, err);
}

/* ---- The thread ---- */

static void end_plan(struct page_stock *s)
{
    s->phase = s->args.fill ? PHASE_FILL : PHASE_END;
    stock_shelf_set_planned(&s->shelf);
}

static int do_phase(struct page_stock *s, struct error *err)
{
    size_t group;

    switch (s->phase) {
    case PHASE_PLAN:
        if (s->args.plan && prefetch_plan_next(s->args.plan, &group))
            return bring_group(s, group, err);
        end_plan(s);
        return 0;
    case PHASE_FILL:
        return fill_piece(s, err);
    case PHASE_HUGE:
        return fill_huge(s, err);
    case PHASE_TELLTALES:
        fill_telltales(s);
        return 0;
    case PHASE_SAMPLES:
        return fill_samples(s, err);
    case PHASE_END:
        break;
    }
    return 0;
}

/* Without a fill there are neighbours to be brought for as long as pages are
 * asked for. */
static bool await_work(struct page_stock *s)
{
    return stock_shelf_has_work(&s->shelf, s->phase != PHASE_END,
                                !s->args.fill);
}

static int stock_main(void *arg, struct error *err)
{
    struct page_stock *s = arg;
    int rc = 0;

    while (rc == 0 && await_work(s)) {
        struct page_position at;

        rc = stock_shelf_next_asked(&s->shelf, &at)
                 ? bring_near(&s->gatherer, &at, err)
                 : do_phase(s, err);
    }
    if (rc < 0)
        log_warn("pages are not read ahead any more: %s", err->message);
    stock_shelf_end(&s->shelf, s->gatherer.batch);
    return rc;
}

/* ---- The taker ---- */

static void no_cancel(void *arg)
{
}

int page_stock_new(const struct page_stock_args *args, struct page_stock **ret,
                   struct error *err)
{
    cleanup(page_stock) struct page_stock *s = calloc(1, sizeof(*s));
    struct page_gatherer_args gatherer;
    int rc;

    if (!s)
        return fail_nomem(err);
    s->args = *args;
    s->blocks = snapshot_frames_blocks(args->frames);
    s->window.frames = args->frames;
    s->window.queue = args->queue;
    gatherer = (struct page_gatherer_args){.frames = args->frames,
                                           .queue = args->queue,
                                           .plan = args->plan,
                                           .shelf = &s->shelf,
                                           .telltales = args->fill
                                                            ? &s->telltales
                                                            : NULL};
    worker_group_init(&s->group, no_cancel, NULL);
    rc = stock_shelf_init(&s->shelf, page_gatherer_batch_pages(&gatherer),
                          args->ready, args->arg, err);
    if (rc == 0 && args->fill)
        rc = telltales_init(&s->telltales, TELLTALES_MAX, err);
    if (rc == 0)
        rc = page_gatherer_init(&s->gatherer, &gatherer, err);
    if (rc == 0)
        rc = worker_start(&s->group, "read ahead", stock_main, s, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&s);
    return 0;
}

void page_stock_free(struct page_stock *s)
{
    if (!s)
        return;
    stock_shelf_stop(&s->shelf);
    worker_group_release(&s->group);
    page_gatherer_release(&s->gatherer);
    page_window_release(&s->window);
    telltales_release(&s->telltales);
    stock_shelf_release(&s->shelf);
    free(s);
}

const struct stock_batch *page_stock_take(struct page_stock *s,
                                          enum page_turn turn)
{
    return stock_shelf_take(&s->shelf, turn);
}

void page_stock_give(struct page_stock *s, const struct stock_batch *batch)
{
    stock_shelf_give(&s->shelf, batch);
}

void page_stock_asked(struct page_stock *s, uint32_t block, pgno_t pgno)
{
    size_t group;

    if (s->args.plan &&
        prefetch_plan_find(s->args.plan, block, pgno, &group, NULL))
        prefetch_plan_jump(s->args.plan, group);
    stock_shelf_ask(&s->shelf, block, pgno);
}

bool page_stock_is_ahead(struct page_stock *s)
{
    return stock_shelf_is_ahead(&s->shelf);
}

bool page_stock_done(struct page_stock *s)
{
    return stock_shelf_is_done(&s->shelf);
}

/*
 * page_gatherer.c - collects places, then has one scan read them all.
 *
 * Each place is read straight into the batch's own room; neighbours that share
 * one point to the same bytes, so a page that is there a hundred times is read
 * once. What was brought is marked at once, in a bitmap a block: a unit is not
 * brought again, whoever wants it, even before the queue hears of it.
 */
#include "restore/pages/page_gatherer.h"

#include "core/base/bitmap.h"

#define DEPTH 16u /* reads in flight */

uint32_t page_gatherer_batch_pages(const struct page_gatherer_args *args)
{
    uint32_t n = snapshot_frames_blocks(args->frames)->n;
    uint32_t pages = GATHER_PAGES;

    for (uint32_t i = 0; i < n; i++)
        pages = MAX(pages, page_queue_unit_pages(args->queue, i));
    return pages;
}

static int make_bitmaps(struct page_gatherer *g, struct error *err)
{
    g->brought = calloc(MAX(g->blocks->n, 1u), sizeof(*g->brought));
    if (!g->brought)
        return fail_nomem(err);
    for (uint32_t i = 0; i < g->blocks->n; i++) {
        uint32_t unit = page_queue_unit_pages(g->args.queue, i);
        pgno_t pages = ramblock_pages(&g->blocks->blocks[i]);
        int rc = bitmap_init(&g->brought[i], (pages + unit - 1) / unit, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

int page_gatherer_init(struct page_gatherer *g,
                       const struct page_gatherer_args *args, struct error *err)
{
    int rc;

    *g = (struct page_gatherer){.args = *args};
    g->batch_pages = page_gatherer_batch_pages(args);
    g->blocks = snapshot_frames_blocks(args->frames);
    rc = make_bitmaps(g, err);
    if (rc < 0)
        return rc;
    g->wants = calloc(g->batch_pages, sizeof(*g->wants));
    if (!g->wants)
        return fail_nomem(err);
    return frame_reader_new(args->frames, DEPTH, &g->reader, err);
}

void page_gatherer_release(struct page_gatherer *g)
{
    frame_reader_free(g->reader);
    for (uint32_t i = 0; g->brought && i < g->blocks->n; i++)
        bitmap_release(&g->brought[i]);
    free(g->brought);
    free(g->wants);
}

/* ---- What is due ---- */

bool page_gatherer_has(const struct page_gatherer *g, uint32_t block,
                       pgno_t pgno)
{
    return page_queue_taken(g->args.queue, block, pgno) ||
           bitmap_test(&g->brought[block],
                       pgno / page_queue_unit_pages(g->args.queue, block));
}

bool page_gatherer_is_single(const struct page_gatherer *g, uint32_t block)
{
    return page_queue_unit_pages(g->args.queue, block) == 1;
}

bool page_gatherer_is_sample(const struct page_gatherer *g, uint32_t block,
                             pgno_t pgno)
{
    size_t group;
    bool sample;

    return g->args.plan &&
           prefetch_plan_find(g->args.plan, block, pgno, &group, &sample) &&
           sample;
}

/* ---- Adding ---- */

bool page_gatherer_begin(struct page_gatherer *g, enum page_turn turn)
{
    g->n_wants = 0;
    if (!g->batch)
        g->batch = stock_shelf_await(g->args.shelf, turn);
    if (g->batch)
        g->batch->shown = (struct stock_batch){.n = 0};
    return g->batch != NULL;
}

size_t page_gatherer_left(const struct page_gatherer *g)
{
    return g->batch_pages - g->batch->shown.n;
}

static bool same_place(const struct page_place *a, const struct page_place *b)
{
    return a->pack == b->pack && a->frame == b->frame && a->slot == b->slot;
}

void page_gatherer_add(struct page_gatherer *g, uint32_t block, pgno_t pgno,
                       const struct page_place *place)
{
    struct shelf_batch *b = g->batch;
    struct frame_want *last = g->n_wants ? &g->wants[g->n_wants - 1] : NULL;
    uint8_t *to;

    if (last && same_place(&last->place, place)) {
        to = last->to;
    } else {
        to = b->room + g->n_wants * PAGE_BYTES;
        g->wants[g->n_wants++] =
            (struct frame_want){.place = *place, .to = to, .tag = b->shown.n};
    }
    b->pages[b->shown.n++] =
        (struct stock_page){.block = block, .pgno = pgno, .data = to};
    bitmap_set(&g->brought[block],
               pgno / page_queue_unit_pages(g->args.queue, block));
}

static void add_zero(struct page_gatherer *g, uint32_t block, pgno_t pgno)
{
    g->batch->pages[g->batch->shown.n++] =
        (struct stock_page){.block = block, .pgno = pgno};
}

/* A page, if nobody has it: a zero one costs no read, only a record. What
 * cannot be located is left to those who walk the whole index. */
static void add_if_due(struct page_gatherer *g, uint32_t block, pgno_t pgno)
{
    struct page_place place;
    struct error ignored = ERROR_INIT;

    if (page_gatherer_left(g) == 0 || page_gatherer_has(g, block, pgno) ||
        page_gatherer_is_sample(g, block, pgno) ||
        snapshot_frames_locate(g->args.frames, block, pgno, &place, &ignored) <
            0)
        return;
    if (!place.zero) {
        page_gatherer_add(g, block, pgno, &place);
        return;
    }
    add_zero(g, block, pgno);
    bitmap_set(&g->brought[block], pgno);
}

void page_gatherer_add_frame(struct page_gatherer *g, uint32_t block,
                             pgno_t pgno)
{
    pgno_t first;
    pgno_t end;

    if (page_gatherer_has(g, block, pgno))
        return;
    snapshot_frames_around(g->args.frames, block, pgno, &first, &end);
    for (; first < end; first++)
        add_if_due(g, block, first);
}

void page_gatherer_add_frames(struct page_gatherer *g, uint32_t block,
                              pgno_t first, pgno_t end)
{
    end = MIN(end, ramblock_pages(&g->blocks->blocks[block]));
    for (; first < end; first++)
        page_gatherer_add_frame(g, block, first);
}

/* All pages of a unit of several; none if it is zero. */
static int add_unit(struct page_gatherer *g, uint32_t block, pgno_t first,
                    struct error *err)
{
    uint32_t unit = page_queue_unit_pages(g->args.queue, block);
    pgno_t end = MIN(first + unit, ramblock_pages(&g->blocks->blocks[block]));

    for (pgno_t p = first; p < end; p++) {
        struct page_place place;
        int rc = snapshot_frames_locate(g->args.frames, block, p, &place, err);

        if (rc < 0)
            return rc;
        if (place.zero)
            add_zero(g, block, p);
        else
            page_gatherer_add(g, block, p, &place);
    }
    if (g->n_wants == 0)
        g->batch->shown.n = 0;
    return 0;
}

/* ---- Reading and showing ---- */

static void show(struct page_gatherer *g, enum page_turn turn)
{
    struct shelf_batch *b = g->batch;

    if (b->shown.n == 0)
        return;
    g->batch = NULL;
    stock_shelf_show(g->args.shelf, b, turn);
}

static int scan_ready(void *arg, const struct frame_want *wants, size_t n,
                      struct error *err)
{
    return 0;
}

static int scan_damaged(void *arg, const struct frame_want *wants, size_t n,
                        const struct error *why, struct error *err)
{
    error_copy(arg, why);
    return 0;
}

/* With damage *ret_why has a code, and nothing of the batch may be shown as it
 * is. */
static int read_all(struct page_gatherer *g, struct error *ret_why,
                    struct error *err)
{
    const struct frame_scan scan = {.arg = ret_why,
                                    .exact = true,
                                    .ready = scan_ready,
                                    .damaged = scan_damaged};
    size_t n = g->n_wants;

    g->n_wants = 0;
    return n > 0 ? frame_reader_scan(g->reader, g->wants, n, &scan, err) : 0;
}

static int read_page(struct page_gatherer *g, const struct stock_page *p,
                     uint8_t *to, struct error *err)
{
    struct page_place place;
    const uint8_t *frame;
    uint32_t bytes;
    bool cached;
    int rc =
        snapshot_frames_locate(g->args.frames, p->block, p->pgno, &place, err);

    if (rc == 0)
        rc = frame_reader_get(g->reader, &place, &frame, &bytes, &cached, err);
    if (rc == 0)
        memcpy(to, frame + (size_t)place.slot * PAGE_BYTES, PAGE_BYTES);
    return rc;
}

/* Damage is rare: one page after the other, each with room of its own. */
static void show_damaged(struct page_gatherer *g, enum page_turn turn)
{
    struct stock_page pages[PAGE_UNIT_MAX_PAGES];
    size_t n = g->batch->shown.n;

    memcpy(pages, g->batch->pages, n * sizeof(*pages));
    for (size_t i = 0; i < n; i++) {
        struct shelf_batch *b = g->batch;

        if (!b)
            b = stock_shelf_await(g->args.shelf, PAGE_TURN_NEAR);
        if (!b)
            return;
        g->batch = b;
        b->shown = (struct stock_batch){.n = 1};
        b->pages[0] = pages[i];
        /* A zero page has no bytes that could be damaged. */
        if (pages[i].data)
            b->pages[0].data = b->room;
        if (pages[i].data &&
            read_page(g, &pages[i], b->room, &b->shown.why) < 0)
            b->pages[0].data = NULL;
        show(g, turn);
    }
}

int page_gatherer_finish(struct page_gatherer *g, enum page_turn turn,
                         struct error *err)
{
    struct error why = ERROR_INIT;
    int rc = read_all(g, &why, err);

    if (rc < 0)
        return rc;
    if (why.code != 0) {
        show_damaged(g, turn);
        return 0;
    }
    if (turn == PAGE_TURN_FILL && g->args.telltales)
        g->batch->shown.n = telltales_take(
            g->args.telltales, g->batch->pages, g->batch->shown.n);
    show(g, turn);
    return 0;
}

void page_gatherer_show_telltales(struct page_gatherer *g)
{
    struct shelf_batch *b;

    if (!page_gatherer_begin(g, PAGE_TURN_FILL))
        return;
    b = g->batch;
    b->shown.n =
        telltales_give(g->args.telltales, b->pages, b->room, g->batch_pages);
    show(g, PAGE_TURN_FILL);
}

int page_gatherer_bring_unit(struct page_gatherer *g, uint32_t block,
                             pgno_t first, enum page_turn turn,
                             struct error *err)
{
    struct error why = ERROR_INIT;
    int rc = 0;

    if (page_gatherer_has(g, block, first) ||
        !page_gatherer_begin(g, PAGE_TURN_PREFETCH))
        return 0;
    if (add_unit(g, block, first, &why) == 0) {
        rc = read_all(g, &why, err);
    } else { /* told by its first page */
        g->batch->pages[0] = (struct stock_page){.block = block, .pgno = first};
        g->batch->shown.n = 1;
    }
    if (rc < 0)
        return rc;
    if (why.code != 0)
        error_copy(&g->batch->shown.why, &why);
    show(g, turn);
    return 0;
}

/*
 * page_stock.c - one thread: choose, read, decompress, lay out.
 *
 * The fill takes pieces of a sorted window of the index (page_window.c), each
 * of whole frames. Pages that share a place within a piece are decompressed
 * into one place and sent from there.
 *
 * A unit of several pages (a huge host page) is brought whole: QEMU places it
 * in one piece. These come behind the others, in the guest's order.
 */
#include "restore/page_stock.h"

#include "core/base/bitmap.h"
#include "core/base/lock.h"
#include "core/base/worker.h"
#include "restore/page_window.h"

#define LOG_AREA "stock"
#include "core/base/log.h"

#define PIECE_PAGES 128u /* 512 KiB: what the caches of a core hold */
#define DEPTH       16u
#define BATCHES     8u
#define RESERVED    2u /* of these, never for the fill */
#define NEAR_MAX    64u
#define NEAR_PAGES  32u /* around a fault, aligned: 128 KiB of the guest */
#define NEAR_FRAMES 8u  /* and no farther from its frame in the pack */

struct batch {
    struct stock_batch shown; /* first: give() gets its address */
    struct stock_page *pages;
    uint8_t *room;
    struct batch *next;
};

struct batch_list {
    struct batch *head;
    struct batch **tail;
};

struct position {
    uint32_t block;
    pgno_t pgno;
};

enum phase { PHASE_PLAN = 0, PHASE_FILL, PHASE_HUGE, PHASE_SAMPLES, PHASE_END };

struct page_stock {
    /* set before the thread starts, then read only */
    struct page_stock_args args;
    const struct ramblock_list *blocks;
    uint32_t piece_pages; /* room of a batch */
    struct batch batches[BATCHES];

    /* only the thread */
    struct frame_reader *reader;
    enum phase phase;
    struct bitmap *brought; /* of each block: a bit a unit, sent or not */
    struct page_window window;
    uint32_t next_block; /* of huge units */
    pgno_t next_pgno;
    size_t next_sample; /* group */
    struct frame_want *wants;
    size_t n_wants;
    struct batch *batch; /* being filled */
    struct error why;    /* of the last scan */

    struct worker_group group;

    /* protected by `lock` */
    struct lock lock;       /* everything below */
    struct condition given; /* a batch came back, or stop */
    struct batch_list unused GUARDED_BY(lock);
    unsigned n_unused GUARDED_BY(lock);
    struct batch_list ready[PAGE_TURN__COUNT] GUARDED_BY(lock);
    struct position near[NEAR_MAX] GUARDED_BY(lock); /* a stack: latest first */
    unsigned n_near GUARDED_BY(lock);
    bool stop GUARDED_BY(lock);
    bool ended GUARDED_BY(lock);
    unsigned n_out GUARDED_BY(lock);   /* ready, or with the taker */
    bool planned GUARDED_BY(lock);     /* no group is left to be brought */
    unsigned n_ahead GUARDED_BY(lock); /* batches of groups that are out */
};

/* ---- Lists of batches ---- */

static void list_put(struct batch_list *l, struct batch *b)
{
    b->next = NULL;
    if (!l->head)
        l->tail = &l->head;
    *l->tail = b;
    l->tail = &b->next;
}

static struct batch *list_take(struct batch_list *l)
{
    struct batch *b = l->head;

    if (b)
        l->head = b->next;
    return b;
}

/* An empty batch, once there are more than `reserved`. NULL: stop, or, for one
 * that gives way, there is something more urgent to do. */
static struct batch *await_batch(struct page_stock *s, unsigned reserved,
                                 bool gives_way)
{
    struct batch *b = NULL;
    bool way = false;
    LOCK_SCOPE(&s->lock);

    while (!s->stop && !way && s->n_unused <= reserved) {
        condition_wait(&s->given, &s->lock);
        way = gives_way && s->n_near > 0;
    }
    if (!s->stop && !way) {
        b = list_take(&s->unused);
        s->n_unused--;
        s->n_out++;
    }
    return b;
}

static void put_back(struct page_stock *s, struct batch *b)
{
    LOCK_SCOPE(&s->lock);

    list_put(&s->unused, b);
    s->n_unused++;
    s->n_out--;
}

/* What was gathered goes to the taker; nothing: the batch stays. */
static void show(struct page_stock *s, enum page_turn turn)
{
    struct batch *b = s->batch;

    if (b->shown.n == 0)
        return;
    b->shown.turn = turn;
    b->shown.pages = b->pages;
    s->batch = NULL;
    lock_take(&s->lock);
    list_put(&s->ready[turn], b);
    s->n_ahead += turn == PAGE_TURN_PREFETCH;
    lock_drop(&s->lock);
    s->args.ready(s->args.arg);
}

/* ---- Gathering a batch ---- */

/* What was brought may not have been sent yet. */
static bool is_taken(const struct page_stock *s, uint32_t block, pgno_t pgno)
{
    return page_queue_taken(s->args.queue, block, pgno) ||
           bitmap_test(&s->brought[block],
                       pgno / page_queue_unit_pages(s->args.queue, block));
}

static bool same_place(const struct page_place *a, const struct page_place *b)
{
    return a->pack == b->pack && a->frame == b->frame && a->slot == b->slot;
}

/* One more page for the batch, whose place is known. */
static void want(struct page_stock *s, uint32_t block, pgno_t pgno,
                 const struct page_place *place)
{
    struct batch *b = s->batch;
    struct frame_want *last = s->n_wants ? &s->wants[s->n_wants - 1] : NULL;
    uint8_t *to;

    if (last && same_place(&last->place, place)) {
        to = last->to;
    } else {
        to = b->room + s->n_wants * PAGE_BYTES;
        s->wants[s->n_wants++] =
            (struct frame_want){.place = *place, .to = to, .tag = b->shown.n};
    }
    b->pages[b->shown.n++] =
        (struct stock_page){.block = block, .pgno = pgno, .data = to};
    bitmap_set(&s->brought[block],
               pgno / page_queue_unit_pages(s->args.queue, block));
}

static int scan_ready(void *arg, const struct frame_want *wants, size_t n,
                      struct error *err)
{
    return 0;
}

/* Damage is rare: the batch is then told page by page, see show_damaged(). */
static int scan_damaged(void *arg, const struct frame_want *wants, size_t n,
                        const struct error *why, struct error *err)
{
    struct page_stock *s = arg;

    error_copy(&s->why, why);
    return 0;
}

/* Reads what is wanted. With damage each frame is tried alone: the good pages
 * first, then those that cannot be had, as a batch of their own. */
static int bring(struct page_stock *s, struct error *err)
{
    const struct frame_scan scan = {
        .arg = s, .exact = true, .ready = scan_ready, .damaged = scan_damaged};

    s->why = ERROR_INIT;
    return frame_reader_scan(s->reader, s->wants, s->n_wants, &scan, err);
}

static int read_page(struct page_stock *s, const struct stock_page *p,
                     uint8_t *to, struct error *err)
{
    struct page_place place;
    const uint8_t *frame;
    uint32_t bytes;
    bool cached;
    int rc =
        snapshot_frames_locate(s->args.frames, p->block, p->pgno, &place, err);

    if (rc == 0)
        rc = frame_reader_get(s->reader, &place, &frame, &bytes, &cached, err);
    if (rc == 0)
        memcpy(to, frame + (size_t)place.slot * PAGE_BYTES, PAGE_BYTES);
    return rc;
}

/* A batch of which something is damaged: one page after the other, each with
 * room of its own. A batch of a huge unit is lost as a whole. */
static void show_damaged(struct page_stock *s, enum page_turn turn, bool whole)
{
    struct stock_page pages[PAGE_UNIT_MAX_PAGES];
    size_t n = s->batch->shown.n;

    memcpy(pages, s->batch->pages, n * sizeof(*pages));
    if (whole) {
        error_copy(&s->batch->shown.why, &s->why);
        show(s, turn);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct batch *b = s->batch ? s->batch : await_batch(s, 0, false);

        if (!b)
            return;
        s->batch = b;
        b->shown = (struct stock_batch){.n = 1};
        b->pages[0] = pages[i];
        b->pages[0].data = b->room;
        if (read_page(s, &pages[i], b->room, &b->shown.why) < 0)
            b->pages[0].data = NULL;
        show(s, turn);
    }
}

static int finish_batch(struct page_stock *s, enum page_turn turn, bool whole,
                        struct error *err)
{
    int rc = s->n_wants > 0 ? bring(s, err) : 0;

    if (rc < 0)
        return rc;
    if (s->why.code != 0)
        show_damaged(s, turn, whole);
    else
        show(s, turn);
    s->why = ERROR_INIT;
    s->n_wants = 0;
    return 0;
}

/* A batch to gather in. For a `turn` of the fill NULL may also mean: not now.
 */
static struct batch *begin_batch(struct page_stock *s, enum page_turn turn)
{
    s->n_wants = 0;
    if (!s->batch)
        s->batch = await_batch(s, turn == PAGE_TURN_NEAR ? 0 : RESERVED,
                               turn == PAGE_TURN_FILL);
    if (s->batch)
        s->batch->shown = (struct stock_batch){.n = 0};
    return s->batch;
}

/* ---- Hints and neighbours ---- */

static bool is_single(const struct page_stock *s, uint32_t block)
{
    return page_queue_unit_pages(s->args.queue, block) == 1;
}

static bool is_sample(const struct page_stock *s, uint32_t block, pgno_t pgno)
{
    size_t group;
    bool sample;

    return s->args.plan &&
           prefetch_plan_find(s->args.plan, block, pgno, &group, &sample) &&
           sample;
}

/* A page, if nobody has it: a zero one costs no read, only a record. What
 * cannot be located is left to those who walk the whole index. */
static void want_if_due(struct page_stock *s, uint32_t block, pgno_t pgno)
{
    struct batch *b = s->batch;
    struct page_place place;
    struct error ignored = ERROR_INIT;

    if (b->shown.n == s->piece_pages || is_taken(s, block, pgno) ||
        is_sample(s, block, pgno) ||
        snapshot_frames_locate(s->args.frames, block, pgno, &place, &ignored) <
            0)
        return;
    if (!place.zero) {
        want(s, block, pgno, &place);
        return;
    }
    b->pages[b->shown.n++] = (struct stock_page){.block = block, .pgno = pgno};
    bitmap_set(&s->brought[block], pgno);
}

/* The whole frame around a page: it costs the same, and is not read again. */
static void want_frame(struct page_stock *s, uint32_t block, pgno_t pgno)
{
    pgno_t first;
    pgno_t end;

    if (is_taken(s, block, pgno))
        return;
    snapshot_frames_around(s->args.frames, block, pgno, &first, &end);
    for (; first < end; first++)
        want_if_due(s, block, first);
}

/* All pages of a unit of several; none if it is zero. */
static int want_unit(struct page_stock *s, uint32_t block, pgno_t first,
                     struct error *err)
{
    uint32_t unit = page_queue_unit_pages(s->args.queue, block);
    pgno_t end = MIN(first + unit, ramblock_pages(&s->blocks->blocks[block]));

    for (pgno_t p = first; p < end; p++) {
        struct batch *b = s->batch;
        struct page_place place;
        int rc = snapshot_frames_locate(s->args.frames, block, p, &place, err);

        if (rc < 0)
            return rc;
        if (place.zero)
            b->pages[b->shown.n++] =
                (struct stock_page){.block = block, .pgno = p};
        else
            want(s, block, p, &place);
    }
    if (s->n_wants == 0)
        s->batch->shown.n = 0;
    return 0;
}

static int bring_unit(struct page_stock *s, uint32_t block, pgno_t first,
                      enum page_turn turn, struct error *err)
{
    struct error why = ERROR_INIT;

    if (is_taken(s, block, first))
        return 0;
    if (!begin_batch(s, PAGE_TURN_PREFETCH))
        return 0;
    if (want_unit(s, block, first, &why) < 0) {
        s->batch->pages[0] = (struct stock_page){.block = block, .pgno = first};
        s->batch->shown.n = 1;
        error_copy(&s->batch->shown.why, &why);
        show(s, turn);
        return 0;
    }
    return finish_batch(s, turn, true, err);
}

/* Stored beside `at`, or zero: what is shared with pages elsewhere costs a read
 * of its own, and comes with the rest. */
static bool is_beside(const struct page_stock *s, uint32_t block, pgno_t pgno,
                      const struct page_place *at)
{
    struct error ignored = ERROR_INIT;
    struct page_place p;

    if (snapshot_frames_locate(s->args.frames, block, pgno, &p, &ignored) < 0)
        return false;
    return p.zero ||
           (p.pack == at->pack && p.frame + NEAR_FRAMES >= at->frame &&
            p.frame <= at->frame + NEAR_FRAMES);
}

/* What a guest that touches this page is likely to touch next. A zero page has
 * no place: the zero ones around it. */
static void want_around(struct page_stock *s, uint32_t block, pgno_t pgno)
{
    pgno_t first = pgno / NEAR_PAGES * NEAR_PAGES;
    pgno_t end =
        MIN(first + NEAR_PAGES, ramblock_pages(&s->blocks->blocks[block]));
    struct error ignored = ERROR_INIT;
    struct page_place place;

    if (snapshot_frames_locate(s->args.frames, block, pgno, &place, &ignored) <
        0)
        return;
    if (place.zero)
        place.pack = UINT32_MAX;
    else
        want_frame(s, block, pgno);
    for (; first < end; first++) {
        if (is_beside(s, block, first, &place))
            want_frame(s, block, first);
    }
}

/* Pages of a group that are 4 KiB large, with what is around them. */
static int bring_hints(struct page_stock *s, const struct hint *h, size_t n,
                       struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        int rc = 0;

        if (!is_single(s, h[i].block))
            continue;
        /* Room for all around it, and for the rest of the outermost frames. */
        if (s->piece_pages - s->batch->shown.n < 2 * NEAR_PAGES)
            rc = finish_batch(s, PAGE_TURN_PREFETCH, false, err);
        if (rc < 0)
            return rc;
        if (!s->batch && !begin_batch(s, PAGE_TURN_PREFETCH))
            return 0;
        want_around(s, h[i].block, h[i].pgno);
    }
    return finish_batch(s, PAGE_TURN_PREFETCH, false, err);
}

static int bring_group(struct page_stock *s, size_t group, struct error *err)
{
    size_t n;
    const struct hint *h = prefetch_plan_group(s->args.plan, group, &n);
    int rc = 0;

    if (begin_batch(s, PAGE_TURN_PREFETCH))
        rc = bring_hints(s, h, n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!is_single(s, h[i].block))
            rc = bring_unit(s, h[i].block, h[i].pgno, PAGE_TURN_PREFETCH, err);
    }
    prefetch_plan_finish(s->args.plan, group);
    return rc;
}

static bool next_near(struct page_stock *s, struct position *ret)
{
    LOCK_SCOPE(&s->lock);

    if (s->n_near == 0)
        return false;
    *ret = s->near[--s->n_near];
    return true;
}

static int bring_near(struct page_stock *s, const struct position *at,
                      struct error *err)
{
    if (!begin_batch(s, PAGE_TURN_NEAR))
        return 0;
    want_around(s, at->block, at->pgno);
    return finish_batch(s, PAGE_TURN_NEAR, false, err);
}

/* ---- The rest ---- */

/* Pages of the window, of whole frames. */
static void want_piece(struct page_stock *s)
{
    struct page_window *w = &s->window;
    size_t at = w->at;
    size_t end = page_window_take(w, s->piece_pages);

    for (; at < end; at++) {
        const struct window_entry *e = &w->entries[at];

        if (!is_taken(s, e->block, e->pgno) && !is_sample(s, e->block, e->pgno))
            want(s, e->block, e->pgno, &e->place);
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
    if (!begin_batch(s, PAGE_TURN_FILL))
        return 0;
    want_piece(s);
    return finish_batch(s, PAGE_TURN_FILL, false, err);
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
        s->phase = PHASE_SAMPLES;
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
    return bring_unit(s, block, pgno, PAGE_TURN_FILL, err);
}

/* The samples of some groups. */
static int fill_samples(struct page_stock *s, struct error *err)
{
    size_t groups = s->args.plan ? prefetch_plan_groups(s->args.plan) : 0;

    if (!begin_batch(s, PAGE_TURN_FILL))
        return 0;
    for (; s->next_sample < groups && s->batch->shown.n < PIECE_PAGES;
         s->next_sample++) {
        size_t n;
        const struct hint *h =
            prefetch_plan_group(s->args.plan, s->next_sample, &n);
        const struct hint *last = &h[n - 1];
        struct error ignored = ERROR_INIT;
        struct page_place place;

        if (is_single(s, last->block) &&
            !is_taken(s, last->block, last->pgno) &&
            snapshot_frames_locate(s->args.frames, last->block, last->pgno,
                                   &place, &ignored) == 0 &&
            !place.zero)
            want(s, last->block, last->pgno, &place);
    }
    if (s->next_sample == groups)
        s->phase = PHASE_END;
    return finish_batch(s, PAGE_TURN_FILL, false, err);
}

/* ---- The thread ---- */

static void end_plan(struct page_stock *s)
{
    s->phase = s->args.fill ? PHASE_FILL : PHASE_END;
    lock_take(&s->lock);
    s->planned = true;
    lock_drop(&s->lock);
    s->args.ready(s->args.arg);
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
    LOCK_SCOPE(&s->lock);

    while (!s->stop && s->phase == PHASE_END && !s->args.fill && s->n_near == 0)
        condition_wait(&s->given, &s->lock);
    return !s->stop && (s->phase != PHASE_END || s->n_near > 0);
}

static int stock_main(void *arg, struct error *err)
{
    struct page_stock *s = arg;
    int rc = 0;

    while (rc == 0 && await_work(s)) {
        struct position at;

        rc = next_near(s, &at) ? bring_near(s, &at, err) : do_phase(s, err);
    }
    if (rc < 0)
        log_warn("pages are not read ahead any more: %s", err->message);
    if (s->batch)
        put_back(s, s->batch);
    lock_take(&s->lock);
    s->ended = true;
    lock_drop(&s->lock);
    s->args.ready(s->args.arg);
    return rc;
}

/* ---- The taker ---- */

static void no_cancel(void *arg)
{
}

static int make_batches(struct page_stock *s, struct error *err)
{
    LOCK_SCOPE(&s->lock);

    for (unsigned i = 0; i < BATCHES; i++) {
        struct batch *b = &s->batches[i];

        b->pages = calloc(s->piece_pages, sizeof(*b->pages));
        b->room = malloc((size_t)s->piece_pages * PAGE_BYTES);
        if (!b->pages || !b->room)
            return fail_nomem(err);
        list_put(&s->unused, b);
        s->n_unused++;
    }
    return 0;
}

/* And how large a batch must be. */
static int make_bitmaps(struct page_stock *s, struct error *err)
{
    s->brought = calloc(MAX(s->blocks->n, 1u), sizeof(*s->brought));
    if (!s->brought)
        return fail_nomem(err);
    for (uint32_t i = 0; i < s->blocks->n; i++) {
        uint32_t unit = page_queue_unit_pages(s->args.queue, i);
        pgno_t pages = ramblock_pages(&s->blocks->blocks[i]);
        int rc = bitmap_init(&s->brought[i], (pages + unit - 1) / unit, err);

        if (rc < 0)
            return rc;
        s->piece_pages = MAX(s->piece_pages, unit);
    }
    return 0;
}

int page_stock_new(const struct page_stock_args *args, struct page_stock **ret,
                   struct error *err)
{
    cleanup(page_stock) struct page_stock *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return fail_nomem(err);
    s->args = *args;
    s->blocks = snapshot_frames_blocks(args->frames);
    s->window.frames = args->frames;
    s->window.queue = args->queue;
    s->piece_pages = PIECE_PAGES;
    lock_init(&s->lock);
    condition_init(&s->given);
    worker_group_init(&s->group, no_cancel, NULL);
    rc = make_bitmaps(s, err);
    if (rc < 0)
        return rc;
    s->wants = calloc(s->piece_pages, sizeof(*s->wants));
    if (!s->wants)
        return fail_nomem(err);
    rc = make_batches(s, err);
    if (rc == 0)
        rc = frame_reader_new(args->frames, DEPTH, &s->reader, err);
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
    lock_take(&s->lock);
    s->stop = true;
    lock_drop(&s->lock);
    condition_wake_all(&s->given);
    worker_group_release(&s->group);
    frame_reader_free(s->reader);
    for (unsigned i = 0; i < BATCHES; i++) {
        free(s->batches[i].pages);
        free(s->batches[i].room);
    }
    for (uint32_t i = 0; s->brought && i < s->blocks->n; i++)
        bitmap_release(&s->brought[i]);
    free(s->brought);
    page_window_release(&s->window);
    free(s->wants);
    condition_release(&s->given);
    lock_release(&s->lock);
    free(s);
}

const struct stock_batch *page_stock_take(struct page_stock *s,
                                          enum page_turn turn)
{
    struct batch *b;
    LOCK_SCOPE(&s->lock);

    b = list_take(&s->ready[turn]);
    return b ? &b->shown : NULL;
}

void page_stock_give(struct page_stock *s, const struct stock_batch *batch)
{
    lock_take(&s->lock);
    s->n_ahead -= batch->turn == PAGE_TURN_PREFETCH;
    lock_drop(&s->lock);
    put_back(s, (struct batch *)(uintptr_t)batch);
    condition_wake_all(&s->given);
}

void page_stock_asked(struct page_stock *s, uint32_t block, pgno_t pgno)
{
    size_t group;

    if (s->args.plan &&
        prefetch_plan_find(s->args.plan, block, pgno, &group, NULL))
        prefetch_plan_jump(s->args.plan, group);
    lock_take(&s->lock);
    if (s->n_near == NEAR_MAX) {
        memmove(s->near, s->near + NEAR_MAX / 2,
                NEAR_MAX / 2 * sizeof(*s->near));
        s->n_near = NEAR_MAX / 2;
    }
    s->near[s->n_near++] = (struct position){block, pgno};
    lock_drop(&s->lock);
    condition_wake_all(&s->given);
}

bool page_stock_is_ahead(struct page_stock *s)
{
    LOCK_SCOPE(&s->lock);

    return s->ended || (s->planned && s->n_ahead == 0);
}

bool page_stock_done(struct page_stock *s)
{
    LOCK_SCOPE(&s->lock);

    return s->ended && s->n_out == 0;
}

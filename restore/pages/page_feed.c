/*
 * Turns, most urgent first:
 *
 *   urgent    read and decompressed here: nobody is faster for one page
 *   rest of   the pages of the frame that was just answered: they are
 *   a frame   decompressed already
 *   prefetch  from the stock, and before the devices are loaded: what loading
 *             them touches is among the hints
 *   near      from the stock
 *   fill      from the stock; without one, from the source, page by page
 *   count     once the stock is through, one pass over the index. It sends what
 *             was left over (by damage, by an error of the stock), and counts
 *
 * With a second socket the last pass sends zero pages too. At the end QEMU waits
 * there for all that it has asked for, and no new pager can take over from one
 * that dies then: nothing must be left that could be asked for.
 *
 * Damage: a unit that cannot be read is counted as lost and never sent; the
 * rest goes on. Some are kept by name: who asks for one of them waits for it,
 * and that is told.
 */
#include "restore/pages/page_feed.h"

#include "core/base/clock.h"
#include "restore/pages/fill_pace.h"

#define LOG_AREA "postcopy"
#include "core/base/log.h"

#define LOST_MAX 4096u /* kept by name */

struct lost_unit {
    uint32_t block;
    pgno_t first;
};

struct page_feed {
    struct page_feed_args args;
    const struct postcopy_args *restore;
    struct page_queue *queue;
    struct page_sender *sender;
    struct page_stock *stock; /* NULL: none */
    struct fill_pace pace;
    uint64_t due_ns; /* a step may find more then; 0: not by itself */
    bool waits;      /* for room in the main socket */
    uint32_t max_unit_pages;
    uint64_t total_bytes; /* with content, about */
    bool loaded;
    bool counting; /* the stock is through: the last pass */
    bool fill;
    const struct stock_batch *current[PAGE_TURN__COUNT];
    size_t at[PAGE_TURN__COUNT]; /* in it */
    uint64_t lost_units;
    struct lost_unit *lost;  /* LOST_MAX; NULL before the first */
    uint64_t received_units; /* with data, before a recovery */
    struct error damage;     /* the first */
    bool waits_told;         /* that somebody waits for a lost page */
};

/* ---- Damage ---- */

static void note_damage(struct page_feed *f, const struct error *why,
                        bool asked_for)
{
    const struct postcopy_watch *w = f->restore->watch;

    if (f->damage.code == 0)
        error_copy(&f->damage, why);
    f->waits_told |= asked_for;
    if (w && w->damage)
        w->damage(w->arg, why, asked_for);
}

static void lose_unit(struct page_feed *f, uint32_t block, pgno_t first)
{
    if (!f->lost)
        f->lost = calloc(LOST_MAX, sizeof(*f->lost));
    if (f->lost && f->lost_units < LOST_MAX)
        f->lost[f->lost_units] = (struct lost_unit){block, first};
    f->lost_units++;
}

static bool is_lost(const struct page_feed *f, uint32_t block, pgno_t pgno)
{
    uint64_t n = f->lost ? MIN(f->lost_units, (uint64_t)LOST_MAX) : 0;
    uint32_t unit = page_queue_unit_pages(f->queue, block);

    for (uint64_t i = 0; i < n; i++) {
        if (f->lost[i].block == block && f->lost[i].first / unit == pgno / unit)
            return true;
    }
    return false;
}

/* Then every page counts as one with content. */
static bool sends_zeros(const struct page_feed *f)
{
    return f->restore->urgent_fd > 0;
}

/*
 * The source's next_data(), but a segment that cannot be read is stepped over
 * page by page: its pages are lost, those behind it are not.
 */
static int next_data(void *arg, uint32_t block, pgno_t from, pgno_t *ret,
                     struct error *err)
{
    struct page_feed *f = arg;
    const struct page_source *source = f->restore->source;
    pgno_t pages = ramblock_pages(&f->restore->blocks->blocks[block]);
    struct error why = ERROR_INIT;

    if (sends_zeros(f)) {
        *ret = from;
        return 0;
    }
    if (source->next_data(source->arg, block, from, ret, &why) == 0)
        return 0;
    if (why.code == ERR_NOMEM)
        return error_copy(err, &why);
    note_damage(f, &why, false);
    for (pgno_t pgno = from; pgno < pages; pgno++) {
        const uint8_t *data = NULL;

        if (source->page(source->arg, block, pgno, &data, &why) == 0) {
            if (!data)
                continue;
            *ret = pgno;
            return 0;
        }
        if (why.code == ERR_NOMEM)
            return error_copy(err, &why);
        if (page_queue_withdraw(f->queue, block, pgno))
            lose_unit(f, block, pgno);
    }
    *ret = pages;
    return 0;
}

/* ---- Birth ---- */

static int make_queue(struct page_feed *f, struct error *err)
{
    const struct ramblock_list *list = f->restore->blocks;
    cleanup_free struct page_queue_block *blocks =
        calloc(MAX(list->n, 1u), sizeof(*blocks));
    struct page_queue_args args = {
        .blocks = blocks,
        .n = list->n,
        .next_data = next_data,
        .arg = f,
    };

    if (!blocks)
        return fail_nomem(err);
    f->max_unit_pages = 1;
    for (uint32_t i = 0; i < list->n; i++) {
        const struct ramblock *b = &list->blocks[i];

        blocks[i] = (struct page_queue_block){
            .idstr = b->idstr,
            .pages = ramblock_pages(b),
            .unit_pages = (uint32_t)(b->host_page_bytes / PAGE_BYTES),
        };
        f->max_unit_pages = MAX(f->max_unit_pages, blocks[i].unit_pages);
    }
    return page_queue_new(&args, &f->queue, err);
}

static int make_sender(struct page_feed *f, struct error *err)
{
    struct page_sender_args args = {
        .fd = f->restore->fd,
        .urgent_fd = f->restore->urgent_fd,
        .source = f->restore->source,
        .stop = f->args.stop,
        .max_unit_pages = f->max_unit_pages,
        .n_blocks = f->restore->blocks->n,
    };

    return page_sender_new(&args, &f->sender, err);
}

int page_feed_new(const struct page_feed_args *args, struct page_feed **ret,
                  struct error *err)
{
    cleanup(page_feed) struct page_feed *f = calloc(1, sizeof(*f));
    int rc;

    if (!f)
        return fail_nomem(err);
    f->args = *args;
    f->restore = args->restore;
    f->fill = !f->restore->no_fill;
    f->total_bytes = f->restore->data_pages * PAGE_BYTES;
    fill_pace_init(&f->pace, f->restore->max_bandwidth);
    rc = make_queue(f, err);
    if (rc == 0)
        rc = make_sender(f, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&f);
    return 0;
}

void page_feed_free(struct page_feed *f)
{
    if (!f)
        return;
    page_stock_free(f->stock);
    page_sender_free(f->sender);
    page_queue_free(f->queue);
    free(f->lost);
    free(f);
}

int page_feed_start(struct page_feed *f, struct error *err)
{
    struct page_stock_args args = {
        .frames = f->restore->frames,
        .queue = f->queue,
        .plan = f->restore->prefetch ? f->restore->plan : NULL,
        .fill = f->fill,
        .ready = f->args.ready,
        .arg = f->args.arg,
    };

    return args.frames ? page_stock_new(&args, &f->stock, err) : 0;
}

int page_feed_write(struct page_feed *f, const struct buf *bytes,
                    struct error *err)
{
    return page_sender_write(f->sender, bytes, err);
}

void page_feed_loaded(struct page_feed *f)
{
    f->loaded = true;
    fill_pace_begin(&f->pace, f->restore->settle_ns, clock_monotonic_ns());
}

/* ---- What QEMU asks for, and what it has ---- */

/* Only pages of the snapshot are remembered for the next time. */
static void remember(struct page_feed *f, const char *idstr, pgno_t pgno)
{
    uint32_t block = ramblock_list_find(f->restore->blocks, idstr);

    if (block == RAMBLOCK_NOT_FOUND ||
        pgno >= ramblock_pages(&f->restore->blocks->blocks[block]))
        return;
    if (!f->waits_told && is_lost(f, block, pgno))
        note_damage(f, &f->damage, true);
    if (!f->restore->plan)
        return;
    prefetch_plan_asked(f->restore->plan, block, pgno);
    if (f->stock && page_queue_unit_pages(f->queue, block) == 1)
        page_stock_asked(f->stock, block, pgno);
}

int page_feed_ask(struct page_feed *f, const char *idstr, uint64_t start,
                  uint64_t len, uint64_t now_ns, struct error *err)
{
    int rc = page_queue_ask(f->queue, idstr, start, len, now_ns, err);

    if (rc == 0)
        remember(f, idstr, start / PAGE_BYTES);
    return rc;
}

int page_feed_received(struct page_feed *f, uint32_t block,
                       const struct bitmap *received, struct error *err)
{
    const struct ramblock *b = &f->restore->blocks->blocks[block];
    pgno_t unit = b->host_page_bytes / PAGE_BYTES;
    pgno_t pages = ramblock_pages(b);

    for (pgno_t p = bitmap_next_set(received, 0); p < pages;
         p = bitmap_next_set(received, p + 1)) {
        pgno_t data;
        int rc = next_data(f, block, p, &data, err);

        if (rc < 0)
            return rc;
        if (page_queue_withdraw(f->queue, block, p) &&
            data < (p / unit + 1) * unit)
            f->received_units++;
    }
    return 0;
}

/* ---- Sending ---- */

static int flush(struct page_feed *f, bool urgent, struct error *err)
{
    const struct page_sender_stats *stats = page_sender_stats(f->sender);
    uint64_t before = stats->data_pages;
    uint64_t sent;
    uint64_t left;
    int rc = page_sender_flush(f->sender, err);

    if (rc < 0)
        return rc;
    sent = (stats->data_pages + f->received_units) * PAGE_BYTES;
    left = f->total_bytes > sent ? f->total_bytes - sent : 0;
    fill_pace_sent(&f->pace, (stats->data_pages - before) * PAGE_BYTES, urgent,
                   left, clock_monotonic_ns());
    return 0;
}

static int add_unit(struct page_feed *f, const struct page_unit *unit,
                    struct error *err)
{
    bool asked_for = unit->turn == PAGE_TURN_URGENT;
    struct error why = ERROR_INIT;

    if (page_sender_add(f->sender, unit,
                        page_queue_idstr(f->queue, unit->block), &why) < 0) {
        if (why.code == ERR_NOMEM)
            return error_copy(err, &why);
        lose_unit(f, unit->block, unit->first);
        note_damage(f, &why, asked_for);
    }
    return 0;
}

/* The asked-for page leaves first, and with it those that other threads of
 * QEMU wait for and that came out of the same frame. */
static int send_urgent(struct page_feed *f, struct page_unit unit,
                       struct error *err)
{
    const struct page_source *source = f->restore->source;
    struct page_unit more;
    pgno_t first;
    pgno_t end;
    int rc = add_unit(f, &unit, err);

    if (rc == 0 && unit.pages > 1)
        return flush(f, true, err);
    if (rc < 0)
        return rc;
    if (!unit.known || !source->near)
        return flush(f, true, err);
    if (!page_queue_has_urgent(f->queue)) {
        rc = flush(f, true, err);
        if (rc < 0)
            return rc;
    }
    /* Behind the flush: looking around takes time that nobody waits for. */
    source->near(source->arg, unit.block, unit.first, &first, &end);
    while (rc == 0 && !page_sender_full(f->sender) &&
           page_queue_next_among(f->queue, unit.block, first, end, &more))
        rc = add_unit(f, &more, err);
    if (rc == 0 && !page_sender_empty(f->sender))
        rc = flush(f, true, err);
    page_queue_set_near(f->queue, unit.block, first, end);
    return rc;
}

/* A unit of the source, and more of them until a request comes. */
static int send_units(struct page_feed *f, struct page_unit unit,
                      struct error *err)
{
    int rc = add_unit(f, &unit, err);

    while (rc == 0 && !page_sender_full(f->sender) &&
           !page_queue_has_urgent(f->queue)) {
        rc = page_queue_next(f->queue, &unit, err);
        if (rc < 0 || unit.turn == PAGE_TURN_NONE)
            break;
        rc = add_unit(f, &unit, err);
    }
    return rc == 0 ? flush(f, false, err) : rc;
}

/* ---- From the stock ---- */

/* The batch of this turn that is being sent, or the next one. */
static const struct stock_batch *batch_of(struct page_feed *f,
                                          enum page_turn turn)
{
    if (!f->current[turn]) {
        f->current[turn] = page_stock_take(f->stock, turn);
        f->at[turn] = 0;
    }
    return f->current[turn];
}

/* A unit that the stock could not read. */
static void lose_batch(struct page_feed *f, const struct stock_batch *b)
{
    const struct stock_page *p = b->pages;

    if (!page_queue_withdraw(f->queue, p->block, p->pgno))
        return;
    lose_unit(f, p->block, p->pgno);
    note_damage(f, &b->why, false);
}

/* Units of the batch from `at` on, until the sender is full; what others have
 * taken meanwhile is left out. */
static size_t add_brought(struct page_feed *f, const struct stock_batch *b,
                          size_t at)
{
    const uint8_t *contents[PAGE_UNIT_MAX_PAGES];

    while (at < b->n && !page_sender_full(f->sender)) {
        const struct stock_page *p = &b->pages[at];
        struct page_unit unit;
        bool mine =
            page_queue_take(f->queue, p->block, p->pgno, b->turn, &unit);

        if (!mine) {
            at += page_queue_unit_pages(f->queue, p->block);
            continue;
        }
        for (uint32_t i = 0; i < unit.pages; i++)
            contents[i] = p[i].data;
        page_sender_add_brought(
            f->sender, &unit, page_queue_idstr(f->queue, unit.block), contents);
        at += unit.pages;
    }
    return MIN(at, b->n);
}

static int send_brought(struct page_feed *f, enum page_turn turn,
                        struct error *err)
{
    const struct stock_batch *b = f->current[turn];
    int rc = 0;

    if (b->why.code != 0) {
        lose_batch(f, b);
        f->at[turn] = b->n;
    } else {
        f->at[turn] = add_brought(f, b, f->at[turn]);
        if (!page_sender_empty(f->sender))
            rc = flush(f, false, err);
    }
    if (f->at[turn] == b->n) {
        page_stock_give(f->stock, b);
        f->current[turn] = NULL;
    }
    return rc;
}

static int step_stock(struct page_feed *f, bool *ret_any, struct error *err)
{
    static const enum page_turn turns[] = {PAGE_TURN_PREFETCH, PAGE_TURN_NEAR,
                                           PAGE_TURN_FILL};

    for (size_t i = 0; i < ARRAY_LEN(turns); i++) {
        if (!f->loaded && turns[i] != PAGE_TURN_PREFETCH)
            break;
        if (batch_of(f, turns[i])) {
            *ret_any = true;
            return send_brought(f, turns[i], err);
        }
    }
    return 0;
}

/* ---- Steps ---- */

/* The last pass may begin: it hands out what is left and counts. */
static bool may_count(struct page_feed *f)
{
    if (!f->counting && f->loaded && f->fill &&
        (!f->stock || page_stock_done(f->stock))) {
        f->counting = true;
        page_queue_release_background(f->queue);
    }
    return f->counting;
}

int page_feed_step(struct page_feed *f, bool *ret_any, struct error *err)
{
    struct page_unit unit;
    int rc;

    *ret_any = false;
    f->due_ns = 0;
    f->waits = false;
    if (!page_queue_has_urgent(f->queue)) {
        if (clock_monotonic_ns() < f->pace.due_ns) {
            f->due_ns = f->pace.due_ns;
            return 0;
        }
        f->waits = !page_sender_has_room(f->sender);
        if (f->waits)
            return 0;
        may_count(f);
    }
    rc = page_queue_next(f->queue, &unit, err);
    if (rc < 0)
        return rc;
    *ret_any = unit.turn != PAGE_TURN_NONE;
    if (unit.turn == PAGE_TURN_URGENT)
        return send_urgent(f, unit, err);
    if (unit.turn != PAGE_TURN_NONE)
        return send_units(f, unit, err);
    return f->stock ? step_stock(f, ret_any, err) : 0;
}

uint64_t page_feed_due_ns(const struct page_feed *f)
{
    return f->due_ns;
}

bool page_feed_waits_for_room(const struct page_feed *f)
{
    return f->waits;
}

bool page_feed_is_ahead(const struct page_feed *f)
{
    return !f->stock || !f->restore->prefetch || page_stock_is_ahead(f->stock);
}

bool page_feed_all_sent(const struct page_feed *f)
{
    return f->counting && page_queue_background_done(f->queue) &&
           !page_queue_has_urgent(f->queue);
}

/* Our own count, taken in two ways, before QEMU is told that it has all. */
int page_feed_check_count(const struct page_feed *f, struct error *err)
{
    const struct page_sender_stats *stats = page_sender_stats(f->sender);
    uint64_t sent = sends_zeros(f) ? stats->units : stats->data_units;
    uint64_t seen = page_queue_data_units(f->queue);

    if (sent + f->received_units == seen)
        return 0;
    return fail(err, ERR_INVALID,
                "%llu of %llu pages were counted as sent; the VM is not told "
                "that it has all",
                (unsigned long long)(sent + f->received_units),
                (unsigned long long)seen);
}

/* ---- Figures ---- */

uint64_t page_feed_lost_units(const struct page_feed *f)
{
    return f->lost_units;
}

const struct error *page_feed_damage(const struct page_feed *f)
{
    return &f->damage;
}

void page_feed_report(const struct page_feed *f, struct postcopy_result *ret)
{
    const struct page_sender_stats *stats = page_sender_stats(f->sender);

    ret->faults = stats->faults.count;
    ret->fault_p50_us = fault_stats_percentile_us(&stats->faults, 50);
    ret->fault_p99_us = fault_stats_percentile_us(&stats->faults, 99);
    ret->fault_max_us = stats->faults.max_us;
    ret->prefetched_pages = stats->turns[PAGE_TURN_PREFETCH];
    ret->near_pages = stats->turns[PAGE_TURN_NEAR];
    ret->filled_pages = stats->turns[PAGE_TURN_FILL];
    for (uint32_t i = 0; ret->blocks && i <= f->restore->blocks->n; i++)
        ret->blocks[i] = *page_sender_faults(f->sender, i);
}

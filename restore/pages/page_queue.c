/*
 * Three turns, asked in this order: requests (a ring, first come first
 * served), the window beside the last request, and one linear pass over the
 * data pages of all blocks. The pass visits every data page once, taken or
 * not: when it is through, every one of them has been handed out.
 *
 * Blocks live in one table: first the snapshot's, in its order, then foreign
 * ones as they are asked for. A foreign block's bitmap grows with the highest
 * page asked for, up to a bound, since nothing else tells its length.
 */
#include "restore/pages/page_queue.h"

#include "core/base/bitmap.h"
#include "restore/prefetch/page_marks.h"

#define URGENT_MAX        65536u /* a waiting thread of QEMU each: ample */
#define FOREIGN_MAX       64u    /* foreign blocks */
#define FOREIGN_MAX_PAGES (UINT64_C(1) << 26) /* 256 GiB: 8 MiB of bits */
#define REQUEST_MAX_BYTES (UINT64_C(1) << 30)
#define NOBODY            UINT32_MAX

struct queue_block {
    const char *idstr;
    char *own_idstr; /* foreign: the memory behind idstr */
    pgno_t pages;    /* known: its length */
    uint32_t unit_pages;
    /* A bit a unit: known blocks have marks, which others may look at; foreign
     * ones a bitmap, which grows. */
    struct page_marks marks;
    struct bitmap grown;
};

struct urgent {
    uint32_t block; /* NOBODY: taken out of its turn */
    pgno_t first;
    uint64_t asked_ns;
};

struct page_queue {
    int (*next_data)(void *arg, uint32_t block, pgno_t from, pgno_t *ret,
                     struct error *err);
    void *arg;
    struct queue_block *blocks;
    uint32_t n;       /* with the foreign ones */
    uint32_t n_known; /* the snapshot's */

    struct urgent *ring;
    uint32_t head;
    uint32_t n_urgent;  /* entries */
    uint32_t n_waiting; /* of these, not taken out of their turn */

    bool released;
    uint32_t near_block;
    pgno_t near_next;
    pgno_t near_end;
    uint32_t linear_block;
    pgno_t linear_next;
    uint64_t data_units; /* met by the linear pass */
};

static int check_unit(const struct page_queue_block *b, struct error *err)
{
    if (b->unit_pages == 0 || b->unit_pages > PAGE_UNIT_MAX_PAGES ||
        (b->unit_pages & (b->unit_pages - 1)) != 0) {
        fail(err, ERR_UNSUPPORTED,
             "host pages of %u KiB under block '%s' are too large for a lazy "
             "restore",
             b->unit_pages * (PAGE_BYTES / 1024), b->idstr);
        return error_hint(err, "restore it with --eager");
    }
    return 0;
}

static int add_known(struct page_queue *q, const struct page_queue_block *b,
                     struct error *err)
{
    struct queue_block *block = &q->blocks[q->n];
    uint64_t units;
    int rc = check_unit(b, err);

    if (rc < 0)
        return rc;
    units = (b->pages + b->unit_pages - 1) / b->unit_pages;
    rc = page_marks_init(&block->marks, units, err);
    if (rc < 0)
        return rc;
    block->idstr = b->idstr;
    block->pages = b->pages;
    block->unit_pages = b->unit_pages;
    q->n++;
    q->n_known++;
    return 0;
}

int page_queue_new(const struct page_queue_args *args, struct page_queue **ret,
                   struct error *err)
{
    cleanup(page_queue) struct page_queue *q = calloc(1, sizeof(*q));

    if (!q)
        return fail_nomem(err);
    q->next_data = args->next_data;
    q->arg = args->arg;
    q->blocks = calloc(args->n + FOREIGN_MAX, sizeof(*q->blocks));
    q->ring = calloc(URGENT_MAX, sizeof(*q->ring));
    if (!q->blocks || !q->ring)
        return fail_nomem(err);
    for (uint32_t i = 0; i < args->n; i++) {
        int rc = add_known(q, &args->blocks[i], err);

        if (rc < 0)
            return rc;
    }
    *ret = steal_ptr(&q);
    return 0;
}

void page_queue_free(struct page_queue *q)
{
    if (!q)
        return;
    for (uint32_t i = 0; i < q->n; i++) {
        page_marks_release(&q->blocks[i].marks);
        bitmap_release(&q->blocks[i].grown);
        free(q->blocks[i].own_idstr);
    }
    free(q->blocks);
    free(q->ring);
    free(q);
}

static uint32_t find_known(const struct page_queue *q, const char *idstr)
{
    for (uint32_t i = 0; i < q->n_known; i++) {
        if (strcmp(q->blocks[i].idstr, idstr) == 0)
            return i;
    }
    return q->n;
}

static int find_foreign(struct page_queue *q, const char *idstr,
                        uint32_t unit_pages, uint32_t *ret, struct error *err)
{
    struct queue_block *block;

    for (uint32_t i = q->n_known; i < q->n; i++) {
        if (strcmp(q->blocks[i].idstr, idstr) == 0) {
            *ret = i;
            return 0;
        }
    }
    if (q->n - q->n_known == FOREIGN_MAX)
        return fail(err, ERR_PROTOCOL,
                    "pages of more than %u unknown blocks are asked for",
                    FOREIGN_MAX);
    block = &q->blocks[q->n];
    block->own_idstr = strdup(idstr);
    if (!block->own_idstr)
        return fail_nomem(err);
    block->idstr = block->own_idstr;
    block->unit_pages = unit_pages;
    *ret = q->n++;
    return 0;
}

/* Room for `unit` in a foreign block's bitmap. */
static int grow_foreign(struct queue_block *block, uint64_t unit,
                        struct error *err)
{
    struct bitmap larger;
    uint64_t n = MAX(block->grown.n_bits, UINT64_C(64));
    int rc;

    if (unit < block->grown.n_bits)
        return 0;
    if (unit >= FOREIGN_MAX_PAGES)
        return fail(err, ERR_PROTOCOL,
                    "page %llu of block '%s' is asked for, far behind its end",
                    (unsigned long long)(unit * block->unit_pages),
                    block->idstr);
    while (n <= unit)
        n *= 2;
    rc = bitmap_init(&larger, n, err);
    if (rc < 0)
        return rc;
    if (block->grown.n_bits > 0)
        memcpy(larger.words, block->grown.words,
               bitmap_n_words(&block->grown) * sizeof(uint64_t));
    larger.n_set = block->grown.n_set;
    bitmap_release(&block->grown);
    block->grown = larger;
    return 0;
}

/* What the bit was before. */
static bool set_taken(struct queue_block *b, uint64_t unit)
{
    return b->own_idstr ? bitmap_set(&b->grown, unit)
                        : page_marks_set(&b->marks, unit);
}

static bool is_taken(const struct queue_block *b, uint64_t unit)
{
    return b->own_idstr ? bitmap_test(&b->grown, unit)
                        : page_marks_test(&b->marks, unit);
}

static int push_urgent(struct page_queue *q, uint32_t block, uint64_t unit,
                       uint64_t now_ns, struct error *err)
{
    struct queue_block *b = &q->blocks[block];

    assert(block < q->n);
    if (is_taken(b, unit))
        return 0;
    if (q->n_urgent == URGENT_MAX)
        return fail(err, ERR_PROTOCOL,
                    "more than %u pages are asked for at once", URGENT_MAX);
    set_taken(b, unit);
    q->n_waiting++;
    q->ring[(q->head + q->n_urgent++) % URGENT_MAX] = (struct urgent){
        .block = block,
        .first = unit * b->unit_pages,
        .asked_ns = now_ns,
    };
    return 0;
}

static int ask_foreign(struct page_queue *q, const char *idstr, pgno_t first,
                       pgno_t end, uint64_t now_ns, struct error *err)
{
    uint32_t unit_pages = 1;
    uint32_t block = 0;
    int rc;

    /* A request is one host page: its length tells the unit. */
    while (unit_pages < end - first && unit_pages < PAGE_UNIT_MAX_PAGES)
        unit_pages *= 2;
    rc = find_foreign(q, idstr, unit_pages, &block, err);
    if (rc < 0)
        return rc;
    unit_pages = q->blocks[block].unit_pages;
    for (uint64_t unit = first / unit_pages; unit * unit_pages < end; unit++) {
        rc = grow_foreign(&q->blocks[block], unit, err);
        if (rc == 0)
            rc = push_urgent(q, block, unit, now_ns, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int ask_known(struct page_queue *q, uint32_t block, pgno_t first,
                     pgno_t end, uint64_t now_ns, struct error *err)
{
    uint32_t unit_pages = q->blocks[block].unit_pages;

    for (uint64_t unit = first / unit_pages; unit * unit_pages < end; unit++) {
        int rc = push_urgent(q, block, unit, now_ns, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

int page_queue_ask(struct page_queue *q, const char *idstr, uint64_t start,
                   uint64_t len, uint64_t now_ns, struct error *err)
{
    uint32_t block = find_known(q, idstr);
    pgno_t first = start / PAGE_BYTES;
    pgno_t end;
    pgno_t known_end;
    int rc = 0;

    if (start % PAGE_BYTES != 0 || len % PAGE_BYTES != 0 || len == 0 ||
        len > REQUEST_MAX_BYTES || start > UINT64_MAX - len)
        return fail(err, ERR_PROTOCOL,
                    "request for %llu bytes at %llu of block '%s' is no range "
                    "of pages",
                    (unsigned long long)len, (unsigned long long)start, idstr);
    end = first + len / PAGE_BYTES;
    known_end = block < q->n_known ? q->blocks[block].pages : 0;
    if (first < known_end)
        rc = ask_known(q, block, first, MIN(end, known_end), now_ns, err);
    if (rc == 0 && end > known_end)
        rc = ask_foreign(q, idstr, MAX(first, known_end), end, now_ns, err);
    return rc;
}

void page_queue_set_near(struct page_queue *q, uint32_t block, pgno_t first,
                         pgno_t end)
{
    assert(block < q->n_known && first <= end);
    q->near_block = block;
    q->near_next = first;
    q->near_end = MIN(end, q->blocks[block].pages);
}

void page_queue_release_background(struct page_queue *q)
{
    q->released = true;
}

static struct page_unit unit_of(const struct page_queue *q, uint32_t block,
                                pgno_t pgno, enum page_turn turn)
{
    const struct queue_block *b = &q->blocks[block];
    pgno_t first = pgno - pgno % b->unit_pages;
    uint32_t pages = b->unit_pages;

    if (block < q->n_known)
        pages = (uint32_t)MIN(pages, b->pages - first);
    return (struct page_unit){
        .turn = turn,
        .known = block < q->n_known,
        .block = block,
        .first = first,
        .pages = pages,
    };
}

/* Hands out an entry of the ring, which stays as a gap. */
static void hand_out(struct page_queue *q, struct urgent *u,
                     struct page_unit *ret)
{
    assert(u->block < q->n && q->n_waiting > 0);
    *ret = unit_of(q, u->block, u->first, PAGE_TURN_URGENT);
    ret->asked_ns = u->asked_ns;
    u->block = NOBODY;
    q->n_waiting--;
}

static bool next_urgent(struct page_queue *q, struct page_unit *ret)
{
    while (q->n_urgent > 0) {
        struct urgent *u = &q->ring[q->head];

        q->head = (q->head + 1) % URGENT_MAX;
        q->n_urgent--;
        if (u->block == NOBODY)
            continue;
        hand_out(q, u, ret);
        return true;
    }
    return false;
}

bool page_queue_next_among(struct page_queue *q, uint32_t block, pgno_t first,
                           pgno_t end, struct page_unit *ret)
{
    for (uint32_t i = 0; q->n_waiting > 0 && i < q->n_urgent; i++) {
        struct urgent *u = &q->ring[(q->head + i) % URGENT_MAX];

        if (u->block == block && u->first >= first && u->first < end) {
            hand_out(q, u, ret);
            return true;
        }
    }
    return false;
}

/* Data pages of `block` from *next up to `end`: the first not yet taken, which
 * it takes. *next moves behind it; *met counts all that it met. */
static int take_data(struct page_queue *q, uint32_t block, pgno_t *next,
                     pgno_t end, bool *ret_found, uint64_t *met,
                     struct error *err)
{
    struct queue_block *b = &q->blocks[block];

    *ret_found = false;
    while (*next < end) {
        pgno_t pgno;
        int rc = q->next_data(q->arg, block, *next, &pgno, err);

        if (rc < 0)
            return rc;
        assert(pgno >= *next); /* or the pass would go in a circle */
        if (pgno >= end) {
            *next = end;
            return 0;
        }
        *next = MIN((pgno / b->unit_pages + 1) * b->unit_pages, b->pages);
        (*met)++;
        if (!set_taken(b, pgno / b->unit_pages)) {
            *ret_found = true;
            return 0;
        }
    }
    return 0;
}

static int next_near(struct page_queue *q, struct page_unit *ret,
                     struct error *err)
{
    uint64_t met = 0;
    bool found;
    int rc;

    if (q->near_next >= q->near_end)
        return 0;
    rc = take_data(q, q->near_block, &q->near_next, q->near_end, &found, &met,
                   err);
    if (rc == 0 && found)
        *ret = unit_of(q, q->near_block, q->near_next - 1, PAGE_TURN_NEAR);
    return rc;
}

static int next_linear(struct page_queue *q, struct page_unit *ret,
                       struct error *err)
{
    while (q->linear_block < q->n_known) {
        bool found;
        int rc = take_data(q, q->linear_block, &q->linear_next,
                           q->blocks[q->linear_block].pages, &found,
                           &q->data_units, err);

        if (rc < 0)
            return rc;
        if (found) {
            *ret =
                unit_of(q, q->linear_block, q->linear_next - 1, PAGE_TURN_FILL);
            return 0;
        }
        q->linear_block++;
        q->linear_next = 0;
    }
    return 0;
}

int page_queue_next(struct page_queue *q, struct page_unit *ret,
                    struct error *err)
{
    struct page_unit unit = {.turn = PAGE_TURN_NONE};
    int rc = 0;

    if (!next_urgent(q, &unit)) {
        rc = next_near(q, &unit, err);
        if (rc == 0 && unit.turn == PAGE_TURN_NONE && q->released)
            rc = next_linear(q, &unit, err);
    }
    if (rc == 0)
        *ret = unit;
    return rc;
}

bool page_queue_has_urgent(const struct page_queue *q)
{
    return q->n_waiting > 0;
}

bool page_queue_background_done(const struct page_queue *q)
{
    return q->linear_block == q->n_known && q->near_next >= q->near_end;
}

uint64_t page_queue_data_units(const struct page_queue *q)
{
    return q->data_units;
}

bool page_queue_withdraw(struct page_queue *q, uint32_t block, pgno_t pgno)
{
    struct queue_block *b = &q->blocks[block];

    assert(block < q->n_known && pgno < b->pages);
    return !set_taken(b, pgno / b->unit_pages);
}

bool page_queue_take(struct page_queue *q, uint32_t block, pgno_t pgno,
                     enum page_turn turn, struct page_unit *ret)
{
    if (!page_queue_withdraw(q, block, pgno))
        return false;
    *ret = unit_of(q, block, pgno, turn);
    return true;
}

bool page_queue_taken(const struct page_queue *q, uint32_t block, pgno_t pgno)
{
    const struct queue_block *b = &q->blocks[block];

    assert(block < q->n_known && pgno < b->pages);
    return page_marks_test(&b->marks, pgno / b->unit_pages);
}

uint32_t page_queue_unit_pages(const struct page_queue *q, uint32_t block)
{
    assert(block < q->n_known);
    return q->blocks[block].unit_pages;
}

const char *page_queue_idstr(const struct page_queue *q, uint32_t block)
{
    assert(block < q->n);
    return q->blocks[block].idstr;
}

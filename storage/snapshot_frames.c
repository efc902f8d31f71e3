/*
 * snapshot_frames.c - an index in memory that grows as it is asked.
 *
 * For each segment of 512 pages there is one pointer, NULL at first. The first
 * thread that needs a segment looks all its pages up with a snapshot_reader
 * (taken from a small pool, for one thread at a time), and shows the finished
 * array with one compare-and-swap; who was later frees its own. From then on a
 * lookup is a load: what is shown never changes. Packs are opened in the same
 * way. That is why these pointers are atomics and under no lock: they go from
 * NULL to their one value, once.
 */
#include "storage/snapshot_frames.h"

#include <stdatomic.h>

#include "core/base/lock.h"
#include "storage/index/segment.h"
#include "storage/packs/format.h"
#include "storage/repository_inside.h"
#include "storage/snapshot_frames_inside.h"

/* Readers that fill segments at one time; each has tables of its own. */
#define READERS_MAX 4u

/* An entry: 0 for a zero page, else pack, frame and slot, plus one. */
#define SLOT_BITS 8u
#define PACK_BITS 23u
static_assert(SLOT_BITS + PACK_BITS + 32 < 64, "an entry is 64 bits");
static_assert(FRAME_RAW_MAX / PAGE_BYTES <= 1u << SLOT_BITS, "slots");

typedef uint64_t *segment_table;

struct snapshot_frames {
    /* set at birth, then read only */
    struct repository *repository;
    char id[SNAPSHOT_ID_LEN + 1];
    const struct ramblock_list *blocks; /* of `first` */
    const struct snapshot_pack *packs;  /* of `first` */
    size_t n_packs;
    struct snapshot_reader *first;
    struct shared_frames *cache;

    /* NULL, then one value: see above */
    _Atomic(segment_table) **segments;      /* per block */
    _Atomic(struct pack_reader *) *readers; /* per pack */
    _Atomic uint64_t read_bytes;
    _Atomic uint64_t index_bytes; /* what was read to find pages */

    /* protected by `lock` */
    struct lock lock; /* the pool */
    struct condition given_back;
    struct snapshot_reader *pool[READERS_MAX] GUARDED_BY(lock);
    unsigned n_pool GUARDED_BY(lock); /* free ones */
    unsigned n_made GUARDED_BY(lock);
};

static uint64_t n_segments(const struct ramblock *b)
{
    return (ramblock_pages(b) + SEGMENT_PAGES - 1) / SEGMENT_PAGES;
}

static int make_tables(struct snapshot_frames *f, struct error *err)
{
    f->segments = calloc(MAX(f->blocks->n, 1u), sizeof(*f->segments));
    f->readers = calloc(MAX(f->n_packs, (size_t)1), sizeof(*f->readers));
    if (!f->segments || !f->readers)
        return fail_nomem(err);
    for (uint32_t i = 0; i < f->blocks->n; i++) {
        f->segments[i] = calloc(MAX(n_segments(&f->blocks->blocks[i]), 1u),
                                sizeof(**f->segments));
        if (!f->segments[i])
            return fail_nomem(err);
    }
    return 0;
}

int snapshot_frames_open(struct repository *r, const char *id,
                         size_t cache_bytes, struct snapshot_frames **ret,
                         struct error *err)
{
    cleanup(snapshot_frames) struct snapshot_frames *f = calloc(1, sizeof(*f));
    int rc;

    if (!f)
        return fail_nomem(err);
    lock_init(&f->lock);
    condition_init(&f->given_back);
    f->repository = r;
    snprintf(f->id, sizeof(f->id), "%s", id);
    rc = snapshot_reader_open(r, id, &f->first, err);
    if (rc == 0)
        rc = shared_frames_new(cache_bytes, &f->cache, err);
    if (rc < 0)
        return rc;
    f->pool[f->n_pool++] = f->first;
    f->n_made = 1;
    f->index_bytes = snapshot_reader_read_bytes(f->first);
    f->blocks = snapshot_reader_blocks(f->first);
    f->packs = snapshot_reader_packs(f->first, &f->n_packs);
    if (f->n_packs >= 1u << PACK_BITS)
        return fail(err, ERR_UNSUPPORTED, "snapshot '%s' has %zu packs", id,
                    f->n_packs);
    rc = make_tables(f, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&f);
    return 0;
}

void snapshot_frames_close(struct snapshot_frames *f)
{
    if (!f)
        return;
    for (size_t i = 0; f->readers && i < f->n_packs; i++)
        pack_reader_close(f->readers[i]);
    free((void *)f->readers);
    for (uint32_t b = 0; f->segments && b < f->blocks->n; b++) {
        for (uint64_t s = 0;
             f->segments[b] && s < n_segments(&f->blocks->blocks[b]); s++)
            free(f->segments[b][s]);
        free((void *)f->segments[b]);
    }
    free((void *)f->segments);
    for (unsigned i = 0; i < f->n_pool; i++)
        snapshot_reader_close(f->pool[i]);
    shared_frames_free(f->cache);
    condition_release(&f->given_back);
    lock_release(&f->lock);
    free(f);
}

const struct snapshot_summary *
snapshot_frames_summary(const struct snapshot_frames *f)
{
    return snapshot_reader_summary(f->first);
}

const struct ramblock_list *
snapshot_frames_blocks(const struct snapshot_frames *f)
{
    return f->blocks;
}

const struct snapshot_reader *
snapshot_frames_facts(const struct snapshot_frames *f)
{
    return f->first;
}

/* ---- The pool ---- */

/* A reader that nobody uses; NULL when one more is to be opened. */
static struct snapshot_reader *take_from_pool(struct snapshot_frames *f)
{
    LOCK_SCOPE(&f->lock);

    while (f->n_pool == 0 && f->n_made == READERS_MAX)
        condition_wait(&f->given_back, &f->lock);
    if (f->n_pool > 0)
        return f->pool[--f->n_pool];
    f->n_made++;
    return NULL;
}

static void give_to_pool(struct snapshot_frames *f, struct snapshot_reader *s)
{
    lock_take(&f->lock);
    assert(f->n_pool < f->n_made && f->n_made <= READERS_MAX);
    if (s)
        f->pool[f->n_pool++] = s;
    else
        f->n_made--;
    lock_drop(&f->lock);
    condition_wake_all(&f->given_back);
}

/* ---- Segments ---- */

static uint64_t entry_of(const struct page_place *p)
{
    if (p->zero)
        return 0;
    assert(p->pack < 1u << PACK_BITS && p->slot < 1u << SLOT_BITS);
    return ((uint64_t)p->pack << (32 + SLOT_BITS) |
            (uint64_t)p->frame << SLOT_BITS | p->slot) +
           1;
}

static void place_of(uint64_t entry, struct page_place *ret)
{
    *ret = (struct page_place){.zero = entry == 0};
    if (entry == 0)
        return;
    entry--;
    ret->slot = (uint32_t)(entry & ((1u << SLOT_BITS) - 1));
    ret->frame = (uint32_t)(entry >> SLOT_BITS);
    ret->pack = (uint32_t)(entry >> (32 + SLOT_BITS));
}

/* A page whose place cannot be had, since its pack or the index is damaged; the
 * others of the segment are none the worse for it. */
#define ENTRY_LOST UINT64_MAX

/* Pages from `at` on until one is zero; moves `at` behind it. */
static int look_up_run(struct snapshot_reader *s, uint32_t block, pgno_t first,
                       pgno_t end, uint64_t *table, pgno_t *at,
                       struct error *err)
{
    struct page_place place = {0};

    while (*at < end && !place.zero) {
        int rc = snapshot_reader_locate(s, block, *at, &place, err);

        if (rc < 0 && rc != ERR_CORRUPT)
            return rc;
        table[*at - first] = rc < 0 ? ENTRY_LOST : entry_of(&place);
        (*at)++;
    }
    return 0;
}

static int look_up(struct snapshot_reader *s, uint32_t block, pgno_t first,
                   pgno_t end, uint64_t *table, struct error *err)
{
    pgno_t at = first;

    while (at < end) {
        pgno_t next;
        int rc = snapshot_reader_next_data(s, block, at, &next, err);

        /* Damage may lie in a segment further on: then page by page. */
        if (rc < 0 && rc != ERR_CORRUPT)
            return rc;
        if (rc == 0)
            at = MIN(next, end);
        rc = look_up_run(s, block, first, end, table, &at, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* One of the pool, or a new one; *ret_before is what it has read so far. */
static int borrow_reader(struct snapshot_frames *f,
                         struct snapshot_reader **ret, uint64_t *ret_before,
                         struct error *err)
{
    struct snapshot_reader *s = take_from_pool(f);

    *ret_before = 0;
    if (s) {
        *ret_before = snapshot_reader_read_bytes(s);
    } else {
        int rc = snapshot_reader_open(f->repository, f->id, &s, err);

        if (rc < 0) {
            give_to_pool(f, NULL);
            return rc;
        }
    }
    *ret = s;
    return 0;
}

static void return_reader(struct snapshot_frames *f, struct snapshot_reader *s,
                          uint64_t before)
{
    f->index_bytes += snapshot_reader_read_bytes(s) - before;
    give_to_pool(f, s);
}

static int fill_table(struct snapshot_frames *f, uint32_t block, uint64_t segno,
                      uint64_t *table, struct error *err)
{
    pgno_t first = segno * SEGMENT_PAGES;
    pgno_t end =
        MIN(first + SEGMENT_PAGES, ramblock_pages(&f->blocks->blocks[block]));
    struct snapshot_reader *s;
    uint64_t before;
    int rc = borrow_reader(f, &s, &before, err);

    if (rc < 0)
        return rc;
    rc = look_up(s, block, first, end, table, err);
    return_reader(f, s, before);
    return rc;
}

static int load_segment(struct snapshot_frames *f, uint32_t block,
                        uint64_t segno, const uint64_t **ret, struct error *err)
{
    _Atomic(segment_table) *at = &f->segments[block][segno];
    segment_table table = *at;
    segment_table none = NULL;
    int rc;

    if (table) {
        *ret = table;
        return 0;
    }
    table = calloc(SEGMENT_PAGES, sizeof(*table));
    if (!table)
        return fail_nomem(err);
    rc = fill_table(f, block, segno, table, err);
    if (rc < 0) {
        free(table);
        return rc;
    }
    if (!atomic_compare_exchange_strong_explicit(
            at, &none, table, memory_order_seq_cst, memory_order_seq_cst)) {
        free(table);
        table = none;
    }
    *ret = table;
    return 0;
}

/* What is wrong with a lost page; a reader keeps it. */
static int say_why(struct snapshot_frames *f, uint32_t block, pgno_t pgno,
                   struct page_place *ret, struct error *err)
{
    struct snapshot_reader *s;
    uint64_t before;
    int rc = borrow_reader(f, &s, &before, err);

    if (rc < 0)
        return rc;
    rc = snapshot_reader_locate(s, block, pgno, ret, err);
    return_reader(f, s, before);
    return rc;
}

int snapshot_frames_locate(struct snapshot_frames *f, uint32_t block,
                           pgno_t pgno, struct page_place *ret,
                           struct error *err)
{
    const uint64_t *table = NULL;
    int rc;

    if (block >= f->blocks->n ||
        pgno >= ramblock_pages(&f->blocks->blocks[block]))
        return fail(err, ERR_INVALID, "there is no page %llu of block %u",
                    (unsigned long long)pgno, block);
    rc = load_segment(f, block, pgno / SEGMENT_PAGES, &table, err);
    if (rc < 0)
        return rc;
    if (table[pgno % SEGMENT_PAGES] == ENTRY_LOST)
        return say_why(f, block, pgno, ret, err);
    place_of(table[pgno % SEGMENT_PAGES], ret);
    return 0;
}

/* The first page with content from `from` on by the snapshot's own index:
 * segments that are all zero are stepped over, and cost no table. */
static int skip_empty(struct snapshot_frames *f, uint32_t block, pgno_t from,
                      pgno_t *ret, struct error *err)
{
    struct snapshot_reader *s;
    uint64_t before;
    int rc = borrow_reader(f, &s, &before, err);

    if (rc < 0)
        return rc;
    rc = snapshot_reader_next_data(s, block, from, ret, err);
    return_reader(f, s, before);
    return rc;
}

int snapshot_frames_next_data(struct snapshot_frames *f, uint32_t block,
                              pgno_t from, pgno_t *ret, struct error *err)
{
    pgno_t n;

    if (block >= f->blocks->n)
        return fail(err, ERR_INVALID, "there is no block %u", block);
    n = ramblock_pages(&f->blocks->blocks[block]);
    while (from < n) {
        uint64_t segno = from / SEGMENT_PAGES;
        const uint64_t *table = f->segments[block][segno];
        int rc = 0;

        if (!table)
            rc = skip_empty(f, block, from, &from, err);
        if (rc == 0 && !table && from < n)
            rc = load_segment(f, block, from / SEGMENT_PAGES, &table, err);
        if (rc < 0)
            return rc;
        if (from >= n)
            break;
        do {
            if (table[from % SEGMENT_PAGES] != 0) {
                *ret = MIN(from, n);
                return 0;
            }
        } while (++from % SEGMENT_PAGES != 0);
    }
    *ret = n;
    return 0;
}

/* Whether page `pgno` is in `frame` with exactly this slot. Only in the loaded
 * part of the index: neighbours must cost nothing. */
static bool is_slot(struct snapshot_frames *f, uint32_t block, pgno_t pgno,
                    const struct page_place *like, uint32_t slot)
{
    struct page_place p;
    const uint64_t *table;

    if (pgno >= ramblock_pages(&f->blocks->blocks[block]))
        return false;
    table = f->segments[block][pgno / SEGMENT_PAGES];
    if (!table)
        return false;
    place_of(table[pgno % SEGMENT_PAGES], &p);
    return !p.zero && p.pack == like->pack && p.frame == like->frame &&
           p.slot == slot;
}

void snapshot_frames_around(struct snapshot_frames *f, uint32_t block,
                            pgno_t pgno, pgno_t *ret_first, pgno_t *ret_end)
{
    struct error ignored;
    struct page_place here;
    uint32_t before = 0;
    uint32_t behind = 1;

    *ret_first = pgno;
    *ret_end = pgno + 1;
    if (snapshot_frames_locate(f, block, pgno, &here, &ignored) < 0 ||
        here.zero)
        return;
    while (before < here.slot && before < pgno &&
           is_slot(f, block, pgno - before - 1, &here, here.slot - before - 1))
        before++;
    while (is_slot(f, block, pgno + behind, &here, here.slot + behind))
        behind++;
    *ret_first = pgno - before;
    *ret_end = pgno + behind;
}

/* ---- Packs ---- */

int snapshot_frames_pack(struct snapshot_frames *f, uint32_t number,
                         const struct pack_reader **ret, struct error *err)
{
    struct pack_reader *reader;
    struct pack_reader *none = NULL;
    int rc;

    assert(number < f->n_packs);
    reader = f->readers[number];
    if (reader) {
        *ret = reader;
        return 0;
    }
    rc = pack_reader_open(repository_packs_dirfd(f->repository),
                          f->packs[number].id, PACK_PAGES, &reader, err);
    if (rc < 0)
        return rc == ERR_NOTFOUND
                   ? fail(err, ERR_CORRUPT, "pack '%s' is missing",
                          f->packs[number].id)
                   : rc;
    f->index_bytes += pack_reader_read_bytes(reader);
    if (!atomic_compare_exchange_strong_explicit(&f->readers[number], &none,
                                                 reader, memory_order_seq_cst,
                                                 memory_order_seq_cst)) {
        pack_reader_close(reader);
        reader = none;
    }
    *ret = reader;
    return 0;
}

struct shared_frames *snapshot_frames_cache(struct snapshot_frames *f)
{
    return f->cache;
}

void snapshot_frames_count_read(struct snapshot_frames *f, uint64_t bytes)
{
    f->read_bytes += bytes;
}

uint64_t snapshot_frames_read_bytes(struct snapshot_frames *f)
{
    return f->read_bytes;
}

uint64_t snapshot_frames_total_read(struct snapshot_frames *f)
{
    return f->read_bytes + f->index_bytes;
}

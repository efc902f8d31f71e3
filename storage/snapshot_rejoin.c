/*
 * snapshot_rejoin.c - the fragmentation budget of dedup.
 *
 * A segment of 512 pages whose content was stored by many captures comes from
 * many places, and a restore reads each of them. A *place* is what one read
 * brings: items of one pack, the next at most NEAR_ITEMS away. A segment may
 * come from PLACES_MAX of them. Of one that comes from more, the pages of the
 * smallest places are stored once more, together, until half of that is left:
 * the small ones cost a read each and few bytes to store again.
 *
 * That would cost a VM that writes a little everywhere more than its new pages
 * do, so it has a budget of its own: one page for each REJOIN_SHARE that the
 * capture stored anyway, and a few. The worst segments come first.
 *
 * The new places win the next time: packs are numbered newest first in a
 * snapshot, and so their contents are found first.
 *
 * Like repacking it gives up where there is no space; nothing was told the map.
 */
#define LOG_AREA "rejoin"
#include "core/base/log.h"
#include "storage/snapshot_writer_inside.h"

#define PLACES_MAX   32u
#define PLACES_AFTER (PLACES_MAX / 2)
#define NEAR_ITEMS   16u /* 64 KiB of pages: the reader's window */
#define REJOIN_SHARE 8u
#define REJOIN_MIN   256u /* pages, however little the capture stored */

struct spot {
    struct dedup_place from;
    uint16_t page; /* of the segment */
    uint16_t size; /* pages of its place */
};

struct bad_segment {
    uint64_t segno;
    uint32_t block;
    uint32_t places;
};

struct move {
    uint64_t pgno;
    uint32_t block;
    struct dedup_place to;
};

struct rejoin {
    struct snapshot_writer *w;
    struct open_pack open;
    struct buf bad;   /* struct bad_segment */
    struct buf moves; /* struct move */
    uint64_t budget;  /* pages that may still be stored again */
    struct spot spots[SEGMENT_PAGES];
    struct snapshot_cost *cost;
};

static int by_place(const void *a, const void *b)
{
    const struct spot *x = a, *y = b;

    if (x->from.pack != y->from.pack)
        return x->from.pack < y->from.pack ? -1 : 1;
    return x->from.item < y->from.item ? -1 : x->from.item > y->from.item;
}

/* Places that are small first; each place stays together. */
static int by_size(const void *a, const void *b)
{
    const struct spot *x = a, *y = b;

    return x->size != y->size ? (x->size < y->size ? -1 : 1) : by_place(a, b);
}

static bool is_near(const struct spot *a, const struct spot *b)
{
    return a->from.pack == b->from.pack &&
           b->from.item - a->from.item <= NEAR_ITEMS;
}

/* Fills in the sizes of the places and counts them. */
static uint32_t measure(struct spot *spots, uint32_t n)
{
    uint32_t places = 0;

    qsort(spots, n, sizeof(*spots), by_place);
    for (uint32_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && is_near(&spots[end - 1], &spots[end]);)
            end++;
        for (uint32_t k = i; k < end; k++)
            spots[k].size = (uint16_t)(end - i);
        places++;
    }
    return places;
}

static uint32_t read_spots(struct rejoin *r, uint32_t block, uint64_t segno)
{
    struct dedup_place places[SEGMENT_PAGES];
    uint32_t n = page_map_read_segment(&r->w->map, block, segno, places);
    uint32_t n_spots = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (places[i].pack < PAGE_MAP_ZERO)
            r->spots[n_spots++] =
                (struct spot){.from = places[i], .page = (uint16_t)i};
    }
    return n_spots;
}

static int look_at_segment(struct rejoin *r, uint32_t block, uint64_t segno,
                           struct error *err)
{
    uint32_t n = read_spots(r, block, segno);
    struct bad_segment bad = {.segno = segno, .block = block};

    if (n == 0)
        return 0;
    bad.places = measure(r->spots, n);
    r->cost->segments++;
    r->cost->places += bad.places;
    return bad.places > PLACES_MAX ? buf_append(&r->bad, &bad, sizeof(bad), err)
                                   : 0;
}

static int look(struct rejoin *r, struct error *err)
{
    const struct page_map *map = &r->w->map;
    int rc = 0;

    for (uint32_t b = 0; b < map->n_blocks; b++) {
        for (uint64_t s = 0; rc == 0 && s < map->blocks[b].n_segments; s++)
            rc = look_at_segment(r, b, s, err);
    }
    return rc;
}

static int by_places(const void *a, const void *b)
{
    const struct bad_segment *x = a, *y = b;

    return x->places != y->places ? (x->places > y->places ? -1 : 1) : 0;
}

static int move_page(struct rejoin *r, const struct bad_segment *s,
                     const struct spot *spot, struct error *err)
{
    struct move move = {.pgno = s->segno * SEGMENT_PAGES + spot->page,
                        .block = s->block};
    uint8_t page[PAGE_BYTES];
    struct page_hash hash;
    int rc = writer_read_place(r->w, spot->from, page, err);

    if (rc == 0)
        rc = writer_make_room(r->w, &r->open, r->w->lanes[0].ring, &r->w->clock,
                              1, err);
    if (rc < 0)
        return rc;
    hash = page_hash_of(r->w->key, page, PAGE_BYTES);
    move.to.pack = r->open.number;
    rc = pack_writer_add_page(r->open.writer, page, &hash, &move.to.item, err);
    r->budget--;
    return rc < 0 ? rc : buf_append(&r->moves, &move, sizeof(move), err);
}

/* The smallest places of a segment, all of each. */
static int join_segment(struct rejoin *r, const struct bad_segment *s,
                        struct error *err)
{
    uint32_t n = read_spots(r, s->block, s->segno);
    uint32_t places = measure(r->spots, n);
    int rc = 0;

    qsort(r->spots, n, sizeof(*r->spots), by_size);
    for (uint32_t i = 0; rc == 0 && places > PLACES_AFTER;) {
        uint32_t end = i + r->spots[i].size;

        if (end - i > r->budget)
            return 0;
        for (; rc == 0 && i < end; i++)
            rc = move_page(r, s, &r->spots[i], err);
        places--;
    }
    return rc;
}

static int join(struct rejoin *r, struct error *err)
{
    struct bad_segment *bad = (struct bad_segment *)(void *)r->bad.data;
    size_t n = r->bad.len / sizeof(*bad);
    int rc = 0;

    if (n > 0)
        qsort(bad, n, sizeof(*bad), by_places);
    for (size_t i = 0; rc == 0 && i < n && r->budget > 0; i++)
        rc = join_segment(r, &bad[i], err);
    return rc < 0 ? rc : writer_seal_open(r->w, &r->open, err);
}

static int tell_map(struct rejoin *r, struct error *err)
{
    const struct move *moves = (const struct move *)(void *)r->moves.data;
    size_t n = r->moves.len / sizeof(*moves);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = page_map_move(&r->w->map, moves[i].block, moves[i].pgno,
                           moves[i].to, err);
    if (rc == 0)
        r->cost->rejoined_pages = n;
    return rc;
}

int snapshot_rejoin(struct snapshot_writer *w, struct snapshot_cost *ret,
                    struct error *err)
{
    struct rejoin *r = calloc(1, sizeof(*r));
    uint32_t n_packs = w->n_packs;
    struct error why;
    int rc;

    if (!r)
        return fail_nomem(err);
    r->w = w;
    r->cost = ret;
    r->budget = w->stats.stored / REJOIN_SHARE + REJOIN_MIN;
    rc = look(r, err);
    if (rc == 0 && r->bad.len > 0) {
        rc = join(r, &why);
        if (rc < 0) {
            log_debug("given up: %s", why.message);
            writer_drop_from(w, n_packs);
            rc = rc == ERR_NOMEM ? error_copy(err, &why) : 0;
        } else {
            rc = tell_map(r, err);
        }
    }
    buf_release(&r->bad);
    buf_release(&r->moves);
    free(r);
    return rc;
}

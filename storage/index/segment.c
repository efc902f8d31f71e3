/*
 * segment.c - runs of pages, packed with varints.
 *
 *   segment = version(u8 = 1) n_packs pack_id(16 bytes){n_packs} n_runs run*
 *   run     = head [pack] [count - 2] item_step
 *   head    = gap * 4 + (pack follows ? 2 : 0) + (count follows ? 1 : 0)
 *
 * Numbers are varints: seven bits a byte, low ones first, the top bit set in
 * all bytes but the last, no longer than needed. `gap` is the number of zero
 * pages since the end of the run before. Without `pack` it is that of the run
 * before (0 at first); without `count` the run is one page long. `item_step`
 * is the first item minus the one that would follow the last run of the same
 * pack (0 at first), folded to be unsigned: 0, -1, 1, -2, ... → 0, 1, 2, 3.
 *
 * Guest memory is captured in order, so neighbours lie together and a segment
 * written in one go is a few runs. One whose pages changed at random costs
 * head, pack and two or three bytes of step for each page.
 *
 * There is one encoding of a set of places: packs stand in the order of their
 * first run, runs are as long as they can be, numbers as short. The decoder
 * refuses everything else, so a segment that is read, and written again, is
 * found by its content.
 */
#include "storage/index/segment.h"

#include "core/base/cursor.h"

#define SEGMENT_VERSION 1u
#define HEAD_COUNT      1u
#define HEAD_PACK       2u
#define HEAD_GAP_SHIFT  2

/* Of the longest encoding a run takes: head, pack, step of 33 bits. */
static_assert(1 + 2 + SEGMENT_PAGES * SEGMENT_PACK_ID_BYTES + 2 +
                      SEGMENT_PAGES * (2 + 2 + 5) <=
                  SEGMENT_MAX_BYTES,
              "every page a run in a pack of its own");
static_assert(SEGMENT_PAGES << HEAD_GAP_SHIFT < 1u << 14,
              "a head takes two bytes");

static uint32_t run_end(const struct segment_run *run)
{
    return (uint32_t)run->first + run->count;
}

static uint32_t find_or_add_pack(struct segment *s, const uint8_t *pack)
{
    uint32_t i;

    for (i = 0; i < s->n_packs; i++) {
        if (memcmp(s->packs[i], pack, SEGMENT_PACK_ID_BYTES) == 0)
            return i;
    }
    assert(i < SEGMENT_PAGES);
    memcpy(s->packs[i], pack, SEGMENT_PACK_ID_BYTES);
    s->n_packs++;
    return i;
}

void segment_add(struct segment *s, uint32_t page,
                 const uint8_t pack[static SEGMENT_PACK_ID_BYTES],
                 uint32_t item)
{
    struct segment_run *last = s->n_runs ? &s->runs[s->n_runs - 1] : NULL;

    assert(page < SEGMENT_PAGES && (!last || page >= run_end(last)));
    if (last && page == run_end(last) && item == last->item + last->count &&
        memcmp(s->packs[last->pack], pack, SEGMENT_PACK_ID_BYTES) == 0) {
        last->count++;
        return;
    }
    s->runs[s->n_runs++] = (struct segment_run){
        .first = (uint16_t)page,
        .count = 1,
        .pack = find_or_add_pack(s, pack),
        .item = item,
    };
}

static int append_varint(struct buf *b, uint64_t value, struct error *err)
{
    uint8_t raw[10];
    size_t n = 0;

    while (value >= 0x80) {
        raw[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    raw[n++] = (uint8_t)value;
    return buf_append(b, raw, n, err);
}

static uint64_t fold(int64_t step)
{
    return step < 0 ? (uint64_t)(-(step + 1)) * 2 + 1 : (uint64_t)step * 2;
}

static int64_t unfold(uint64_t folded)
{
    return folded & 1 ? -(int64_t)(folded >> 1) - 1 : (int64_t)(folded >> 1);
}

/* What the run before leaves behind for the next one. */
struct run_state {
    uint32_t page;                    /* end of the run before */
    uint32_t pack;                    /* its pack */
    uint32_t expected[SEGMENT_PAGES]; /* next item, by pack */
};

static void run_state_advance(struct run_state *at,
                              const struct segment_run *run)
{
    at->page = run_end(run);
    at->pack = run->pack;
    at->expected[run->pack] = run->item + run->count;
}

static int encode_run(const struct segment_run *run, struct run_state *at,
                      struct buf *ret, struct error *err)
{
    uint64_t head = (uint64_t)(run->first - at->page) << HEAD_GAP_SHIFT;
    int64_t step = (int64_t)run->item - at->expected[run->pack];
    int rc;

    assert(run->count >= 1 && run->first >= at->page);
    if (run->pack != at->pack)
        head |= HEAD_PACK;
    if (run->count > 1)
        head |= HEAD_COUNT;
    rc = append_varint(ret, head, err);
    if (rc == 0 && (head & HEAD_PACK))
        rc = append_varint(ret, run->pack, err);
    if (rc == 0 && (head & HEAD_COUNT))
        rc = append_varint(ret, run->count - 2u, err);
    if (rc == 0)
        rc = append_varint(ret, fold(step), err);
    run_state_advance(at, run);
    return rc;
}

int segment_encode(const struct segment *s, struct buf *ret, struct error *err)
{
    struct run_state at = {0};
    int rc = buf_append_u8(ret, SEGMENT_VERSION, err);

    assert(s->n_runs <= SEGMENT_PAGES && s->n_packs <= s->n_runs);
    if (rc == 0)
        rc = append_varint(ret, s->n_packs, err);
    if (rc == 0)
        rc = buf_append(ret, s->packs,
                        (size_t)s->n_packs * SEGMENT_PACK_ID_BYTES, err);
    if (rc == 0)
        rc = append_varint(ret, s->n_runs, err);
    for (uint32_t i = 0; rc == 0 && i < s->n_runs; i++)
        rc = encode_run(&s->runs[i], &at, ret, err);
    return rc;
}

static int bad_segment(const struct cursor *c, const char *reason,
                       struct error *err)
{
    return fail(err, ERR_CORRUPT, "segment of %zu bytes, offset %zu: %s",
                c->len, c->pos, reason);
}

static int read_varint(struct cursor *c, uint64_t max, uint64_t *ret,
                       struct error *err)
{
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;

    do {
        if (!cursor_u8(c, &byte))
            return bad_segment(c, "ends within a number", err);
        if (shift > 35)
            return bad_segment(c, "a number is too long", err);
        value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    if (byte == 0 && shift > 7)
        return bad_segment(c, "a number is longer than needed", err);
    if (value > max)
        return bad_segment(c, "a number is out of range", err);
    *ret = value;
    return 0;
}

static int decode_packs(struct cursor *c, struct segment *ret,
                        struct error *err)
{
    const uint8_t *ids;
    uint64_t n;
    int rc = read_varint(c, SEGMENT_PAGES, &n, err);

    if (rc < 0)
        return rc;
    if (!cursor_bytes(c, (size_t)n * SEGMENT_PACK_ID_BYTES, &ids))
        return bad_segment(c, "ends within the packs", err);
    memcpy(ret->packs, ids, (size_t)n * SEGMENT_PACK_ID_BYTES);
    ret->n_packs = (uint32_t)n;
    return 0;
}

/* The fields of one run; those that depend on one another come as read. */
static int decode_run(struct cursor *c, uint32_t n_packs,
                      const struct run_state *at, struct segment_run *ret,
                      struct error *err)
{
    uint64_t head, pack = at->pack, count = 1, step;
    int64_t item;
    int rc = read_varint(c, UINT16_MAX, &head, err);

    if (rc == 0 && (head & HEAD_PACK))
        rc = read_varint(c, n_packs - 1u, &pack, err);
    if (rc == 0 && (head & HEAD_COUNT)) {
        rc = read_varint(c, SEGMENT_PAGES, &count, err);
        count += 2;
    }
    if (rc == 0)
        rc = read_varint(c, UINT64_C(1) << 33, &step, err);
    if (rc < 0)
        return rc;
    if ((head & HEAD_PACK) && pack == at->pack)
        return bad_segment(c, "a pack is named twice in a row", err);
    if (at->page + (head >> HEAD_GAP_SHIFT) + count > SEGMENT_PAGES)
        return bad_segment(c, "a run leaves the segment", err);
    item = (int64_t)at->expected[pack] + unfold(step);
    if (item < 0 || item + (int64_t)count - 1 >= UINT32_MAX)
        return bad_segment(c, "an item is out of range", err);
    *ret = (struct segment_run){
        .first = (uint16_t)(at->page + (head >> HEAD_GAP_SHIFT)),
        .count = (uint16_t)count,
        .pack = (uint32_t)pack,
        .item = (uint32_t)item,
    };
    return 0;
}

/* Packs in the order of their first run, and no two runs that are one. */
static int check_run(const struct cursor *c, const struct segment *s,
                     uint32_t *packs_seen, struct error *err)
{
    const struct segment_run *run = &s->runs[s->n_runs];
    const struct segment_run *before = s->n_runs ? run - 1 : NULL;

    if (run->pack > *packs_seen)
        return bad_segment(c, "packs are out of order", err);
    if (run->pack == *packs_seen)
        (*packs_seen)++;
    if (before && before->pack == run->pack && run_end(before) == run->first &&
        before->item + before->count == run->item)
        return bad_segment(c, "a run is cut in two", err);
    return 0;
}

static int check_packs_differ(const struct cursor *c, const struct segment *s,
                              struct error *err)
{
    for (uint32_t i = 0; i < s->n_packs; i++) {
        for (uint32_t j = i + 1; j < s->n_packs; j++) {
            if (memcmp(s->packs[i], s->packs[j], SEGMENT_PACK_ID_BYTES) == 0)
                return bad_segment(c, "a pack is listed twice", err);
        }
    }
    return 0;
}

static int decode_runs(struct cursor *c, struct segment *ret, struct error *err)
{
    struct run_state at = {0};
    uint32_t packs_seen = 0;
    uint64_t n;
    int rc = read_varint(c, SEGMENT_PAGES, &n, err);

    if (rc < 0)
        return rc;
    if (n > 0 && ret->n_packs == 0)
        return bad_segment(c, "there are runs, but no packs", err);
    for (ret->n_runs = 0; ret->n_runs < n; ret->n_runs++) {
        struct segment_run *run = &ret->runs[ret->n_runs];

        rc = decode_run(c, ret->n_packs, &at, run, err);
        if (rc == 0)
            rc = check_run(c, ret, &packs_seen, err);
        if (rc < 0)
            return rc;
        run_state_advance(&at, run);
    }
    if (packs_seen != ret->n_packs)
        return bad_segment(c, "a pack is not used", err);
    return check_packs_differ(c, ret, err);
}

int segment_decode(const void *data, size_t len, struct segment *ret,
                   struct error *err)
{
    struct cursor c = cursor_of(data, len);
    uint8_t version;
    int rc;

    segment_init(ret);
    if (!cursor_u8(&c, &version))
        return bad_segment(&c, "is empty", err);
    if (version != SEGMENT_VERSION)
        return bad_segment(&c, "has an unknown version", err);
    rc = decode_packs(&c, ret, err);
    if (rc == 0)
        rc = decode_runs(&c, ret, err);
    if (rc < 0)
        return rc;
    if (cursor_left(&c) > 0)
        return bad_segment(&c, "has bytes behind its end", err);
    return 0;
}

/* Number of runs that begin at or before `page`. */
static uint32_t runs_up_to(const struct segment_run *runs, uint32_t n,
                           uint32_t page)
{
    uint32_t low = 0, high = n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (runs[middle].first <= page)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct segment_run *segment_run_find(const struct segment_run *runs,
                                           uint32_t n_runs, uint32_t page)
{
    uint32_t n = runs_up_to(runs, n_runs, page);

    if (n == 0 || page >= run_end(&runs[n - 1]))
        return NULL;
    return &runs[n - 1];
}

uint32_t segment_run_next(const struct segment_run *runs, uint32_t n_runs,
                          uint32_t from)
{
    uint32_t n = runs_up_to(runs, n_runs, from);

    if (n > 0 && from < run_end(&runs[n - 1]))
        return from;
    return n < n_runs ? runs[n].first : SEGMENT_PAGES;
}

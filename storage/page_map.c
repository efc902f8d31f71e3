/*
 * page_map.c - most of a sparse guest is zero pages, put in long runs.
 *
 * A segment begins as nothing, keeps zero pages as runs (first page, count,
 * batch), and is spread out into an entry a page as soon as runs do not do:
 * with the first content, when a page is put again, or when there are too many
 * runs. A run remembers the number of its batch, since a content that comes
 * late from another lane, with a lower number, must not win over it.
 */
#include "storage/page_map.h"

#define RUNS_MAX 16u

struct zero_run {
    uint64_t seq;
    uint16_t first;
    uint16_t count;
};

struct page_entry {
    uint64_t seq;
    struct dedup_place place;
};

static_assert(sizeof(struct page_entry) == 16, "stated in the header");

struct page_map_segment {
    struct zero_run *runs;
    struct page_entry *entries; /* NULL while runs do */
    uint32_t n_runs;
};

static_assert(sizeof(struct page_map_segment) == 24, "stated in the header");

int page_map_init(struct page_map *m, const struct ramblock_list *blocks,
                  struct error *err)
{
    *m = (struct page_map){0};
    m->blocks = calloc(MAX(blocks->n, 1u), sizeof(*m->blocks));
    if (!m->blocks)
        return fail_nomem(err);
    m->n_blocks = blocks->n;
    for (uint32_t i = 0; i < blocks->n; i++) {
        struct page_map_block *b = &m->blocks[i];
        pgno_t pages = ramblock_pages(&blocks->blocks[i]);

        b->segments = calloc(MAX((pages + SEGMENT_PAGES - 1) / SEGMENT_PAGES,
                                 UINT64_C(1)),
                             sizeof(*b->segments));
        if (!b->segments)
            return fail_nomem(err);
        b->n_pages = pages;
        b->n_segments = (pages + SEGMENT_PAGES - 1) / SEGMENT_PAGES;
    }
    return 0;
}

void page_map_release(struct page_map *m)
{
    for (uint32_t i = 0; i < m->n_blocks; i++) {
        struct page_map_block *b = &m->blocks[i];

        for (uint64_t j = 0; j < b->n_segments; j++) {
            free(b->segments[j].runs);
            free(b->segments[j].entries);
        }
        free(b->segments);
    }
    free(m->blocks);
    *m = (struct page_map){0};
}

/* From runs to an entry a page. */
static int spread(struct page_map *m, struct page_map_segment *s,
                  struct error *err)
{
    struct page_entry *entries = malloc(SEGMENT_PAGES * sizeof(*entries));

    if (!entries)
        return fail_nomem(err);
    for (uint32_t i = 0; i < SEGMENT_PAGES; i++)
        entries[i] = (struct page_entry){
            .place = {.pack = PAGE_MAP_UNSEEN},
        };
    for (uint32_t i = 0; i < s->n_runs; i++) {
        const struct zero_run *run = &s->runs[i];

        for (uint32_t page = run->first; page < run->first + run->count; page++)
            entries[page] = (struct page_entry){
                .seq = run->seq,
                .place = {.pack = PAGE_MAP_ZERO},
            };
    }
    free(s->runs);
    s->runs = NULL;
    s->n_runs = 0;
    s->entries = entries;
    m->full_segments++;
    return 0;
}

static bool in_a_run(const struct page_map_segment *s, uint32_t page)
{
    for (uint32_t i = 0; i < s->n_runs; i++) {
        if (page >= s->runs[i].first &&
            page < (uint32_t)s->runs[i].first + s->runs[i].count)
            return true;
    }
    return false;
}

/* Room for runs comes in powers of two, so it is full when n_runs is one. */
static int add_run(struct page_map_segment *s, uint32_t page, uint64_t seq,
                   struct error *err)
{
    uint32_t n = s->n_runs;

    if (!(n & (n - 1))) {
        struct zero_run *runs =
            realloc(s->runs, (n ? (size_t)n * 2 : 1) * sizeof(*runs));

        if (!runs)
            return fail_nomem(err);
        s->runs = runs;
    }
    s->runs[s->n_runs++] = (struct zero_run){
        .seq = seq,
        .first = (uint16_t)page,
        .count = 1,
    };
    return 0;
}

/* A zero page into a segment that has runs; *ret_done is false when runs do
 * not do. */
static int put_run(struct page_map_segment *s, uint32_t page, uint64_t seq,
                   bool *ret_done, struct error *err)
{
    struct zero_run *last = s->n_runs ? &s->runs[s->n_runs - 1] : NULL;

    *ret_done = !in_a_run(s, page);
    if (!*ret_done)
        return 0;
    if (last && last->seq == seq &&
        page == (uint32_t)last->first + last->count) {
        last->count++;
        return 0;
    }
    *ret_done = s->n_runs < RUNS_MAX;
    return *ret_done ? add_run(s, page, seq, err) : 0;
}

static bool is_content(struct dedup_place place)
{
    return place.pack < PAGE_MAP_ZERO;
}

static void put_entry(struct page_map *m, struct page_entry *e, uint64_t seq,
                      struct dedup_place place)
{
    bool same = e->place.pack == place.pack && e->place.item == place.item;
    bool wins = e->place.pack == PAGE_MAP_UNSEEN || seq >= e->seq;
    struct dedup_place loser = wins ? e->place : place;

    if (!same && is_content(loser))
        m->replaced++;
    if (wins)
        *e = (struct page_entry){.seq = seq, .place = place};
}

int page_map_put(struct page_map *m, uint32_t block, pgno_t pgno, uint64_t seq,
                 struct dedup_place place, struct error *err)
{
    struct page_map_segment *s;
    uint32_t page = (uint32_t)(pgno % SEGMENT_PAGES);
    bool done = false;
    int rc = 0;

    assert(block < m->n_blocks && pgno < m->blocks[block].n_pages);
    s = &m->blocks[block].segments[pgno / SEGMENT_PAGES];
    if (!s->entries && place.pack == PAGE_MAP_ZERO)
        rc = put_run(s, page, seq, &done, err);
    if (rc == 0 && !done && !s->entries)
        rc = spread(m, s, err);
    if (rc == 0 && !done)
        put_entry(m, &s->entries[page], seq, place);
    return rc;
}

static struct dedup_place place_in(const struct page_map_segment *s,
                                   uint32_t page)
{
    if (s->entries)
        return s->entries[page].place;
    return (struct dedup_place){
        .pack = in_a_run(s, page) ? PAGE_MAP_ZERO : PAGE_MAP_UNSEEN,
    };
}

struct dedup_place page_map_get(const struct page_map *m, uint32_t block,
                                pgno_t pgno)
{
    assert(block < m->n_blocks && pgno < m->blocks[block].n_pages);
    return place_in(&m->blocks[block].segments[pgno / SEGMENT_PAGES],
                    (uint32_t)(pgno % SEGMENT_PAGES));
}

uint32_t page_map_read_segment(const struct page_map *m, uint32_t block,
                               uint64_t segno,
                               struct dedup_place ret[static SEGMENT_PAGES])
{
    const struct page_map_block *b = &m->blocks[block];
    uint32_t n = (uint32_t)MIN((pgno_t)SEGMENT_PAGES,
                               b->n_pages - segno * SEGMENT_PAGES);

    assert(segno < b->n_segments);
    for (uint32_t i = 0; i < n; i++)
        ret[i] = place_in(&b->segments[segno], i);
    return n;
}

void page_map_move(struct page_map *m,
                   struct dedup_place (*moved)(void *arg,
                                               struct dedup_place place),
                   void *arg)
{
    for (uint32_t b = 0; b < m->n_blocks; b++) {
        for (uint64_t s = 0; s < m->blocks[b].n_segments; s++) {
            struct page_entry *entries = m->blocks[b].segments[s].entries;

            for (uint32_t i = 0; entries && i < SEGMENT_PAGES; i++) {
                if (is_content(entries[i].place))
                    entries[i].place = moved(arg, entries[i].place);
            }
        }
    }
}

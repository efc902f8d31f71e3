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
    uint32_t seq;
    uint16_t first;
    uint16_t count;
};

struct page_entry {
    uint32_t seq;
    uint32_t code; /* a place in the book, or one of the two that are none */
};

static_assert(sizeof(struct page_entry) == 8, "stated in the header");

struct page_map_segment {
    struct zero_run *runs;
    struct page_entry *entries; /* NULL while runs do */
    uint32_t n_runs;
};

static_assert(sizeof(struct page_map_segment) == 24, "stated in the header");

int page_map_init(struct page_map *m, const struct ramblock_list *blocks,
                  struct place_book *book, struct error *err)
{
    *m = (struct page_map){.book = book};
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
        entries[i] = (struct page_entry){.code = PLACE_CODE_UNSEEN};
    for (uint32_t i = 0; i < s->n_runs; i++) {
        const struct zero_run *run = &s->runs[i];

        for (uint32_t page = run->first; page < run->first + run->count; page++)
            entries[page] = (struct page_entry){
                .seq = run->seq,
                .code = PLACE_CODE_ZERO,
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
static int add_run(struct page_map_segment *s, uint32_t page, uint32_t seq,
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
static int put_run(struct page_map_segment *s, uint32_t page, uint32_t seq,
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

static bool is_content(uint32_t code)
{
    return code < PLACE_CODE_ZERO;
}

static void put_entry(struct page_map *m, struct page_entry *e, uint32_t seq,
                      uint32_t code)
{
    bool wins = e->code == PLACE_CODE_UNSEEN || seq >= e->seq;
    uint32_t loser = wins ? e->code : code;

    if (e->code != code && is_content(loser))
        m->replaced++;
    if (wins)
        *e = (struct page_entry){.seq = seq, .code = code};
}

static int code_of(struct page_map *m, struct dedup_place place, uint32_t *ret,
                   struct error *err)
{
    *ret = PLACE_CODE_ZERO;
    if (place.pack == PAGE_MAP_ZERO || place_book_code(m->book, place, ret))
        return 0;
    return fail(err, ERR_NOMEM, "no memory for the places of pages");
}

int page_map_put(struct page_map *m, uint32_t block, pgno_t pgno, uint64_t seq,
                 struct dedup_place place, struct error *err)
{
    struct page_map_segment *s;
    uint32_t page = (uint32_t)(pgno % SEGMENT_PAGES);
    uint32_t seq32 = (uint32_t)seq;
    bool done = false;
    uint32_t code;
    int rc = code_of(m, place, &code, err);

    assert(block < m->n_blocks && pgno < m->blocks[block].n_pages);
    if (rc < 0)
        return rc;
    if (seq > UINT32_MAX)
        return fail(err, ERR_UNSUPPORTED, "more than 2^32 batches of pages");
    s = &m->blocks[block].segments[pgno / SEGMENT_PAGES];
    if (!s->entries && place.pack == PAGE_MAP_ZERO)
        rc = put_run(s, page, seq32, &done, err);
    if (rc == 0 && !done && !s->entries)
        rc = spread(m, s, err);
    if (rc == 0 && !done)
        put_entry(m, &s->entries[page], seq32, code);
    return rc;
}

static struct dedup_place place_in(const struct page_map *m,
                                   const struct page_map_segment *s,
                                   uint32_t page)
{
    uint32_t code = s->entries          ? s->entries[page].code
                    : in_a_run(s, page) ? PLACE_CODE_ZERO
                                        : PLACE_CODE_UNSEEN;

    return is_content(code) ? place_book_place(m->book, code)
                            : (struct dedup_place){.pack = code};
}

struct dedup_place page_map_get(const struct page_map *m, uint32_t block,
                                pgno_t pgno)
{
    assert(block < m->n_blocks && pgno < m->blocks[block].n_pages);
    return place_in(m, &m->blocks[block].segments[pgno / SEGMENT_PAGES],
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
        ret[i] = place_in(m, &b->segments[segno], i);
    return n;
}

int page_map_move(struct page_map *m, uint32_t block, pgno_t pgno,
                  struct dedup_place place, struct error *err)
{
    struct page_entry *entries;

    assert(block < m->n_blocks && pgno < m->blocks[block].n_pages);
    entries = m->blocks[block].segments[pgno / SEGMENT_PAGES].entries;
    assert(entries && is_content(entries[pgno % SEGMENT_PAGES].code));
    return code_of(m, place, &entries[pgno % SEGMENT_PAGES].code, err);
}

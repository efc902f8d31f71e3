/*
 * snapshot_diff.c - two indexes walked side by side.
 *
 * Most of two snapshots of one VM is the same segment bytes, which the row's
 * checksum tells (it covers block and position too, so blocks of one name
 * only). In the others, a page of one pack and item is the same page; else the
 * content hashes decide, which a deduplicated store trusts anyway.
 */
#include "storage/snapshot_diff.h"

#include "storage/index/segment.h"
#include "storage/snapshot_reader_inside.h"

struct side {
    struct snapshot_reader *reader;
    uint32_t block;
    pgno_t n_pages;
    const char *idstr;
    const struct snapshot_pack *packs;
};

struct walk {
    struct side a, b;
    struct block_diff *d;
    uint8_t *copy; /* of A's page while B's is looked at */
};

static void side_init(struct side *s, struct snapshot_reader *reader,
                      uint32_t block)
{
    const struct ramblock *b = &snapshot_reader_blocks(reader)->blocks[block];
    size_t n;

    *s = (struct side){.reader = reader, .block = block, .idstr = b->idstr};
    s->n_pages = ramblock_pages(b);
    s->packs = snapshot_reader_packs(reader, &n);
}

static int add_page(struct block_diff *d, pgno_t pgno, struct error *err)
{
    struct diff_range *last = d->n_ranges ? &d->ranges[d->n_ranges - 1] : NULL;

    if (last && last->first + last->pages == pgno) {
        last->pages++;
        return 0;
    }
    if (d->n_ranges == d->cap) {
        size_t cap = MAX(d->cap * 2, (size_t)64);
        struct diff_range *ranges =
            reallocarray(d->ranges, cap, sizeof(*ranges));

        if (!ranges)
            return fail_nomem(err);
        d->ranges = ranges;
        d->cap = cap;
    }
    d->ranges[d->n_ranges++] = (struct diff_range){.first = pgno, .pages = 1};
    return 0;
}

static int next_data(const struct side *s, pgno_t from, pgno_t *ret,
                     struct error *err)
{
    if (from >= s->n_pages) {
        *ret = UINT64_MAX;
        return 0;
    }
    int rc = snapshot_reader_next_data(s->reader, s->block, from, ret, err);

    if (rc == 0 && *ret >= s->n_pages)
        *ret = UINT64_MAX;
    return rc;
}

/* Whether both have the same bytes for the segment at `pgno`, its first page.
 */
static int same_segment(struct walk *w, pgno_t pgno, bool *ret,
                        struct error *err)
{
    uint64_t segno = pgno / SEGMENT_PAGES;
    struct manifest_segment a, b;
    bool in_a, in_b;
    int rc = manifest_next_segment(snapshot_reader_manifest(w->a.reader),
                                   w->a.block, segno, &a, &in_a, err);

    *ret = false;
    if (rc == 0)
        rc = manifest_next_segment(snapshot_reader_manifest(w->b.reader),
                                   w->b.block, segno, &b, &in_b, err);
    if (rc == 0)
        *ret = in_a && in_b && a.segno == segno && b.segno == segno &&
               a.checksum == b.checksum && strcmp(w->a.idstr, w->b.idstr) == 0;
    return rc;
}

/* Where the hashes have different keys. */
static int compare_content(struct walk *w, pgno_t pgno, bool *ret_same,
                           struct error *err)
{
    const uint8_t *page;
    int rc = snapshot_reader_page(w->a.reader, w->a.block, pgno, &page, err);

    if (rc < 0)
        return rc;
    memcpy(w->copy, page, PAGE_BYTES);
    rc = snapshot_reader_page(w->b.reader, w->b.block, pgno, &page, err);
    if (rc == 0)
        *ret_same = memcmp(w->copy, page, PAGE_BYTES) == 0;
    return rc;
}

/* A page with content in both. */
static int compare(struct walk *w, pgno_t pgno, bool *ret_same,
                   struct error *err)
{
    struct page_place a, b;
    struct page_hash of_a, of_b;
    uint32_t key_a, key_b;
    int rc = snapshot_reader_locate(w->a.reader, w->a.block, pgno, &a, err);

    if (rc == 0)
        rc = snapshot_reader_locate(w->b.reader, w->b.block, pgno, &b, err);
    if (rc < 0)
        return rc;
    if (a.frame == b.frame && a.slot == b.slot &&
        strcmp(w->a.packs[a.pack].id, w->b.packs[b.pack].id) == 0) {
        *ret_same = true;
        return 0;
    }
    rc = snapshot_reader_hash(w->a.reader, w->a.block, pgno, &a, &of_a, &key_a,
                              err);
    if (rc == 0)
        rc = snapshot_reader_hash(w->b.reader, w->b.block, pgno, &b, &of_b,
                                  &key_b, err);
    if (rc == 0 && key_a != key_b)
        return compare_content(w, pgno, ret_same, err);
    if (rc == 0)
        *ret_same = page_hash_equal(of_a, of_b);
    return rc;
}

/* `pgno` has content in A, in B or in both. */
static int count_page(struct walk *w, pgno_t pgno, bool in_a, bool in_b,
                      struct error *err)
{
    bool same = false;
    int rc = in_a && in_b ? compare(w, pgno, &same, err) : 0;

    if (rc < 0 || same)
        return rc;
    if (in_a && in_b)
        w->d->changed++;
    else if (in_b)
        w->d->filled++;
    else
        w->d->cleared++;
    return add_page(w->d, pgno, err);
}

static int walk(struct walk *w, struct stopper *stop, struct error *err)
{
    pgno_t page = 0, in_a = 0, in_b = 0;
    uint64_t seen = UINT64_MAX;
    bool same;
    int rc = 0;

    for (; rc == 0; page++) {
        if (in_a < page || page == 0)
            rc = next_data(&w->a, page, &in_a, err);
        if (rc == 0 && (in_b < page || page == 0))
            rc = next_data(&w->b, page, &in_b, err);
        page = MIN(in_a, in_b);
        if (rc < 0 || page == UINT64_MAX)
            return rc;
        if (page / SEGMENT_PAGES != seen) {
            seen = page / SEGMENT_PAGES;
            if (stopper_pulled(stop))
                return stopper_error(stop, err);
            rc = same_segment(w, page, &same, err);
            if (rc == 0 && same) {
                page = (seen + 1) * SEGMENT_PAGES - 1;
                continue;
            }
        }
        if (rc == 0)
            rc = count_page(w, page, in_a == page, in_b == page, err);
    }
    return rc;
}

int block_diff_init(struct block_diff *d, struct snapshot_reader *a,
                    uint32_t in_a, struct snapshot_reader *b, uint32_t in_b,
                    struct stopper *stop, struct error *err)
{
    uint8_t copy[PAGE_BYTES];
    struct walk w = {.d = d, .copy = copy};
    int rc;

    *d = (struct block_diff){0};
    side_init(&w.a, a, in_a);
    side_init(&w.b, b, in_b);
    rc = walk(&w, stop, err);
    d->same = MAX(w.a.n_pages, w.b.n_pages) - block_diff_pages(d);
    return rc;
}

void block_diff_release(struct block_diff *d)
{
    free(d->ranges);
    *d = (struct block_diff){0};
}

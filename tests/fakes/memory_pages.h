/*
 * memory_pages.h - a page source in memory, with holes.
 *
 * Pages whose number divides by 4 are zero, every other page is filled with a
 * byte pattern of its own. Single pages can be damaged, a whole block's index
 * too. Header only.
 */
#ifndef FIRN_TESTS_FAKES_MEMORY_PAGES_H
#define FIRN_TESTS_FAKES_MEMORY_PAGES_H

#include "core/base/bytes.h"
#include "core/vm/ramblock.h"
#include "restore/pages/page_source.h"

#define MEMORY_DAMAGED_MAX 8

struct memory_pages {
    const struct ramblock_list *blocks;
    struct {
        uint32_t block;
        pgno_t pgno;
    } damaged[MEMORY_DAMAGED_MAX];
    unsigned n_damaged;
    bool index_damaged; /* next_data() fails */
    unsigned near;      /* neighbours on each side */
    uint64_t read_bytes;
    uint8_t page[PAGE_BYTES];
};

static inline UNUSED bool memory_page_is_zero(pgno_t pgno)
{
    return pgno % 4 == 0;
}

static inline UNUSED void memory_page_fill(uint32_t block, pgno_t pgno,
                                           uint8_t *page)
{
    for (size_t i = 0; i < PAGE_BYTES; i += 8)
        store_le64(page + i, (pgno << 20) ^ (block << 16) ^ (i + 1));
}

static inline UNUSED int memory_pages_page(void *arg, uint32_t block,
                                           pgno_t pgno, const uint8_t **ret,
                                           struct error *err)
{
    struct memory_pages *m = arg;

    for (unsigned i = 0; i < m->n_damaged; i++) {
        if (m->damaged[i].block == block && m->damaged[i].pgno == pgno)
            return fail(err, ERR_CORRUPT, "frame 7 of pack 'x': bad checksum");
    }
    m->read_bytes += PAGE_BYTES;
    *ret = memory_page_is_zero(pgno) ? NULL : m->page;
    memory_page_fill(block, pgno, m->page);
    return 0;
}

static inline UNUSED int memory_pages_next_data(void *arg, uint32_t block,
                                                pgno_t from, pgno_t *ret,
                                                struct error *err)
{
    struct memory_pages *m = arg;
    pgno_t pages = ramblock_pages(&m->blocks->blocks[block]);

    if (m->index_damaged)
        return fail(err, ERR_CORRUPT, "segment 0: bad checksum");
    while (from < pages && memory_page_is_zero(from))
        from++;
    *ret = MIN(from, pages);
    return 0;
}

static inline UNUSED void memory_pages_near(void *arg, uint32_t block,
                                            pgno_t pgno, pgno_t *ret_first,
                                            pgno_t *ret_end)
{
    struct memory_pages *m = arg;

    *ret_first = pgno > m->near ? pgno - m->near : 0;
    *ret_end = pgno + m->near + 1;
}

static inline UNUSED uint64_t memory_pages_read_bytes(void *arg)
{
    return ((struct memory_pages *)arg)->read_bytes;
}

static inline UNUSED struct page_source
memory_pages_source(struct memory_pages *m)
{
    return (struct page_source){
        .arg = m,
        .page = memory_pages_page,
        .next_data = memory_pages_next_data,
        .near = memory_pages_near,
        .read_bytes = memory_pages_read_bytes,
        .image_bytes = memory_pages_read_bytes,
    };
}

#endif

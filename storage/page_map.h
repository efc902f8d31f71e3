/*
 * page_map.h - of each page of a capture: was it seen, and where it lies.
 *
 * Of two contents of one page the one of the batch with the higher number
 * counts, in whatever order they are put. Memory is taken by segments of 512
 * pages: 24 bytes for each at first, some 32 to 128 for one that is all zero,
 * 4 KiB (8 bytes a page) for one with content. Not for threads: the caller
 * holds one lock for all pages of a batch.
 */
#ifndef FIRN_STORAGE_PAGE_MAP_H
#define FIRN_STORAGE_PAGE_MAP_H

#include "core/vm/ramblock.h"
#include "core/base/error.h"
#include "storage/index/segment.h"
#include "storage/place_book.h"

/* Numbers of packs that are none. */
#define PAGE_MAP_ZERO   PLACE_CODE_ZERO
#define PAGE_MAP_UNSEEN PLACE_CODE_UNSEEN

struct page_map_segment;

struct page_map_block {
    struct page_map_segment *segments;
    uint64_t n_segments;
    pgno_t n_pages;
};

struct page_map {
    struct page_map_block *blocks;
    uint32_t n_blocks;
    uint64_t replaced; /* contents that gave way to another, or came late */
    uint64_t full_segments;  /* those of 4 KiB */
    struct place_book *book; /* borrowed */
};

/* No page seen. `blocks` is not kept. ERR_NOMEM; release() is due then, too. */
int page_map_init(struct page_map *m, const struct ramblock_list *blocks,
                  struct place_book *book, struct error *err) NODISCARD;
/* Frees the segments; the book stays. */
void page_map_release(struct page_map *m);

/* `place` may be a zero page ({PAGE_MAP_ZERO, 0}). ERR_NOMEM; ERR_UNSUPPORTED
 * beyond 2^32 batches. */
int page_map_put(struct page_map *m, uint32_t block, pgno_t pgno, uint64_t seq,
                 struct dedup_place place, struct error *err) NODISCARD;
/* The pack is PAGE_MAP_UNSEEN for a page that was never put. */
struct dedup_place page_map_get(const struct page_map *m, uint32_t block,
                                pgno_t pgno);
/* All places of a segment; how many pages it has (512, the last one fewer). */
uint32_t page_map_read_segment(const struct page_map *m, uint32_t block,
                               uint64_t segno,
                               struct dedup_place ret[static SEGMENT_PAGES]);
/* The content of a page that was put lies there now. ERR_NOMEM. */
int page_map_move(struct page_map *m, uint32_t block, pgno_t pgno,
                  struct dedup_place place, struct error *err) NODISCARD;

#endif

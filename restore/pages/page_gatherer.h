/*
 * page_gatherer.h - puts pages into one batch after the other, and reads them.
 *
 * Between begin() and finish() pages are added by their places; finish() reads
 * them all, each frame once, and shows the batch to the taker (stock_shelf.h).
 * Pages that share a place are decompressed into one and sent from there.
 * Damage costs the pages of its frame: the others are shown, and each lost one
 * with its reason.
 *
 * One thread, the filler of the shelf; no allocation after init().
 */
#ifndef FIRN_RESTORE_PAGES_PAGE_GATHERER_H
#define FIRN_RESTORE_PAGES_PAGE_GATHERER_H

#include "restore/pages/stock_shelf.h"
#include "restore/pages/telltales.h"
#include "restore/prefetch/prefetch_plan.h"
#include "storage/snapshot_frames.h"

#define GATHER_PAGES 128u /* 512 KiB: what the caches of a core hold */

struct page_gatherer_args {
    struct snapshot_frames *frames; /* these outlive the gatherer */
    const struct page_queue *queue; /* for page_queue_taken() */
    struct prefetch_plan *plan; /* whose samples are kept back; NULL: none */
    struct stock_shelf *shelf;  /* not used before begin() */
    struct telltales *telltales; /* keeps back pages of the fill; NULL: none */
};

struct page_gatherer {
    /* set by init(), then read only */
    struct page_gatherer_args args;
    const struct ramblock_list *blocks;
    uint32_t batch_pages; /* room of a batch */

    struct shelf_batch *batch; /* being filled, or NULL */

    /* inside */
    struct frame_reader *reader;
    struct bitmap *brought; /* of each block: a bit a unit, sent or not */
    struct frame_want *wants;
    size_t n_wants;
};

/* How large the batches of the shelf must be: GATHER_PAGES, or the largest
 * unit. */
uint32_t page_gatherer_batch_pages(const struct page_gatherer_args *args);
/* Release after a failure as well. */
int page_gatherer_init(struct page_gatherer *g,
                       const struct page_gatherer_args *args,
                       struct error *err) NODISCARD;
/* A batch that was begun is the shelf's. */
void page_gatherer_release(struct page_gatherer *g);

/* The unit of this page was brought before, or sent by others. */
bool page_gatherer_has(const struct page_gatherer *g, uint32_t block,
                       pgno_t pgno);
bool page_gatherer_is_sample(const struct page_gatherer *g, uint32_t block,
                             pgno_t pgno);
/* Host pages of this block are one page of the guest. */
bool page_gatherer_is_single(const struct page_gatherer *g, uint32_t block);

/* An empty batch, as stock_shelf_await(): false where that is NULL. */
bool page_gatherer_begin(struct page_gatherer *g, enum page_turn turn);
/* Pages that can still be added. */
size_t page_gatherer_left(const struct page_gatherer *g);
/* One data page; there is room. */
void page_gatherer_add(struct page_gatherer *g, uint32_t block, pgno_t pgno,
                       const struct page_place *place);
/* A page with the rest of its frame, which costs the same, as far as nobody has
 * them; a zero page alone. What does not fit is left out. */
void page_gatherer_add_frame(struct page_gatherer *g, uint32_t block,
                             pgno_t pgno);
/* The same of all pages from `first` to `end`, wherever they are stored. */
void page_gatherer_add_frames(struct page_gatherer *g, uint32_t block,
                              pgno_t first, pgno_t end);
/* Reads what was added and shows it; nothing: the batch stays. Telltales among
 * what the fill brought are kept back: there is room for all. */
int page_gatherer_finish(struct page_gatherer *g, enum page_turn turn,
                         struct error *err) NODISCARD;

/* The oldest telltales, as a batch of the fill. */
void page_gatherer_show_telltales(struct page_gatherer *g);

/* One unit of several pages, in a batch of its own, unless it is zero or
 * brought before; lost as a whole. `first` is its first page. */
int page_gatherer_bring_unit(struct page_gatherer *g, uint32_t block,
                             pgno_t first, enum page_turn turn,
                             struct error *err) NODISCARD;

#endif

/*
 * page_stock.h - pages that nobody has asked for yet, read by a thread ahead
 * of the one that sends them.
 *
 * What is brought, in this order: the groups of the prefetch plan; what lies
 * around pages that were asked for; with `fill` everything else, in the order
 * of the packs, so that every frame is read and decompressed once, however many
 * pages share it; the samples of the plan, last. What the queue has taken by
 * then is left out.
 *
 * Pages come in batches of one turn. Bounded: some batches of 512 KiB (2 MiB
 * where host pages are huge), and 32 bytes a page of the window of the index
 * that is sorted at one time. One thread of its own; all calls by one other.
 */
#ifndef FIRN_RESTORE_PAGES_PAGE_STOCK_H
#define FIRN_RESTORE_PAGES_PAGE_STOCK_H

#include "restore/pages/page_queue.h"
#include "restore/pages/stock_batch.h"
#include "restore/prefetch/prefetch_plan.h"
#include "storage/snapshot_frames.h"

struct page_stock_args {
    struct snapshot_frames *frames; /* these outlive the stock */
    const struct page_queue *queue; /* for page_queue_taken() */
    struct prefetch_plan *plan;     /* NULL: none */
    bool fill;
    /* Called by the thread of the stock when there is something to take. */
    void (*ready)(void *arg);
    void *arg;
};

struct page_stock;

/* Starts the thread. */
int page_stock_new(const struct page_stock_args *args, struct page_stock **ret,
                   struct error *err) NODISCARD;
void page_stock_free(struct page_stock *s);

/* The next batch of this turn, or NULL: not ready, or none. Given back. */
const struct stock_batch *page_stock_take(struct page_stock *s,
                                          enum page_turn turn);
void page_stock_give(struct page_stock *s, const struct stock_batch *batch);
/* Somebody asked for this page (of a known block): what is around it, next. */
void page_stock_asked(struct page_stock *s, uint32_t block, pgno_t pgno);
/* Every group of the plan is brought and given back. */
bool page_stock_is_ahead(struct page_stock *s);
/* All is brought and given back. An error of the thread ends it as well: what
 * it did not bring others must. */
bool page_stock_done(struct page_stock *s);

DEFINE_CLEANUP(page_stock, struct page_stock *, page_stock_free)

#endif

/*
 * page_window.h - the data pages of a snapshot, in the order of the packs.
 *
 * By windows: the places of some data pages, in the order of the guest, sorted
 * by pack and frame, so that pages of one frame lie side by side. A window is
 * large, since a frame that is shared by pages of two windows is read twice.
 * Blocks of host pages larger than one page are left out. One thread.
 */
#ifndef FIRN_RESTORE_PAGES_PAGE_WINDOW_H
#define FIRN_RESTORE_PAGES_PAGE_WINDOW_H

#include "restore/pages/page_queue.h"
#include "storage/snapshot_frames.h"

struct window_entry {
    struct page_place place;
    uint32_t block;
    pgno_t pgno;
};

struct page_window {
    /* set before the first load */
    struct snapshot_frames *frames;
    const struct page_queue *queue; /* for the size of host pages */

    struct window_entry *entries;
    size_t n;
    size_t at;           /* how far it was taken */
    uint32_t next_block; /* where the next window begins */
    pgno_t next_pgno;
};

/* Frees the entries. */
void page_window_release(struct page_window *w);

/* The next window; n is 0 behind the last one. What the index cannot tell is
 * stepped over. ERR_NOMEM. */
int page_window_load(struct page_window *w, struct error *err) NODISCARD;
/* Takes up to `max` entries, but no part of a frame, unless it has more: from
 * `at` to the end that is returned, where `at` is then. */
size_t page_window_take(struct page_window *w, size_t max);

#endif

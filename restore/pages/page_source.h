/*
 * page_source.h - where a restore takes the pages from: an ops table.
 *
 * A snapshot behind its reader (snapshot_pages.c), or pages in memory in a
 * test. One thread. An error of page() or next_data() means that these pages
 * cannot be had; it names the pack or the segment.
 */
#ifndef FIRN_RESTORE_PAGES_PAGE_SOURCE_H
#define FIRN_RESTORE_PAGES_PAGE_SOURCE_H

#include "core/base/error.h"
#include "core/vm/page.h"

struct page_source {
    void *arg;
    /* PAGE_BYTES, borrowed until the next call; NULL for a zero page. */
    int (*page)(void *arg, uint32_t block, pgno_t pgno, const uint8_t **ret,
                struct error *err);
    /* First page at or behind `from` that is not zero; the block's page count
     * if none is left. */
    int (*next_data)(void *arg, uint32_t block, pgno_t from, pgno_t *ret,
                     struct error *err);
    /* The pages around `pgno`, itself included, that cost next to nothing
     * after it: they came out of the same frame. May be NULL. */
    void (*near)(void *arg, uint32_t block, pgno_t pgno, pgno_t *ret_first,
                 pgno_t *ret_end);
    /* Read from the repository so far, and what the whole image takes. */
    uint64_t (*read_bytes)(void *arg);
    uint64_t (*image_bytes)(void *arg);
};

struct snapshot_frames;
struct frame_reader;

struct snapshot_pages {
    struct snapshot_frames *frames;
    struct frame_reader *reader;
};

/* Over a snapshot's frames, of which `pages` reads with a reader of its own;
 * it and the frames outlive the source. */
int snapshot_pages_init(struct snapshot_pages *pages,
                        struct snapshot_frames *frames, struct page_source *ret,
                        struct error *err) NODISCARD;
/* Frees the reader; the frames stay. */
void snapshot_pages_release(struct snapshot_pages *pages);

#endif

/*
 * segment.h - the index of 512 neighbouring pages: which item of which pack.
 *
 * The unit of the page index: 2 MiB of one RAM block. As bytes it depends on
 * nothing but the places of its pages, so a segment that did not change has
 * equal bytes in every snapshot and is stored once. Pure; the caller owns the
 * struct (14 KiB: not for small stacks); any thread.
 */
#ifndef FIRN_STORAGE_INDEX_SEGMENT_H
#define FIRN_STORAGE_INDEX_SEGMENT_H

#include "core/base/buf.h"

#define SEGMENT_PAGES         512u
#define SEGMENT_PACK_ID_BYTES 16u
/* The longest legal encoding: every page a run in a pack of its own. */
#define SEGMENT_MAX_BYTES 16384u

/* `count` pages from `first` are the items from `item` on, in this order. */
struct segment_run {
    uint16_t first;
    uint16_t count;
    uint32_t pack; /* in the segment's own list of packs */
    uint32_t item;
};

struct segment {
    uint32_t n_packs;
    uint32_t n_runs;
    uint8_t packs[SEGMENT_PAGES][SEGMENT_PACK_ID_BYTES];
    struct segment_run runs[SEGMENT_PAGES];
};

static inline void segment_init(struct segment *s)
{
    s->n_packs = 0;
    s->n_runs = 0;
}

/* Adds a page behind the last one added. Pages that are zero are left out. */
void segment_add(struct segment *s, uint32_t page,
                 const uint8_t pack[static SEGMENT_PACK_ID_BYTES],
                 uint32_t item);

/* Appends the bytes, the same for the same places, whatever made them. */
int segment_encode(const struct segment *s, struct buf *ret,
                   struct error *err) NODISCARD;
/* ERR_CORRUPT unless the bytes are what segment_encode() could have written;
 * items are not known to exist in their packs. */
int segment_decode(const void *data, size_t len, struct segment *ret,
                   struct error *err) NODISCARD;

/* The run that holds `page`, or NULL: the page is zero. */
const struct segment_run *segment_run_find(const struct segment_run *runs,
                                           uint32_t n_runs, uint32_t page);
/* First page at or behind `from` that is in a run, or SEGMENT_PAGES. */
uint32_t segment_run_next(const struct segment_run *runs, uint32_t n_runs,
                          uint32_t from);

#endif

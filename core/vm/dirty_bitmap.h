/*
 * dirty_bitmap.h - which pages of each RAM block are still to be sent.
 *
 * A set bit is a page that must go out, once: whoever takes it sends it. So
 * the urgent path, the background push and both channels share one bitmap, and
 * a page that was asked for twice is sent once. It owns its memory and its one
 * lock; any thread may call anything, and no call waits for more than the
 * lock. Pages out of a block's range are a mistake of the caller.
 */
#ifndef FIRN_CORE_VM_DIRTY_BITMAP_H
#define FIRN_CORE_VM_DIRTY_BITMAP_H

#include "core/base/cleanup.h"
#include "core/vm/ramblock.h"
#include "core/vm/received_bitmap.h"

struct dirty_bitmap;

/* Neighbouring pages of one block. */
struct dirty_run {
    uint32_t block;
    pgno_t first;
    uint64_t count;
};

/* A bit a page of these blocks, all clear. The list is not kept. */
int dirty_bitmap_new(const struct ramblock_list *blocks,
                     struct dirty_bitmap **ret, struct error *err) NODISCARD;
void dirty_bitmap_free(struct dirty_bitmap *d);

/* These pages must go out. Marked twice is marked once. */
void dirty_bitmap_mark(struct dirty_bitmap *d, uint32_t block, pgno_t first,
                       uint64_t count);
/* Every page of every block. */
void dirty_bitmap_mark_all(struct dirty_bitmap *d);

/* How it was at that moment; others may have taken the page since. */
bool dirty_bitmap_test(struct dirty_bitmap *d, uint32_t block, pgno_t pgno);

/* Clears, and says how many were set: 0 means that somebody else has taken
 * them. */
uint64_t dirty_bitmap_take(struct dirty_bitmap *d, uint32_t block, pgno_t first,
                           uint64_t count);

/*
 * Takes the first run of set pages at or behind *at, at most `max` long, and
 * moves *at behind it. False, with *at at the end, when there is none.
 */
struct dirty_cursor {
    uint32_t block;
    pgno_t pgno;
};
bool dirty_bitmap_take_run(struct dirty_bitmap *d, struct dirty_cursor *at,
                           uint64_t max, struct dirty_run *ret);

/* A destination tells what it has: exactly that is not to be sent again. What
 * it lacks is set, unless `wanted` (a bit a page; may be NULL) says that it
 * need not be sent at all. ERR_PROTOCOL: a bitmap of another size. */
int dirty_bitmap_resync(struct dirty_bitmap *d, uint32_t block,
                        const struct received_bitmap *received,
                        const struct bitmap *wanted,
                        struct error *err) NODISCARD;

/* Pages still to be sent, of all blocks and of one. Kept, not counted. */
uint64_t dirty_bitmap_count(struct dirty_bitmap *d);
/* The same for one block. */
uint64_t dirty_bitmap_block_count(struct dirty_bitmap *d, uint32_t block);

DEFINE_CLEANUP(dirty_bitmap, struct dirty_bitmap *, dirty_bitmap_free)

#endif

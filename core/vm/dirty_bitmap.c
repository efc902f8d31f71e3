/*
 * dirty_bitmap.c - the bitmaps of all blocks under one lock.
 *
 * Taking is what makes a page go out once: test and clear happen under the
 * lock, and whoever got the bits is the one that sends. Runs, not single pages,
 * are taken, so that the lock is paid once for many pages; how long one is held
 * is bounded by the `max` of take_run().
 */
#include "core/vm/dirty_bitmap.h"

#include "core/base/lock.h"

struct dirty_bitmap {
    /* Set before it is shared, then read only. */
    uint32_t n_blocks;

    struct lock lock; /* protects `blocks` and all words behind it */
    struct bitmap *blocks GUARDED_BY(lock);
};

int dirty_bitmap_new(const struct ramblock_list *blocks,
                     struct dirty_bitmap **ret, struct error *err)
{
    cleanup(dirty_bitmap) struct dirty_bitmap *d = calloc(1, sizeof(*d));

    if (!d)
        return fail_nomem(err);
    lock_init(&d->lock);
    d->blocks = calloc(blocks->n + 1, sizeof(*d->blocks));
    if (!d->blocks)
        return fail_nomem(err);
    for (uint32_t i = 0; i < blocks->n; i++) {
        uint64_t n = ramblock_pages(&blocks->blocks[i]);
        int rc = bitmap_init(&d->blocks[i], n, err);

        if (rc < 0)
            return rc;
        d->n_blocks++;
    }
    *ret = steal_ptr(&d);
    return 0;
}

void dirty_bitmap_free(struct dirty_bitmap *d)
{
    if (!d)
        return;
    for (uint32_t i = 0; i < d->n_blocks; i++)
        bitmap_release(&d->blocks[i]);
    free(d->blocks);
    lock_release(&d->lock);
    free(d);
}

static struct bitmap *block_locked(struct dirty_bitmap *d, uint32_t block)
{
    assert(block < d->n_blocks);
    return &d->blocks[block];
}

void dirty_bitmap_mark(struct dirty_bitmap *d, uint32_t block, pgno_t first,
                       uint64_t count)
{
    LOCK_SCOPE(&d->lock);

    bitmap_set_range(block_locked(d, block), first, count);
}

void dirty_bitmap_mark_all(struct dirty_bitmap *d)
{
    LOCK_SCOPE(&d->lock);

    for (uint32_t i = 0; i < d->n_blocks; i++)
        bitmap_set_range(&d->blocks[i], 0, d->blocks[i].n_bits);
}

bool dirty_bitmap_test(struct dirty_bitmap *d, uint32_t block, pgno_t pgno)
{
    LOCK_SCOPE(&d->lock);

    return bitmap_test(block_locked(d, block), pgno);
}

uint64_t dirty_bitmap_take(struct dirty_bitmap *d, uint32_t block, pgno_t first,
                           uint64_t count)
{
    LOCK_SCOPE(&d->lock);
    struct bitmap *b = block_locked(d, block);
    uint64_t before = b->n_set;

    bitmap_clear_range(b, first, count);
    return before - b->n_set;
}

bool dirty_bitmap_take_run(struct dirty_bitmap *d, struct dirty_cursor *at,
                           uint64_t max, struct dirty_run *ret)
{
    LOCK_SCOPE(&d->lock);

    assert(max > 0);
    for (; at->block < d->n_blocks; at->block++, at->pgno = 0) {
        struct bitmap *b = &d->blocks[at->block];
        uint64_t first = b->n_set ? bitmap_next_set(b, at->pgno) : b->n_bits;
        uint64_t end;

        if (first == b->n_bits)
            continue;
        end = bitmap_next_clear(b, first);
        *ret = (struct dirty_run){
            .block = at->block, .first = first, .count = MIN(end - first, max)};
        bitmap_clear_range(b, first, ret->count);
        at->pgno = first + ret->count;
        return true;
    }
    return false;
}

int dirty_bitmap_resync(struct dirty_bitmap *d, uint32_t block,
                        const struct received_bitmap *received,
                        const struct bitmap *wanted, struct error *err)
{
    LOCK_SCOPE(&d->lock);
    struct bitmap *b = block_locked(d, block);

    if (received->bits.n_bits != b->n_bits)
        return fail(err, ERR_PROTOCOL,
                    "received bitmap of %lu pages for a block of %lu",
                    received->bits.n_bits, b->n_bits);
    assert(!wanted || wanted->n_bits == b->n_bits);
    bitmap_clear_range(b, 0, b->n_bits);
    for (uint64_t p = bitmap_next_clear(&received->bits, 0); p < b->n_bits;
         p = bitmap_next_clear(&received->bits, p + 1)) {
        if (!wanted || bitmap_test(wanted, p))
            bitmap_set(b, p);
    }
    return 0;
}

uint64_t dirty_bitmap_count(struct dirty_bitmap *d)
{
    LOCK_SCOPE(&d->lock);
    uint64_t n = 0;

    for (uint32_t i = 0; i < d->n_blocks; i++)
        n += d->blocks[i].n_set;
    return n;
}

uint64_t dirty_bitmap_block_count(struct dirty_bitmap *d, uint32_t block)
{
    LOCK_SCOPE(&d->lock);

    return block_locked(d, block)->n_set;
}

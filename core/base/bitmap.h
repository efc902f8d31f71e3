/*
 * bitmap.h - a fixed number of bits in 64-bit words. Caller owns the struct;
 * not for threads (see core/vm for the bitmaps that have a lock).
 *
 * Bit i is bit i % 64 of word i / 64; bits behind `n_bits` are always 0.
 */
#ifndef FIRN_CORE_BASE_BITMAP_H
#define FIRN_CORE_BASE_BITMAP_H

#include "core/base/error.h"

struct bitmap {
    uint64_t *words;
    uint64_t n_bits;
    uint64_t n_set; /* how many are set */
};

/* All bits clear. ERR_NOMEM is the only error. release() also takes an all-zero
 * struct, and leaves one. */
int bitmap_init(struct bitmap *b, uint64_t n_bits, struct error *err) NODISCARD;
void bitmap_release(struct bitmap *b);

/* A bit or a range that is not below `n_bits` is a mistake of the caller. */
bool bitmap_test(const struct bitmap *b, uint64_t bit);
/* Both return what the bit was before. */
bool bitmap_set(struct bitmap *b, uint64_t bit);
/* As bitmap_set(), the other way. */
bool bitmap_clear(struct bitmap *b, uint64_t bit);
/* `n_set` counts only the bits that change: a range may overlap what was
 * set. */
void bitmap_set_range(struct bitmap *b, uint64_t first, uint64_t count);
/* As bitmap_set_range(), the other way. */
void bitmap_clear_range(struct bitmap *b, uint64_t first, uint64_t count);

/* First set (clear) bit at or behind `from`; n_bits when there is none. */
uint64_t bitmap_next_set(const struct bitmap *b, uint64_t from);
/* The same for clear bits. */
uint64_t bitmap_next_clear(const struct bitmap *b, uint64_t from);

static inline uint64_t bitmap_n_words(const struct bitmap *b)
{
    return (b->n_bits + 63) / 64;
}

#endif

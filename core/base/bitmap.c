/*
 * bitmap.c - bits in words, and how many of them are set.
 *
 * `n_set` is kept at every change, a popcount a word, so that "is anything
 * left" and "how much is left" cost nothing and nobody walks the words to count
 * them. Walks skip 64 bits at a time; next_clear() is next_set() over inverted
 * words, and the bits behind `n_bits`, which then look set, are cut off by the
 * MIN.
 */
#include "core/base/bitmap.h"

#include <errno.h>

int bitmap_init(struct bitmap *b, uint64_t n_bits, struct error *err)
{
    uint64_t *words = calloc((n_bits + 63) / 64 + 1, sizeof(*words));

    if (!words)
        return fail_nomem(err);
    *b = (struct bitmap){.words = words, .n_bits = n_bits};
    return 0;
}

void bitmap_release(struct bitmap *b)
{
    free(b->words);
    *b = (struct bitmap){0};
}

bool bitmap_test(const struct bitmap *b, uint64_t bit)
{
    assert(bit < b->n_bits);
    return b->words[bit / 64] >> (bit % 64) & 1;
}

bool bitmap_set(struct bitmap *b, uint64_t bit)
{
    bool was = bitmap_test(b, bit);

    b->words[bit / 64] |= UINT64_C(1) << (bit % 64);
    b->n_set += !was;
    return was;
}

bool bitmap_clear(struct bitmap *b, uint64_t bit)
{
    bool was = bitmap_test(b, bit);

    b->words[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
    b->n_set -= was;
    return was;
}

/* The bits [first, first + count) that fall into the word of `first`. */
static uint64_t word_mask(uint64_t first, uint64_t count)
{
    uint64_t shift = first % 64;
    uint64_t n = MIN(count, 64 - shift);
    uint64_t ones = n == 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;

    return ones << shift;
}

static void change_range(struct bitmap *b, uint64_t first, uint64_t count,
                         bool set)
{
    assert(first <= b->n_bits && count <= b->n_bits - first);
    while (count > 0) {
        uint64_t mask = word_mask(first, count);
        uint64_t *word = &b->words[first / 64];
        uint64_t step = MIN(count, 64 - first % 64);

        if (set) {
            b->n_set += (uint64_t)__builtin_popcountll(mask & ~*word);
            *word |= mask;
        } else {
            b->n_set -= (uint64_t)__builtin_popcountll(mask & *word);
            *word &= ~mask;
        }
        first += step;
        count -= step;
    }
}

void bitmap_set_range(struct bitmap *b, uint64_t first, uint64_t count)
{
    change_range(b, first, count, true);
}

void bitmap_clear_range(struct bitmap *b, uint64_t first, uint64_t count)
{
    change_range(b, first, count, false);
}

static uint64_t next(const struct bitmap *b, uint64_t from, uint64_t flip)
{
    uint64_t n_words = bitmap_n_words(b);

    if (from >= b->n_bits)
        return b->n_bits;
    for (uint64_t w = from / 64; w < n_words; w++) {
        uint64_t word = b->words[w] ^ flip;

        if (w == from / 64)
            word &= ~UINT64_C(0) << (from % 64);
        if (word)
            return MIN(b->n_bits, w * 64 + (uint64_t)__builtin_ctzll(word));
    }
    return b->n_bits;
}

uint64_t bitmap_next_set(const struct bitmap *b, uint64_t from)
{
    return next(b, from, 0);
}

uint64_t bitmap_next_clear(const struct bitmap *b, uint64_t from)
{
    return next(b, from, ~UINT64_C(0));
}

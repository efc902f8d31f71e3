/*
 * received_bitmap.c - what a destination has, and its form on the wire.
 *
 * In memory a bit is a page and the words are the host's; on the wire the words
 * are little-endian and the numbers around them big-endian, as QEMU sends them,
 * with the count rounded up to whole words. Bits behind the last page must be
 * 0: they would otherwise be counted as pages that arrived.
 */
#include "core/vm/received_bitmap.h"

int received_bitmap_init(struct received_bitmap *r, uint64_t n_pages,
                         struct error *err)
{
    return bitmap_init(&r->bits, n_pages, err);
}

void received_bitmap_release(struct received_bitmap *r)
{
    bitmap_release(&r->bits);
}

void received_bitmap_add(struct received_bitmap *r, pgno_t first,
                         uint64_t count)
{
    bitmap_set_range(&r->bits, first, count);
}

bool received_bitmap_has(const struct received_bitmap *r, pgno_t pgno)
{
    return bitmap_test(&r->bits, pgno);
}

uint64_t received_bitmap_count(const struct received_bitmap *r)
{
    return r->bits.n_set;
}

/* Bits of the last word that are no pages. */
static uint64_t behind_last(const struct bitmap *b)
{
    return b->n_bits % 64 ? ~UINT64_C(0) << (b->n_bits % 64) : 0;
}

int received_bitmap_load(struct received_bitmap *r, const uint64_t *words,
                         uint64_t n_pages_rounded, struct error *err)
{
    struct bitmap *b = &r->bits;
    uint64_t n_words = bitmap_n_words(b);
    uint64_t n_set = 0;

    if (n_pages_rounded != n_words * 64)
        return fail(err, ERR_PROTOCOL,
                    "received bitmap of %lu bits for a block of %lu pages",
                    n_pages_rounded, b->n_bits);
    if (n_words > 0 && (words[n_words - 1] & behind_last(b)))
        return fail(err, ERR_PROTOCOL,
                    "received bitmap has pages behind the block's %lu",
                    b->n_bits);
    for (uint64_t i = 0; i < n_words; i++) {
        b->words[i] = words[i];
        n_set += (uint64_t)__builtin_popcountll(words[i]);
    }
    b->n_set = n_set;
    return 0;
}

int received_bitmap_put(struct buf *b, const uint64_t *words, uint64_t n_pages,
                        struct error *err)
{
    uint64_t n_words = (n_pages + 63) / 64;
    int rc = buf_reserve(b, n_words * 8 + 16, err);

    if (rc == 0)
        rc = buf_append_be64(b, n_words * 8, err);
    for (uint64_t i = 0; i < n_words && rc == 0; i++)
        rc = buf_append_le64(b, words[i], err);
    if (rc == 0)
        rc = buf_append_be64(b, RECEIVED_BITMAP_END_MARK, err);
    return rc;
}

int received_bitmap_get(struct input *in, uint64_t **ret_words,
                        uint64_t *ret_n_pages_rounded, struct error *err)
{
    uint64_t *words;
    uint64_t n;

    if (!input_have(in, 8))
        return 1;
    n = load_be64(input_here(in));
    if (n == 0 || n % 8 || n > RECEIVED_BITMAP_MAX_BYTES)
        return fail_at(in, err, ERR_PROTOCOL, "received bitmap of %lu bytes",
                       n);
    if (!input_have(in, 8 + n + 8))
        return 1;
    if (load_be64(input_here(in) + 8 + n) != RECEIVED_BITMAP_END_MARK)
        return fail_at(in, err, ERR_PROTOCOL,
                       "received bitmap of %lu bytes without its end mark", n);
    words = malloc(n);
    if (!words)
        return fail_nomem(err);
    for (uint64_t i = 0; i < n / 8; i++)
        words[i] = load_le64(input_here(in) + 8 + i * 8);
    input_take(in, 8 + n + 8);
    *ret_words = words;
    *ret_n_pages_rounded = n * 8;
    return 0;
}

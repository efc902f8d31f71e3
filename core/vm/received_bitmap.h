/*
 * received_bitmap.h - which pages of a RAM block have arrived.
 *
 * A destination keeps one a block and tells it to a source that takes over
 * after a broken channel. What was written but not read is not in it, so the
 * source sends exactly what is missing. The caller owns the struct; not for
 * threads.
 *
 * Exchanged form: u64 n, n bytes, u64 end mark, with n = 8 x ceil(pages / 64);
 * the numbers big-endian, bit i of the n bytes (byte i / 8, bit i % 8) is page
 * i, as if written in little-endian words; bits behind the last page are 0.
 */
#ifndef FIRN_CORE_VM_RECEIVED_BITMAP_H
#define FIRN_CORE_VM_RECEIVED_BITMAP_H

#include "core/base/bitmap.h"
#include "core/base/buf.h"
#include "core/vm/input.h"
#include "core/vm/page.h"

#define RECEIVED_BITMAP_END_MARK UINT64_C(0x0123456789ABCDEF)

/* A bitmap of a block of 8 TiB; longer ones are refused. */
#define RECEIVED_BITMAP_MAX_BYTES (256u << 20)

struct received_bitmap {
    struct bitmap bits;
};

/* None has arrived. ERR_NOMEM is the only error. */
int received_bitmap_init(struct received_bitmap *r, uint64_t n_pages,
                         struct error *err) NODISCARD;
/* Frees the bits; an all-zero struct remains. */
void received_bitmap_release(struct received_bitmap *r);

/* The pages [first, first + count) are there. */
void received_bitmap_add(struct received_bitmap *r, pgno_t first,
                         uint64_t count);
/* Whether it is there; how many are. */
bool received_bitmap_has(const struct received_bitmap *r, pgno_t pgno);
/* Of all pages of the block; kept, not counted. */
uint64_t received_bitmap_count(const struct received_bitmap *r);

/* Replaces the content by `words`, as many as `n_pages_rounded` (a multiple of
 * 64) say. ERR_PROTOCOL: another number of pages, or bits behind the last. */
int received_bitmap_load(struct received_bitmap *r, const uint64_t *words,
                         uint64_t n_pages_rounded, struct error *err) NODISCARD;

/* The exchanged form of `n_pages` bits, appended. */
int received_bitmap_put(struct buf *b, const uint64_t *words, uint64_t n_pages,
                        struct error *err) NODISCARD;
/*
 * Reads the exchanged form: 0 and *ret_words (to be freed) with
 * *ret_n_pages_rounded bits in host order; 1 when it is not whole; ERR_PROTOCOL
 * when it is malformed.
 */
int received_bitmap_get(struct input *in, uint64_t **ret_words,
                        uint64_t *ret_n_pages_rounded,
                        struct error *err) NODISCARD;

#endif

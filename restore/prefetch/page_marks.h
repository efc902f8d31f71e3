/*
 * page_marks.h - one bit a page, set and cleared by many threads.
 *
 * Each bit stands alone: no decision depends on two of them, and what orders
 * them with the memory of the client is the gate (gate.h), not the bit. So the
 * words are plain atomic words. The caller owns the struct.
 */
#ifndef FIRN_RESTORE_PREFETCH_PAGE_MARKS_H
#define FIRN_RESTORE_PREFETCH_PAGE_MARKS_H

#include <stdatomic.h>

#include "core/base/cleanup.h"
#include "core/base/error.h"

struct page_marks {
    _Atomic uint64_t *words;
    uint64_t n_bits;
    _Atomic uint64_t n_set;
};

static inline int page_marks_init(struct page_marks *m, uint64_t n_bits,
                                  struct error *err)
{
    m->words = calloc((n_bits + 63) / 64 + 1, sizeof(*m->words));
    m->n_bits = n_bits;
    m->n_set = 0;
    return m->words ? 0 : fail_nomem(err);
}

static inline void page_marks_release(struct page_marks *m)
{
    free((void *)m->words);
    m->words = NULL;
}

static inline bool page_marks_test(const struct page_marks *m, uint64_t bit)
{
    assert(bit < m->n_bits);
    return m->words[bit / 64] >> (bit % 64) & 1;
}

/* Both return what the bit was before. */
static inline bool page_marks_set(struct page_marks *m, uint64_t bit)
{
    uint64_t mask = UINT64_C(1) << (bit % 64);

    assert(bit < m->n_bits);
    if (atomic_fetch_or_explicit(&m->words[bit / 64], mask,
                                 memory_order_seq_cst) &
        mask)
        return true;
    m->n_set++;
    return false;
}

static inline bool page_marks_clear(struct page_marks *m, uint64_t bit)
{
    uint64_t mask = UINT64_C(1) << (bit % 64);

    assert(bit < m->n_bits);
    if (!(atomic_fetch_and_explicit(&m->words[bit / 64], ~mask,
                                    memory_order_seq_cst) &
          mask))
        return false;
    m->n_set--;
    return true;
}

/* Bit by bit: only while nobody else changes `from`. */
static inline int page_marks_copy(struct page_marks *to,
                                  const struct page_marks *from,
                                  struct error *err)
{
    int rc = page_marks_init(to, from->n_bits, err);

    if (rc < 0)
        return rc;
    for (uint64_t i = 0; i < (from->n_bits + 63) / 64; i++)
        to->words[i] = from->words[i];
    to->n_set = from->n_set;
    return 0;
}

#endif

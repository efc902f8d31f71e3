#include "core/vm/page.h"

#include <string.h>

/*
 * Most pages that are not zero say so in their first words, most of the rest
 * at their end or in the middle; only then is the whole page read, in strides
 * wide enough for the compiler to keep four vector registers busy, with one
 * branch a stride.
 */

typedef uint64_t lane __attribute__((vector_size(16)));

#define STRIDE_LANES 8u

static uint64_t word_at(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static bool stride_is_zero(const uint8_t *p)
{
    lane sum = {0};
    lane v;

    for (size_t i = 0; i < STRIDE_LANES; i++) {
        memcpy(&v, p + i * sizeof(v), sizeof(v));
        sum |= v;
    }
    return (sum[0] | sum[1]) == 0;
}

bool page_is_zero(const void *page)
{
    const uint8_t *p = page;
    const size_t stride = STRIDE_LANES * sizeof(lane);

    static_assert(PAGE_BYTES % (STRIDE_LANES * sizeof(lane)) == 0,
                  "a page is a whole number of strides");
    if (word_at(p) || word_at(p + PAGE_BYTES / 2) ||
        word_at(p + PAGE_BYTES - sizeof(uint64_t)))
        return false;
    for (size_t i = 0; i < PAGE_BYTES; i += stride) {
        if (!stride_is_zero(p + i))
            return false;
    }
    return true;
}

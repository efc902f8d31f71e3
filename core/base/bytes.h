/*
 * bytes.h - endian loads and stores, alignment, checked sums. Pure.
 *
 * QEMU's stream is big-endian (be), our files are little-endian (le).
 */
#ifndef FIRN_CORE_BASE_BYTES_H
#define FIRN_CORE_BASE_BYTES_H

#include <endian.h>
#include <string.h>

#include "core/base/compiler.h"

#define BYTES_LOADER(name, type, convert)                                      \
    static inline UNUSED type name(const void *p)                              \
    {                                                                          \
        type v;                                                                \
        memcpy(&v, p, sizeof(v));                                              \
        return convert(v);                                                     \
    }
#define BYTES_STORER(name, type, convert)                                      \
    static inline UNUSED void name(void *p, type v)                            \
    {                                                                          \
        v = convert(v);                                                        \
        memcpy(p, &v, sizeof(v));                                              \
    }

BYTES_LOADER(load_be16, uint16_t, be16toh)
BYTES_LOADER(load_be32, uint32_t, be32toh)
BYTES_LOADER(load_be64, uint64_t, be64toh)
BYTES_LOADER(load_le16, uint16_t, le16toh)
BYTES_LOADER(load_le32, uint32_t, le32toh)
BYTES_LOADER(load_le64, uint64_t, le64toh)
BYTES_STORER(store_be16, uint16_t, htobe16)
BYTES_STORER(store_be32, uint32_t, htobe32)
BYTES_STORER(store_be64, uint64_t, htobe64)
BYTES_STORER(store_le16, uint16_t, htole16)
BYTES_STORER(store_le32, uint32_t, htole32)
BYTES_STORER(store_le64, uint64_t, htole64)

/* `align` is a power of two; `v` at most 2^64 - align. */
static inline UNUSED uint64_t align_up(uint64_t v, uint64_t align)
{
    assert(align > 0 && (align & (align - 1)) == 0);
    return (v + align - 1) & ~(align - 1);
}

static inline UNUSED bool is_aligned(uint64_t v, uint64_t align)
{
    return (v & (align - 1)) == 0;
}

/* a + b into *ret; false, with *ret untouched, when it would wrap. */
static inline UNUSED bool add_checked(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t sum;

    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *ret = sum;
    return true;
}

/* a * b into *ret; false, with *ret untouched, when it would wrap. */
static inline UNUSED bool mul_checked(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t product;

    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *ret = product;
    return true;
}

#endif

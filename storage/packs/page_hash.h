/*
 * page_hash.h - content hashes and checksums. The only user of xxhash.
 *
 * A content hash is XXH3-128 keyed with a secret of the repository: guests
 * choose their pages, but do not know the key. A checksum is plain XXH3: it
 * finds accidents, not attackers. Pure; any thread.
 */
#ifndef FIRN_STORAGE_PACKS_PAGE_HASH_H
#define FIRN_STORAGE_PACKS_PAGE_HASH_H

#include "core/base/compiler.h"

#define HASH_SECRET_BYTES 192u

struct hash_key {
    uint32_t id;
    uint8_t secret[HASH_SECRET_BYTES];
};

struct page_hash {
    uint64_t low;
    uint64_t high;
};

/* The keyed content hash of `len` bytes, a page or a blob. */
struct page_hash page_hash_of(const struct hash_key *key, const void *data,
                              size_t len);
static inline bool page_hash_equal(struct page_hash a, struct page_hash b)
{
    return a.low == b.low && a.high == b.high;
}

/* The 16 bytes that stand for a hash in files: high half first, big-endian. */
#define PAGE_HASH_BYTES 16u
void page_hash_store(uint8_t ret[static PAGE_HASH_BYTES],
                     struct page_hash hash);
struct page_hash page_hash_load(const uint8_t stored[static PAGE_HASH_BYTES]);

/* Of the library: 801 is 0.8.1. */
unsigned page_hash_library_version(void);

/* XXH3-64 with a seed; XXH3-128 with a seed. */
uint64_t checksum64(const void *data, size_t len, uint64_t seed);
/* The same with 128 bits, for what is long. */
struct page_hash checksum128(const void *data, size_t len, uint64_t seed);

#endif

/*
 * page_hash.c - xxHash behind four functions.
 *
 * XXH3 gives the same numbers on every machine, whatever its byte order; what
 * differs is how the two halves of a 128-bit hash are written down. Ours are
 * stored as xxHash's canonical form: the high half first, both big-endian,
 * which is also what `digest()` and `xxhsum -H2` of other programs show.
 */
#include "storage/packs/page_hash.h"

#include <xxhash.h>
#ifdef HAVE_XXH_DISPATCH
/* Takes the widest vectors that this processor has, not those that the library
 * was built for: its names stand for the plain ones. */
#include <xxh_x86dispatch.h>
#endif

#include "core/base/bytes.h"

static_assert(HASH_SECRET_BYTES >= XXH3_SECRET_SIZE_MIN,
              "xxHash refuses shorter secrets");
static_assert(HASH_SECRET_BYTES == 192, "the length is part of the format");

static struct page_hash of_xxhash(XXH128_hash_t h)
{
    return (struct page_hash){.low = h.low64, .high = h.high64};
}

struct page_hash page_hash_of(const struct hash_key *key, const void *data,
                              size_t len)
{
    return of_xxhash(
        XXH3_128bits_withSecret(data, len, key->secret, sizeof(key->secret)));
}

void page_hash_store(uint8_t ret[static PAGE_HASH_BYTES], struct page_hash hash)
{
    store_be64(ret, hash.high);
    store_be64(ret + 8, hash.low);
}

struct page_hash page_hash_load(const uint8_t stored[static PAGE_HASH_BYTES])
{
    return (struct page_hash){.low = load_be64(stored + 8),
                              .high = load_be64(stored)};
}

uint64_t checksum64(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

struct page_hash checksum128(const void *data, size_t len, uint64_t seed)
{
    return of_xxhash(XXH3_128bits_withSeed(data, len, seed));
}

unsigned page_hash_library_version(void)
{
    return XXH_versionNumber();
}

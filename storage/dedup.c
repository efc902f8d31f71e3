/*
 * dedup.c - some hundred small tables, loose while they are small.
 *
 * The hash is keyed and so as good as random: eight of its bits are the shard,
 * the upper ones of `low` the slot in it. Shards grow one by one, so that there
 * is never a second copy of the whole, and a slot is 14 bytes in three arrays.
 *
 * A search for what is not there, a capture's usual one, reads 5 slots where
 * two in three are taken, 128 where 15 in 16 are. So a shard of up to its part
 * of DEDUP_LOOSE_ENTRIES is two thirds full at most and grows by a half: 21 to
 * 32 bytes an entry. Beyond, memory counts for more: it keeps its slots until
 * 15 in 16 are taken, then grows by a sixteenth: 15 to 17 bytes.
 *
 * A slot follows from `low` in ascending order, so growing reads and writes a
 * shard from front to back; and most of a search in a nearly full shard is
 * reading numbers that lie behind one another. A slot with `low` 0 is empty.
 *
 * Memory of a size that no other shard will want again goes back to the system,
 * not to the heap, which would keep most of it in pieces.
 *
 * Of the 128 bits 88 are compared: `low`, sixteen of `high`, and the shard. Two
 * contents with the same 88 would be taken for one: for a million pages
 * against ten million known ones with a chance of 2^-44.
 */
#include "storage/dedup.h"

#include <string.h>
#include <sys/mman.h>

#include "core/base/bytes.h"

#define SHARD_BITS  8u
#define FIRST_SLOTS 16u
#define EMPTY       0u /* as `low` of a slot */
#define SLOT_BYTES  14u
#define MAP_FROM    (8u << 10) /* bytes */
#define LOOSE       (DEDUP_LOOSE_ENTRIES / DEDUP_SHARDS)

static_assert(DEDUP_SHARDS == 1u << SHARD_BITS, "bits of a hash");

struct dedup_shard {
    uint64_t *low; /* owns the memory of all three */
    uint32_t *code;
    uint16_t *high;
    uint32_t n;
    uint32_t n_slots;
};

static void *take_memory(size_t bytes)
{
    void *p;

    if (bytes < MAP_FROM)
        return calloc(1, bytes);
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
             -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void give_memory(struct dedup_shard *s)
{
    size_t bytes = (size_t)s->n_slots * SLOT_BYTES;

    if (bytes < MAP_FROM)
        free(s->low);
    else
        munmap(s->low, bytes);
}

void dedup_init(struct dedup *d, struct place_book *book, uint64_t max_entries)
{
    *d = (struct dedup){.book = book, .max = max_entries};
}

void dedup_release(struct dedup *d)
{
    for (unsigned i = 0; d->shards && i < DEDUP_SHARDS; i++)
        give_memory(&d->shards[i]);
    free(d->shards);
    *d = (struct dedup){.book = d->book, .max = d->max};
}

static uint16_t high_part(struct page_hash hash)
{
    return (uint16_t)hash.high;
}

static uint64_t low_part(struct page_hash hash)
{
    return hash.low == EMPTY ? 1 : hash.low;
}

static uint32_t first_slot(const struct dedup_shard *s, uint64_t low)
{
    return (uint32_t)(((low >> 32) * s->n_slots) >> 32);
}

/* The slot of such a hash, or the empty one where it belongs. There is one. */
static uint32_t slot_of(const struct dedup_shard *s, uint64_t low,
                        uint16_t high)
{
    uint32_t at = first_slot(s, low);

    while (s->low[at] != EMPTY && !(s->low[at] == low && s->high[at] == high))
        at = at + 1 == s->n_slots ? 0 : at + 1;
    return at;
}

static bool allocate(struct dedup_shard *s, uint32_t n_slots)
{
    uint8_t *memory = take_memory((size_t)n_slots * SLOT_BYTES);

    if (!memory)
        return false;
    *s = (struct dedup_shard){
        .low = (uint64_t *)memory,
        .code = (uint32_t *)(memory + (size_t)n_slots * 8),
        .high = (uint16_t *)(memory + (size_t)n_slots * 12),
        .n_slots = n_slots,
    };
    return true;
}

static bool resize(struct dedup_shard *s, uint32_t n_slots)
{
    struct dedup_shard old = *s;

    if (!allocate(s, n_slots)) {
        *s = old;
        return false;
    }
    for (uint32_t i = 0; i < old.n_slots; i++) {
        uint32_t at;

        if (old.low[i] == EMPTY)
            continue;
        at = slot_of(s, old.low[i], old.high[i]);
        s->low[at] = old.low[i];
        s->code[at] = old.code[i];
        s->high[at] = old.high[i];
    }
    s->n = old.n;
    give_memory(&old);
    return true;
}

/* Of so many entries; at least one slot stays empty. */
static bool has_room(const struct dedup_shard *s, uint32_t n)
{
    uint32_t empty = s->n_slots / (n <= LOOSE ? 3 : 16) + 1;

    return s->n_slots > 0 && n <= s->n_slots - empty;
}

/* What is taken from the system is used to its end. */
static uint32_t whole_pages(uint32_t n_slots)
{
    uint64_t bytes = (uint64_t)n_slots * SLOT_BYTES;

    return bytes < MAP_FROM ? n_slots
                            : (uint32_t)(align_up(bytes, 4096) / SLOT_BYTES);
}

static bool make_room(struct dedup_shard *s, uint32_t n)
{
    uint32_t n_slots = MAX(s->n_slots, FIRST_SLOTS);

    if (has_room(s, n))
        return true;
    if (n <= LOOSE)
        n_slots = MAX(n_slots + n_slots / 2, n + n / 2 + 3);
    else
        n_slots = MAX(n_slots + n_slots / 16 + 1, n + n / 15 + 2);
    /* So that one that is reserved does not grow while it fills. */
    if (n > LOOSE)
        n_slots = MAX(n_slots, LOOSE + LOOSE / 2 + 3);
    return resize(s, whole_pages(n_slots));
}

static bool make_shards(struct dedup *d)
{
    if (!d->shards)
        d->shards = calloc(DEDUP_SHARDS, sizeof(*d->shards));
    return d->shards != NULL;
}

static struct dedup_shard *shard_of(const struct dedup *d,
                                    struct page_hash hash)
{
    return &d->shards[hash.high >> (64 - SHARD_BITS)];
}

void dedup_reserve(struct dedup *d, uint64_t n)
{
    uint64_t wanted = MIN(d->n + n, d->max);
    /* Shards differ: most have less than this, the others grow. */
    uint32_t each = (uint32_t)(wanted / DEDUP_SHARDS);

    if (!make_shards(d))
        return;
    for (unsigned i = 0; i < DEDUP_SHARDS; i++) {
        if (!make_room(&d->shards[i], MAX(each, d->shards[i].n)))
            return;
    }
}

bool dedup_find(const struct dedup *d, struct page_hash hash,
                struct dedup_place *ret)
{
    const struct dedup_shard *s;
    uint32_t at;

    if (!d->shards)
        return false;
    s = shard_of(d, hash);
    if (s->n == 0)
        return false;
    at = slot_of(s, low_part(hash), high_part(hash));
    if (s->low[at] == EMPTY)
        return false;
    *ret = place_book_place(d->book, s->code[at]);
    return true;
}

bool dedup_add(struct dedup *d, struct page_hash hash, struct dedup_place place)
{
    struct dedup_shard *s;
    uint32_t code, at;

    if (d->n >= d->max || !make_shards(d))
        return false;
    s = shard_of(d, hash);
    if (!make_room(s, s->n + 1) || !place_book_code(d->book, place, &code))
        return false;
    at = slot_of(s, low_part(hash), high_part(hash));
    if (s->low[at] != EMPTY)
        return true;
    s->low[at] = low_part(hash);
    s->high[at] = high_part(hash);
    s->code[at] = code;
    s->n++;
    d->n++;
    return true;
}

uint64_t dedup_bytes(const struct dedup *d)
{
    uint64_t bytes = d->shards ? DEDUP_SHARDS * sizeof(*d->shards) : 0;

    for (unsigned i = 0; d->shards && i < DEDUP_SHARDS; i++)
        bytes += (uint64_t)d->shards[i].n_slots * SLOT_BYTES;
    return bytes;
}

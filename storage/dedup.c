/*
 * dedup.c - open addressing, at most three quarters full.
 *
 * The hash is keyed and so as good as random: its low bits are the slot. All
 * 128 bits are compared; two contents with one hash would be taken for one,
 * which among 2^25 pages happens with a chance of 2^-79.
 */
#include "storage/dedup.h"

#define FIRST_SLOTS UINT64_C(1024)
#define EMPTY       UINT32_MAX /* as the pack of a slot */

void dedup_init(struct dedup *d, uint64_t max_entries)
{
    *d = (struct dedup){.max = max_entries};
}

void dedup_release(struct dedup *d)
{
    free(d->slots);
    *d = (struct dedup){.max = d->max};
}

/* The slot of `hash`, or the empty one where it belongs. */
static struct dedup_slot *slot_of(const struct dedup *d, struct page_hash hash)
{
    uint64_t at = hash.low & (d->n_slots - 1);

    while (d->slots[at].place.pack != EMPTY &&
           !page_hash_equal(d->slots[at].hash, hash))
        at = (at + 1) & (d->n_slots - 1);
    return &d->slots[at];
}

static bool resize(struct dedup *d, uint64_t n_slots)
{
    struct dedup old = *d;

    d->slots = malloc(n_slots * sizeof(*d->slots));
    if (!d->slots) {
        d->slots = old.slots;
        return false;
    }
    d->n_slots = n_slots;
    for (uint64_t i = 0; i < n_slots; i++)
        d->slots[i].place.pack = EMPTY;
    for (uint64_t i = 0; i < old.n_slots; i++) {
        if (old.slots[i].place.pack != EMPTY)
            *slot_of(d, old.slots[i].hash) = old.slots[i];
    }
    free(old.slots);
    return true;
}

static bool has_room(const struct dedup *d, uint64_t n)
{
    return n <= d->n_slots / 4 * 3;
}

void dedup_reserve(struct dedup *d, uint64_t n)
{
    uint64_t wanted = MIN(d->n + MIN(n, d->max), d->max);
    uint64_t n_slots = MAX(d->n_slots, FIRST_SLOTS);

    while (wanted > n_slots / 4 * 3)
        n_slots *= 2;
    if (n_slots > d->n_slots && !resize(d, n_slots))
        return;
}

bool dedup_find(const struct dedup *d, struct page_hash hash,
                struct dedup_place *ret)
{
    const struct dedup_slot *slot;

    if (d->n == 0)
        return false;
    slot = slot_of(d, hash);
    if (slot->place.pack == EMPTY)
        return false;
    *ret = slot->place;
    return true;
}

bool dedup_add(struct dedup *d, struct page_hash hash, struct dedup_place place)
{
    struct dedup_slot *slot;

    assert(place.pack != EMPTY);
    if (d->n >= d->max)
        return false;
    if (!has_room(d, d->n + 1)) {
        dedup_reserve(d, 1);
        if (!has_room(d, d->n + 1))
            return false;
    }
    slot = slot_of(d, hash);
    if (slot->place.pack != EMPTY)
        return true;
    *slot = (struct dedup_slot){.hash = hash, .place = place};
    d->n++;
    return true;
}

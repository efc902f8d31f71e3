/*
 * dedup.h - content hash → where that content lies already. In memory.
 *
 * Takes 24 bytes a slot, and between 4/3 and 8/3 slots an entry: 32 to 64 bytes
 * for each page of 4096. Bounded in entries: what comes when it is full is not
 * remembered, which costs space in the repository and nothing else. Not for
 * threads: the caller holds one lock for all pages of a batch.
 */
#ifndef FIRN_STORAGE_DEDUP_H
#define FIRN_STORAGE_DEDUP_H

#include "core/base/cleanup.h"
#include "core/base/error.h"
#include "storage/packs/page_hash.h"

/* 32 Mi entries: 128 GiB of distinct pages, at most 1.5 GiB of memory. Of them
 * a VM's history fills at most half, so that a capture's own pages have room.
 */
#define DEDUP_MAX_ENTRIES     (UINT64_C(1) << 25)
#define DEDUP_HISTORY_ENTRIES (DEDUP_MAX_ENTRIES / 2)

/* Packs are numbered by the owner of the table. */
struct dedup_place {
    uint32_t pack;
    uint32_t item;
};

struct dedup_slot {
    struct page_hash hash;
    struct dedup_place place;
};

struct dedup {
    struct dedup_slot *slots;
    uint64_t n_slots; /* 0 or a power of two */
    uint64_t n;
    uint64_t max; /* entries */
};

void dedup_init(struct dedup *d, uint64_t max_entries);
void dedup_release(struct dedup *d);

/* Room for `n` more entries, so that adding them in bulk grows it once. Fails
 * in silence: add() goes on without. */
void dedup_reserve(struct dedup *d, uint64_t n);
bool dedup_find(const struct dedup *d, struct page_hash hash,
                struct dedup_place *ret);
/* An entry that is there already stays. False when there was no room. */
bool dedup_add(struct dedup *d, struct page_hash hash,
               struct dedup_place place);

#endif

/*
 * dedup.h - content hash → where that content lies already. In memory.
 *
 * Takes 15 to 17 bytes for each content of 4096: 160 MB for ten million. Up to
 * the first two million it is quicker instead, and takes 21 to 32.
 * Bounded in entries: what comes when it is full is not remembered, which costs
 * space in the repository and nothing else. Not for threads: the caller holds
 * one lock for all pages of a batch.
 */
#ifndef FIRN_STORAGE_DEDUP_H
#define FIRN_STORAGE_DEDUP_H

#include "core/base/cleanup.h"
#include "core/base/error.h"
#include "storage/packs/page_hash.h"
#include "storage/place_book.h"

/* 32 Mi entries: 128 GiB of distinct pages, half a GiB of memory. Of them a
 * VM's history fills at most 10 Mi (160 MiB), so that a capture's own pages
 * have room; but its newest snapshot is taken whole, as far as there is room.
 */
#define DEDUP_MAX_ENTRIES     (UINT64_C(1) << 25)
#define DEDUP_HISTORY_ENTRIES (UINT64_C(10) << 20)

/* 8 GiB of distinct pages, 66 MB at most. */
#define DEDUP_LOOSE_ENTRIES (2u << 20)

#define DEDUP_SHARDS 256u

struct dedup_shard;

struct dedup {
    struct place_book *book;    /* borrowed */
    struct dedup_shard *shards; /* DEDUP_SHARDS, or NULL */
    uint64_t n;
    uint64_t max; /* entries */
};

/* Empty, and without memory until the first reserve() or add(). */
void dedup_init(struct dedup *d, struct place_book *book, uint64_t max_entries);
/* Frees the table, not the book; an empty one remains. */
void dedup_release(struct dedup *d);

/* Room for `n` more entries, so that adding them in bulk grows it once. Fails
 * in silence: add() goes on without. */
void dedup_reserve(struct dedup *d, uint64_t n);
/* Where the content with this hash lies; false when it is not known. */
bool dedup_find(const struct dedup *d, struct page_hash hash,
                struct dedup_place *ret);
/* An entry that is there already stays. False when there was no room. */
bool dedup_add(struct dedup *d, struct page_hash hash,
               struct dedup_place place);
/* What the table takes. */
uint64_t dedup_bytes(const struct dedup *d);

#endif

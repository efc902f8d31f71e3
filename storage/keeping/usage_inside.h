/*
 * usage_inside.h - who refers to each item, as prune sees it. No door.
 */
#ifndef FIRN_STORAGE_KEEPING_USAGE_INSIDE_H
#define FIRN_STORAGE_KEEPING_USAGE_INSIDE_H

#include "storage/keeping/usage.h"
#include "storage/manifest.h"
#include "storage/pack_set.h"

#define USAGE_NOBODY 0u
#define USAGE_MANY   UINT32_MAX

struct usage_pack {
    struct manifest_pack pack; /* `used`: not of meaning here */
    uint32_t live;             /* items that somebody refers to */
    uint32_t *owners;          /* of each item: USAGE_NOBODY, USAGE_MANY, or the
                                  snapshot's number + 1 */
};

struct usage_snapshot {
    struct snapshot_usage sizes;
    uint64_t time_ns;
    uint64_t share_bytes; /* of each pack the part that it refers to */
};

struct usage {
    struct repository *repository;
    struct pack_set ids;
    struct usage_pack *packs; /* in the order of the set */
    struct usage_snapshot *snapshots;
    uint32_t n_snapshots;
};

/* A pack that came later, all of it alive; without owners. */
int usage_add(struct usage *u, const struct manifest_pack *pack,
              struct error *err) NODISCARD;

/* Bytes of a pack that nobody refers to, by its items. */
static inline uint64_t usage_dead_bytes(const struct usage_pack *p)
{
    uint32_t dead = p->pack.items - p->live;

    return p->pack.items ? p->pack.bytes * dead / p->pack.items : 0;
}

#endif

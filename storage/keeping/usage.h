/*
 * usage.h - door: which snapshots need what, counted in bytes.
 *
 * The index of every snapshot is read, each distinct segment once, and every
 * frame of the packs is given to the snapshots that refer to it. *Unique* is
 * what deleting one snapshot alone gives back (once prune has written thin
 * packs again): the frames, index segments and table entries that only it
 * refers to, and its object. Takes 4 bytes of memory an item: 40 MB for ten
 * million pages. One thread.
 */
#ifndef FIRN_STORAGE_KEEPING_USAGE_H
#define FIRN_STORAGE_KEEPING_USAGE_H

#include "core/base/stopper.h"
#include "storage/repository.h"

struct usage;

struct snapshot_usage {
    char id[SNAPSHOT_ID_LEN + 1];
    uint64_t unique_bytes;
    /* What others refer to as well: the rest of its share of each pack. */
    uint64_t shared_bytes;
};

/* ERR_CORRUPT when a snapshot or a pack cannot be read. `stop` may be NULL. */
int usage_read(struct repository *r, struct stopper *stop, struct usage **ret,
               struct error *err) NODISCARD;
/* With all that was borrowed. Takes NULL. */
void usage_free(struct usage *u);
/* The i-th of all snapshots, NULL behind the last; borrowed. */
const struct snapshot_usage *usage_at(const struct usage *u, size_t i);
/* NULL when there is no such snapshot; borrowed. */
const struct snapshot_usage *usage_of(const struct usage *u, const char *id);

/* The sizes of all snapshots, from the catalog while the set of snapshots is as
 * it was, else by usage_read(). The caller frees the array. */
int usage_sizes(struct repository *r, struct stopper *stop,
                struct snapshot_usage **ret, size_t *ret_n,
                struct error *err) NODISCARD;

DEFINE_CLEANUP(usage, struct usage *, usage_free)

#endif

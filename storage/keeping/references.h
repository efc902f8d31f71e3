/*
 * references.h - door: which packs the listed snapshots refer to.
 */
#ifndef FIRN_STORAGE_KEEPING_REFERENCES_H
#define FIRN_STORAGE_KEEPING_REFERENCES_H

#include "core/base/stopper.h"
#include "storage/pack_set.h"
#include "storage/snapshot_reader.h"

struct references {
    struct pack_set packs;
    size_t snapshots;
};

/* ERR_CORRUPT when a snapshot cannot be read: nobody knows what it needs. One
 * that is removed meanwhile does not count. `stop` may be NULL. */
int references_read(struct repository *r, struct stopper *stop,
                    struct references *ret, struct error *err) NODISCARD;
/* Frees the set; an empty one remains. */
void references_release(struct references *r);

/* Which packs of a snapshot older ones have as well, by the packs' numbers in
 * `s`; the caller frees *ret. Reads every older snapshot's object; one that
 * cannot be read is passed over. */
int references_shared(struct repository *r, const struct snapshot_reader *s,
                      struct stopper *stop, bool **ret,
                      struct error *err) NODISCARD;

static inline UNUSED void cleanup_references_fn(struct references *r)
{
    references_release(r);
}

#endif

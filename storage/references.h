/*
 * references.h - which packs the listed snapshots refer to. No door.
 */
#ifndef FIRN_STORAGE_REFERENCES_H
#define FIRN_STORAGE_REFERENCES_H

#include "core/base/stopper.h"
#include "storage/pack_set.h"
#include "storage/repository.h"

struct references {
    struct pack_set packs;
    size_t snapshots;
};

/* ERR_CORRUPT when a snapshot cannot be read: nobody knows what it needs. One
 * that is removed meanwhile does not count. `stop` may be NULL. */
int references_read(struct repository *r, struct stopper *stop,
                    struct references *ret, struct error *err) NODISCARD;
void references_release(struct references *r);

static inline UNUSED void cleanup_references_fn(struct references *r)
{
    references_release(r);
}

#endif

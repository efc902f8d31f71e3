/*
 * segment_cache.h - decoded index segments of one snapshot, ready for lookups.
 *
 * A bounded number of slots (4096: 8 GiB of guest in order), each some bytes a
 * run, 24 MiB at the very most. Segments that are all zero are kept as such.
 * For one thread.
 */
#ifndef FIRN_STORAGE_SEGMENT_CACHE_H
#define FIRN_STORAGE_SEGMENT_CACHE_H

#include "storage/index/segment.h"

struct cached_segment {
    bool valid;
    uint32_t block;
    uint64_t segno;
    uint32_t n_runs;
    struct segment_run *runs; /* packs numbered as in the snapshot */
};

struct segment_cache;

/* Empty; ERR_NOMEM. free() takes NULL. */
int segment_cache_new(struct segment_cache **ret, struct error *err) NODISCARD;
/* With all runs that were borrowed from it. */
void segment_cache_free(struct segment_cache *c);

/* NULL when it is not there. Borrowed until the next put(). */
const struct cached_segment *segment_cache_find(const struct segment_cache *c,
                                                uint32_t block, uint64_t segno);
/* Copies the runs; what was in the slot goes. */
int segment_cache_put(struct segment_cache *c, uint32_t block, uint64_t segno,
                      const struct segment *segment,
                      const struct cached_segment **ret,
                      struct error *err) NODISCARD;

#endif

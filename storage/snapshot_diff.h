/*
 * snapshot_diff.h - door: where the memory of two snapshots differs.
 *
 * Goes by places and content hashes: no page is read, but where two packs were
 * hashed with different secrets. A segment that both share costs one row. Zero
 * pages and pages behind the end of the shorter block count as zero. The two
 * readers may belong to different VMs; one thread.
 */
#ifndef FIRN_STORAGE_SNAPSHOT_DIFF_H
#define FIRN_STORAGE_SNAPSHOT_DIFF_H

#include "core/base/stopper.h"
#include "storage/snapshot_reader.h"

struct diff_range {
    pgno_t first;
    uint64_t pages;
};

/* Neighbouring pages that differ, whatever the kind, are one range. */
struct block_diff {
    uint64_t same;    /* both zero, or of equal content */
    uint64_t changed; /* content in both, not equal */
    uint64_t filled;  /* zero in A, content in B */
    uint64_t cleared; /* content in A, zero in B */
    struct diff_range *ranges;
    size_t n_ranges;
    size_t cap;
};

/* Of block `in_a` of `a` and block `in_b` of `b`, which the snapshots hold both
 * (not left out). To be released even when it fails. */
int block_diff_init(struct block_diff *d, struct snapshot_reader *a,
                    uint32_t in_a, struct snapshot_reader *b, uint32_t in_b,
                    struct stopper *stop, struct error *err) NODISCARD;
/* Frees the ranges. */
void block_diff_release(struct block_diff *d);

static inline uint64_t block_diff_pages(const struct block_diff *d)
{
    return d->changed + d->filled + d->cleared;
}

#endif

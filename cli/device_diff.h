/*
 * device_diff.h - which devices of two snapshots differ, by name and instance.
 *
 * Pure. Names are borrowed from the two device states, which must outlive the
 * result. The caller owns the struct.
 */
#ifndef FIRN_CLI_DEVICE_DIFF_H
#define FIRN_CLI_DEVICE_DIFF_H

#include "core/vm/device_state.h"

/* A device of either side; the section that is missing is NULL. */
struct device_pair {
    const struct device_section *a;
    const struct device_section *b;
    bool same;
    uint64_t differing_bytes; /* of sections of equal length */
};

struct device_diff {
    struct device_pair *pairs; /* in A's order, then what only B has */
    size_t n;
    size_t n_same;
};

/* The numbers that a stream gives its sections do not count. */
int device_diff_init(struct device_diff *d, const struct device_state *a,
                     const struct device_state *b, struct error *err) NODISCARD;
/* Frees the rows; the device states were borrowed. */
void device_diff_release(struct device_diff *d);

#endif

/*
 * device_state.h - what a stream holds besides RAM, kept whole.
 *
 * The *device tail* is the run of FULL sections behind RAM, byte for byte as
 * QEMU sent it: the type byte of the first section included, the closing EOF
 * byte and the description (VMDESC, JSON) not. The description, once proved
 * against the tail, gives the table of devices. Owned by the struct.
 *
 * QEMU 8.0 and later save virtio-mem's layout as a FULL section *before* RAM:
 * such sections are in `early`, in the same form, and a restore must send them
 * before the RAM block list is followed by pages.
 */
#ifndef FIRN_CORE_VM_DEVICE_STATE_H
#define FIRN_CORE_VM_DEVICE_STATE_H

#include "core/base/buf.h"

#define DEVICE_TAIL_MAX_BYTES (256u << 20)

struct device_section {
    char name[256];
    uint32_t instance;
    uint32_t version;
    uint64_t offset; /* of the section's type byte in the tail */
    uint64_t bytes;  /* whole section: header, body, footer */
};

struct device_state {
    struct buf tail;
    struct buf vmdesc;
    struct buf early; /* FULL sections that came before RAM; mostly empty */
    struct device_section *sections; /* of `tail` */
    size_t n_sections;
    size_t n_searched;   /* of these, found by search: sizes did not add up */
    char run_state[101]; /* from the globalstate section: "running", "paused" */
};

/* Frees what it owns, and leaves an empty one. */
void device_state_release(struct device_state *d);

#endif

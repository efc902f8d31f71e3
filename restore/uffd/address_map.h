/*
 * address_map.h - where a flat image lies in somebody's address space.
 *
 * Extents of addresses, each with its place in the image, none overlapping.
 * unmap cuts, mremap moves them. Pure; the caller owns the struct, all zero is
 * empty. Not for threads: uffd_space.h guards it with its gate.
 */
#ifndef FIRN_RESTORE_UFFD_ADDRESS_MAP_H
#define FIRN_RESTORE_UFFD_ADDRESS_MAP_H

#include "core/base/cleanup.h"
#include "core/base/error.h"

/* A client that cuts its memory in more pieces is refused: each costs us. */
#define ADDRESS_MAP_MAX 65536u

struct address_extent {
    uint64_t start;
    uint64_t len;
    uint64_t offset; /* of `start` in the image */
};

struct address_map {
    struct address_extent *extents; /* in the order of addresses */
    uint32_t n;
    uint32_t cap;
};

/* Frees the extents; an empty map remains. */
void address_map_release(struct address_map *m);
/* Into an empty `to`: for a child, which has the same addresses at first. */
int address_map_copy(struct address_map *to, const struct address_map *from,
                     struct error *err) NODISCARD;

/* ERR_PROTOCOL when it is empty, wraps, or overlaps another in addresses or in
 * the image. */
int address_map_add(struct address_map *m, const struct address_extent *x,
                    struct error *err) NODISCARD;

/* The place of an address in the image; false when it is not in the map. */
bool address_map_offset(const struct address_map *m, uint64_t address,
                        uint64_t *ret_offset);
/* The address of a place in the image, and how many bytes follow without a
 * seam. False when it is not mapped; *ret_run is then the bytes up to the next
 * place that is, UINT64_MAX if none. */
bool address_map_address(const struct address_map *m, uint64_t offset,
                         uint64_t *ret_address, uint64_t *ret_run);

/* Takes the addresses from `start` to `end` out. */
int address_map_cut(struct address_map *m, uint64_t start, uint64_t end,
                    struct error *err) NODISCARD;
/* What is at `from` is at `to` from here on; whatever was there is gone. */
int address_map_move(struct address_map *m, uint64_t from, uint64_t len,
                     uint64_t to, struct error *err) NODISCARD;

static inline UNUSED void cleanup_address_map_fn(struct address_map *m)
{
    address_map_release(m);
}

#endif

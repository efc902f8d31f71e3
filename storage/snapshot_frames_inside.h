/*
 * snapshot_frames_inside.h - what frame readers share. No door.
 */
#ifndef FIRN_STORAGE_SNAPSHOT_FRAMES_INSIDE_H
#define FIRN_STORAGE_SNAPSHOT_FRAMES_INSIDE_H

#include "storage/packs/pack_reader.h"
#include "storage/shared_frames.h"
#include "storage/snapshot_frames.h"

/* The tables of a pack, opened when first needed; borrowed. Any thread. */
int snapshot_frames_pack(struct snapshot_frames *f, uint32_t number,
                         const struct pack_reader **ret,
                         struct error *err) NODISCARD;
/* The decompressed frames of all readers; and bytes that one read from a pack.
 * Any thread. */
struct shared_frames *snapshot_frames_cache(struct snapshot_frames *f);
/* For snapshot_frames_read_bytes(). */
void snapshot_frames_count_read(struct snapshot_frames *f, uint64_t bytes);

static inline uint64_t frame_key(const struct page_place *place)
{
    return (uint64_t)place->pack << 32 | place->frame;
}

#endif

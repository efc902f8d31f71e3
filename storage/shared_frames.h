/*
 * shared_frames.h - decompressed frames that many threads use at once.
 *
 * Bounded in bytes, those used longest ago go first; what somebody holds stays
 * until it is given back. Any thread. (frame_cache.h is for one.)
 */
#ifndef FIRN_STORAGE_SHARED_FRAMES_H
#define FIRN_STORAGE_SHARED_FRAMES_H

#include "core/base/cleanup.h"
#include "core/base/error.h"

struct shared_frames;

struct shared_frame {
    uint64_t key; /* pack << 32 | frame */
    uint32_t bytes;
    uint8_t *data;

    /* the cache's own, protected by the lock of its shard */
    unsigned holders;
    bool listed;
    struct shared_frame *chain;
    struct shared_frame *newer;
    struct shared_frame *older;
};

/* Empty. `max_bytes` is shared out to shards of their own lock. */
int shared_frames_new(size_t max_bytes, struct shared_frames **ret,
                      struct error *err) NODISCARD;
/* Nobody holds a frame any more. NULL is fine. */
void shared_frames_free(struct shared_frames *c);

/* Held for the caller; NULL when it is not there. */
struct shared_frame *shared_frames_find(struct shared_frames *c, uint64_t key);
/* An empty frame for the caller to fill, of nobody's knowledge yet. */
int shared_frames_make(struct shared_frames *c, uint64_t key, uint32_t bytes,
                       struct shared_frame **ret, struct error *err) NODISCARD;
/* Shows a filled frame to all; if another thread was faster, its frame is
 * returned instead, held. */
struct shared_frame *shared_frames_add(struct shared_frames *c,
                                       struct shared_frame *f);
/* Gives a frame back, shown or not; NULL is fine. */
void shared_frames_put(struct shared_frames *c, struct shared_frame *f);
/* Of all frames listed now; a moment later it may be another number. */
size_t shared_frames_bytes(struct shared_frames *c);

DEFINE_CLEANUP(shared_frames, struct shared_frames *, shared_frames_free)

#endif

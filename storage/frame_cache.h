/*
 * frame_cache.h - decompressed frames, bounded in bytes, the oldest go first.
 *
 * For one thread. What find() and add() give is borrowed until the next add().
 */
#ifndef FIRN_STORAGE_FRAME_CACHE_H
#define FIRN_STORAGE_FRAME_CACHE_H

#include "core/base/cleanup.h"
#include "core/base/error.h"

struct frame_cache;

/* Empty; ERR_NOMEM. free() takes NULL. */
int frame_cache_new(size_t max_bytes, struct frame_cache **ret,
                    struct error *err) NODISCARD;
/* With all frames that were borrowed from it. */
void frame_cache_free(struct frame_cache *c);

/* NULL when it is not there. */
const uint8_t *frame_cache_find(struct frame_cache *c, uint32_t pack,
                                uint32_t frame);
/* Room for a frame that is not there, for the caller to fill; others go when
 * need be. One larger than the whole cache is kept alone. */
int frame_cache_add(struct frame_cache *c, uint32_t pack, uint32_t frame,
                    size_t bytes, uint8_t **ret, struct error *err) NODISCARD;
/* Takes a frame out again: it could not be filled. */
void frame_cache_drop(struct frame_cache *c, uint32_t pack, uint32_t frame);
/* Of the frames that are in it now, their content alone. */
size_t frame_cache_bytes(const struct frame_cache *c);

DEFINE_CLEANUP(frame_cache, struct frame_cache *, frame_cache_free)

#endif

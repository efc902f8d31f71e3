/*
 * pack_stream.h - a file written front to back, through buffers of a ring.
 *
 * Full buffers are written behind one another while the caller fills the next.
 * What was appended can be read again wherever it is. The caller owns the
 * struct, the ring and the descriptor. After an error the file is lost: bytes
 * may be missing, whichever call was told. One thread.
 */
#ifndef FIRN_STORAGE_PACKS_PACK_STREAM_H
#define FIRN_STORAGE_PACKS_PACK_STREAM_H

#include "core/base/stage_clock.h"
#include "storage/objects/ring.h"

struct pack_stream {
    struct ring *ring; /* NULL when the stream has ended */
    int fd;
    struct stage_clock
        *clock;       /* what the ring costs is CPU_WRITE; may be NULL */
    uint8_t *buffer;  /* of the ring, being filled; NULL between two */
    size_t used;      /* bytes of it */
    uint64_t written; /* bytes handed to the ring: where `buffer` begins */
};

/* Bytes appended so far. */
static inline uint64_t pack_stream_bytes(const struct pack_stream *s)
{
    return s->written + s->used;
}

/* Copies `len` bytes to the end. ERR_NOSPC, ERR_IO: perhaps of an earlier
 * write. */
int pack_stream_append(struct pack_stream *s, const void *data, size_t len,
                       struct error *err) NODISCARD;
/* Room for `len` bytes in place, to be filled and advanced over; NULL when it
 * would not lie in one buffer. */
int pack_stream_room(struct pack_stream *s, size_t len, uint8_t **ret,
                     struct error *err) NODISCARD;
/* `len` bytes of that room are filled. */
int pack_stream_advance(struct pack_stream *s, size_t len,
                        struct error *err) NODISCARD;
/* Reads what was appended before. */
int pack_stream_read(struct pack_stream *s, uint64_t offset, size_t len,
                     void *dst, struct error *err) NODISCARD;
/* Writes the rest, waits, syncs, and lets go of the ring. */
int pack_stream_finish(struct pack_stream *s, struct error *err) NODISCARD;
/* Lets go of the ring whatever is in flight; nothing after finish(). */
void pack_stream_abandon(struct pack_stream *s);

#endif

/*
 * read_ring.h - many reads in flight, for one thread.
 *
 * The caller owns requests and buffers and leaves them alone until next() has
 * given the request back. Where io_uring is refused the reads are done one by
 * one, by pread.
 */
#ifndef FIRN_STORAGE_OBJECTS_READ_RING_H
#define FIRN_STORAGE_OBJECTS_READ_RING_H

#include "core/base/cleanup.h"
#include "core/base/error.h"

struct read_request {
    int fd;
    uint64_t offset;
    uint8_t *data;
    size_t len;
    void *arg; /* the caller's */

    size_t done;   /* read so far */
    int sys_errno; /* 0, or why it failed; ENODATA: the file ends before */
    struct read_request *next;
};

struct read_ring;

/* At most `depth` reads in flight. `no_uring`: for tests and comparison. */
int read_ring_new(unsigned depth, bool no_uring, struct read_ring **ret,
                  struct error *err) NODISCARD;
/* Waits for what is in flight; NULL is fine. */
void read_ring_free(struct read_ring *r);
/* False where reads are done one by one. */
bool read_ring_is_uring(const struct read_ring *r);

/* Added and not yet given back by next(). */
unsigned read_ring_in_flight(const struct read_ring *r);
/* Only while fewer than `depth` are in flight. */
int read_ring_add(struct read_ring *r, struct read_request *q,
                  struct error *err) NODISCARD;
/* Waits for one to be finished, well or not; NULL when none is in flight. */
int read_ring_next(struct read_ring *r, struct read_request **ret,
                   struct error *err) NODISCARD;

DEFINE_CLEANUP(read_ring, struct read_ring *, read_ring_free)

#endif

/*
 * ring.h - io_uring for one thread: buffers, and writes in batches.
 *
 * The only user of liburing. A ring owns a few registered, aligned buffers;
 * a writer takes one, fills it and submits it, and gets a free one back. Where
 * io_uring is refused (sysctl, seccomp, old kernel) the same calls use plain
 * pwrite: ring_is_uring() tells, ring_kind() says why.
 */
#ifndef FIRN_STORAGE_OBJECTS_RING_H
#define FIRN_STORAGE_OBJECTS_RING_H

#include "core/base/cleanup.h"
#include "core/base/error.h"

struct ring_args {
    size_t buffer_bytes; /* 0: 256 KiB */
    unsigned buffers;    /* 0: 8; also the most writes in flight */
    bool no_uring;       /* force the fallback, for tests and comparison */
};

struct ring;

/* ERR_INVALID: buffers whose length is no multiple of 4096, or too large. A
 * refused io_uring is no error. */
int ring_new(const struct ring_args *args, struct ring **ret,
             struct error *err) NODISCARD;
/* Waits for what is in flight; who wants its errors calls ring_wait() first.
 * Takes NULL. */
void ring_free(struct ring *r);
/* False where the fallback writes. */
bool ring_is_uring(const struct ring *r);
/* "io_uring", or why it is not: for a note to the user. Borrowed. */
const char *ring_kind(const struct ring *r);
/* Bytes of each buffer, as asked for. */
size_t ring_buffer_bytes(const struct ring *r);

/* A free buffer, waiting for a write to end when all are in flight. */
int ring_take_buffer(struct ring *r, uint8_t **ret,
                     struct error *err) NODISCARD;
/* Gives a buffer back unused. */
void ring_give_buffer(struct ring *r, uint8_t *buffer);
/* Queues a write of a taken buffer and gives the buffer back when it is done
 * (or failed). An error of an earlier write may be told here, by take or by
 * wait; take and write go on telling it until wait has. */
int ring_write(struct ring *r, int fd, uint8_t *buffer, size_t len,
               uint64_t offset, struct error *err) NODISCARD;
/* Waits for everything in flight. Tells the first error since the last wait and
 * forgets it: after it the ring is idle and may be used for another file. */
int ring_wait(struct ring *r, struct error *err) NODISCARD;
/* Waits, then fsyncs. */
int ring_sync(struct ring *r, int fd, struct error *err) NODISCARD;

/* What was done so far, for tests and figures. */
struct ring_stats {
    uint64_t writes;    /* ring_write() calls carried out or in flight */
    uint64_t bytes;     /* of them, taken by the kernel */
    uint64_t submits;   /* batches handed to the kernel; 0 without uring */
    uint64_t continued; /* rests sent again after short or broken writes */
    uint64_t syncs;
    unsigned most_in_flight;
    bool registered; /* the buffers are known to the kernel */
};

/* A copy of the figures as they are now. */
void ring_stats(const struct ring *r, struct ring_stats *ret);

DEFINE_CLEANUP(ring, struct ring *, ring_free)

#endif

/*
 * queue.h - a bounded queue between threads, bounded in bytes.
 *
 * Items are pointers; who takes one owns it. A producer waits while the queue
 * is over its bound (a single larger item always passes an empty queue). The
 * end: queue_close() lets consumers drain what is there and then get NULL;
 * queue_cancel() makes both sides return at once, and what is still inside is
 * handed to `drop` by queue_release().
 */
#ifndef FIRN_CORE_BASE_QUEUE_H
#define FIRN_CORE_BASE_QUEUE_H

#include "core/base/error.h"
#include "core/base/lock.h"

struct queue_item {
    struct queue_item *next;
    size_t bytes; /* what it weighs against the bound */
};

struct queue {
    /* set before the threads start, then read only */
    size_t max_bytes;
    void (*drop)(struct queue_item *);

    /* protected by `lock` */
    struct lock lock; /* everything below */
    struct condition changed;
    struct queue_item *head GUARDED_BY(lock);
    struct queue_item **tail GUARDED_BY(lock);
    size_t bytes GUARDED_BY(lock);
    size_t in_work GUARDED_BY(lock); /* taken, not yet queue_done() */
    bool closed GUARDED_BY(lock);
    bool cancelled GUARDED_BY(lock);
};

/* `drop` frees an item nobody took; `max_bytes` is the brake on producers. */
void queue_init(struct queue *q, size_t max_bytes,
                void (*drop)(struct queue_item *));
/* When no thread uses the queue any more. An all-zero queue, or one that was
 * released before, is left alone. */
void queue_release(struct queue *q);

/* Embed a queue_item as the first member of what travels. Takes ownership;
 * false, ownership stays, when the queue was cancelled. */
NODISCARD bool queue_put(struct queue *q, struct queue_item *item);

/* NULL when closed and empty, or cancelled. Each item taken is answered by one
 * queue_done() when its work is finished. */
struct queue_item *queue_take(struct queue *q);
/* The item itself is the taker's, from take to long after this. */
void queue_done(struct queue *q);

/* Waits until nothing is queued nor in work: a sync point. False if cancelled.
 */
NODISCARD bool queue_drain(struct queue *q);

/* No more items will come: producers are through before this is called. */
void queue_close(struct queue *q);
/* Nobody wants the rest: for errors. May be called again, and after close(). */
void queue_cancel(struct queue *q);

#endif

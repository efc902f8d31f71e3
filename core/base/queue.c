/*
 * queue.c - a list of items under one lock, with its weight.
 *
 * Bytes are the brake, not items: an item may be a batch of pages or a single
 * one, and memory is what has to stay bounded. What a consumer has taken no
 * longer weighs, so the bound holds for what waits; what is in work is bounded
 * by the number of consumers.
 *
 * `in_work` is what makes a drain more than an empty list: a sync point must
 * wait for the last item to be finished, not for it to be taken. All waiters
 * share one condition and all are woken: producers, consumers and drains wait
 * for different changes of the same few words.
 */
#include "core/base/queue.h"

void queue_init(struct queue *q, size_t max_bytes,
                void (*drop)(struct queue_item *))
{
    *q = (struct queue){.max_bytes = max_bytes, .drop = drop};
    q->tail = &q->head;
    lock_init(&q->lock);
    condition_init(&q->changed);
}

void queue_release(struct queue *q)
{
    if (!q->tail)
        return;
    while (q->head) {
        struct queue_item *item = q->head;

        q->head = item->next;
        q->drop(item);
    }
    q->tail = NULL;
    condition_release(&q->changed);
    lock_release(&q->lock);
}

bool queue_put(struct queue *q, struct queue_item *item)
{
    LOCK_SCOPE(&q->lock);

    while (!q->cancelled && q->bytes > 0 &&
           q->bytes + item->bytes > q->max_bytes)
        condition_wait(&q->changed, &q->lock);
    if (q->cancelled)
        return false;
    item->next = NULL;
    *q->tail = item;
    q->tail = &item->next;
    q->bytes += item->bytes;
    condition_wake_all(&q->changed);
    return true;
}

struct queue_item *queue_take(struct queue *q)
{
    struct queue_item *item;
    LOCK_SCOPE(&q->lock);

    while (!q->cancelled && !q->closed && !q->head)
        condition_wait(&q->changed, &q->lock);
    if (q->cancelled || !q->head)
        return NULL;
    item = q->head;
    q->head = item->next;
    if (!q->head)
        q->tail = &q->head;
    q->bytes -= item->bytes;
    q->in_work++;
    condition_wake_all(&q->changed);
    return item;
}

void queue_done(struct queue *q)
{
    LOCK_SCOPE(&q->lock);

    assert(q->in_work > 0); /* each take is answered once */
    q->in_work--;
    condition_wake_all(&q->changed);
}

bool queue_drain(struct queue *q)
{
    LOCK_SCOPE(&q->lock);

    while (!q->cancelled && (q->head || q->in_work > 0))
        condition_wait(&q->changed, &q->lock);
    return !q->cancelled;
}

void queue_close(struct queue *q)
{
    LOCK_SCOPE(&q->lock);

    q->closed = true;
    condition_wake_all(&q->changed);
}

void queue_cancel(struct queue *q)
{
    LOCK_SCOPE(&q->lock);

    q->cancelled = true;
    condition_wake_all(&q->changed);
}

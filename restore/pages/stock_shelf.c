/*
 * stock_shelf.c - lists of batches under one lock, and one condition.
 *
 * A batch is always in one place: empty, full (by turn), or out with one of the
 * two threads; the counts of those that are out are what "done" and "ahead"
 * mean. The last empty batches are kept for what lies around a fault: a fill
 * that took them all would make a guest wait for work that nobody asked for.
 */
#include "restore/pages/stock_shelf.h"

#define RESERVED 2u /* batches, for what lies around a fault */

static void list_put(struct shelf_list *l, struct shelf_batch *b)
{
    b->next = NULL;
    if (!l->head)
        l->tail = &l->head;
    *l->tail = b;
    l->tail = &b->next;
}

static struct shelf_batch *list_take(struct shelf_list *l)
{
    struct shelf_batch *b = l->head;

    if (b)
        l->head = b->next;
    return b;
}

int stock_shelf_init(struct stock_shelf *s, uint32_t batch_pages,
                     void (*ready)(void *arg), void *arg, struct error *err)
{
    *s = (struct stock_shelf){.ready = ready, .arg = arg};
    lock_init(&s->lock);
    condition_init(&s->given);
    LOCK_SCOPE(&s->lock);

    for (unsigned i = 0; i < SHELF_BATCHES; i++) {
        struct shelf_batch *b = &s->batches[i];

        b->pages = calloc(batch_pages, sizeof(*b->pages));
        b->room = malloc((size_t)batch_pages * PAGE_BYTES);
        if (!b->pages || !b->room)
            return fail_nomem(err);
        list_put(&s->empty, b);
        s->n_empty++;
    }
    return 0;
}

void stock_shelf_release(struct stock_shelf *s)
{
    for (unsigned i = 0; i < SHELF_BATCHES; i++) {
        free(s->batches[i].pages);
        free(s->batches[i].room);
    }
    condition_release(&s->given);
    lock_release(&s->lock);
}

static void put_back(struct stock_shelf *s, struct shelf_batch *b)
    REQUIRES(s->lock)
{
    list_put(&s->empty, b);
    s->n_empty++;
    s->n_out--;
}

/* ---- The filler ---- */

static bool gives_way(const struct stock_shelf *s, enum page_turn turn)
    REQUIRES(s->lock)
{
    return turn == PAGE_TURN_FILL && s->n_asked > 0;
}

struct shelf_batch *stock_shelf_await(struct stock_shelf *s,
                                      enum page_turn turn)
{
    unsigned reserved = turn == PAGE_TURN_NEAR ? 0 : RESERVED;
    struct shelf_batch *b = NULL;
    LOCK_SCOPE(&s->lock);

    /* A page that was asked for before the wait wakes nobody. */
    while (!s->stop && !gives_way(s, turn) && s->n_empty <= reserved)
        condition_wait(&s->given, &s->lock);
    if (!s->stop && !gives_way(s, turn)) {
        b = list_take(&s->empty);
        s->n_empty--;
        s->n_out++;
    }
    return b;
}

void stock_shelf_show(struct stock_shelf *s, struct shelf_batch *b,
                      enum page_turn turn)
{
    b->shown.turn = turn;
    b->shown.pages = b->pages;
    lock_take(&s->lock);
    list_put(&s->full[turn], b);
    s->n_ahead += turn == PAGE_TURN_PREFETCH;
    lock_drop(&s->lock);
    s->ready(s->arg);
}

bool stock_shelf_next_asked(struct stock_shelf *s, struct page_position *ret)
{
    LOCK_SCOPE(&s->lock);

    if (s->n_asked == 0)
        return false;
    *ret = s->asked[--s->n_asked];
    return true;
}

bool stock_shelf_has_work(struct stock_shelf *s, bool more, bool waits)
{
    LOCK_SCOPE(&s->lock);

    while (!s->stop && !more && waits && s->n_asked == 0)
        condition_wait(&s->given, &s->lock);
    return !s->stop && (more || s->n_asked > 0);
}

void stock_shelf_set_planned(struct stock_shelf *s)
{
    lock_take(&s->lock);
    s->planned = true;
    lock_drop(&s->lock);
    s->ready(s->arg);
}

void stock_shelf_end(struct stock_shelf *s, struct shelf_batch *left)
{
    lock_take(&s->lock);
    if (left)
        put_back(s, left);
    s->ended = true;
    lock_drop(&s->lock);
    s->ready(s->arg);
}

/* ---- The taker ---- */

const struct stock_batch *stock_shelf_take(struct stock_shelf *s,
                                           enum page_turn turn)
{
    struct shelf_batch *b;
    LOCK_SCOPE(&s->lock);

    b = list_take(&s->full[turn]);
    return b ? &b->shown : NULL;
}

void stock_shelf_give(struct stock_shelf *s, const struct stock_batch *batch)
{
    lock_take(&s->lock);
    s->n_ahead -= batch->turn == PAGE_TURN_PREFETCH;
    put_back(s, (struct shelf_batch *)(uintptr_t)batch);
    lock_drop(&s->lock);
    condition_wake_all(&s->given);
}

void stock_shelf_ask(struct stock_shelf *s, uint32_t block, pgno_t pgno)
{
    lock_take(&s->lock);
    if (s->n_asked == SHELF_ASKED) {
        memmove(s->asked, s->asked + SHELF_ASKED / 2,
                SHELF_ASKED / 2 * sizeof(*s->asked));
        s->n_asked = SHELF_ASKED / 2;
    }
    s->asked[s->n_asked++] = (struct page_position){block, pgno};
    lock_drop(&s->lock);
    condition_wake_all(&s->given);
}

bool stock_shelf_is_ahead(struct stock_shelf *s)
{
    LOCK_SCOPE(&s->lock);

    return s->ended || (s->planned && s->n_ahead == 0);
}

bool stock_shelf_is_done(struct stock_shelf *s)
{
    LOCK_SCOPE(&s->lock);

    return s->ended && s->n_out == 0;
}

void stock_shelf_stop(struct stock_shelf *s)
{
    lock_take(&s->lock);
    s->stop = true;
    lock_drop(&s->lock);
    condition_wake_all(&s->given);
}

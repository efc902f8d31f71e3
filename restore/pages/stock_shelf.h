/*
 * stock_shelf.h - what lies between the thread that reads ahead and the one
 * that sends: filled batches one way, empty ones and pages asked for the other.
 *
 * Bounded: some batches, made once. Two of them are never for the fill and the
 * plan, so that what lies around a fault need not wait for either.
 *
 * Two threads, the *filler* and the *taker*; each function says whose it is.
 * The owner embeds the struct; all of it is the shelf's own.
 */
#ifndef FIRN_RESTORE_PAGES_STOCK_SHELF_H
#define FIRN_RESTORE_PAGES_STOCK_SHELF_H

#include "core/base/lock.h"
#include "restore/pages/stock_batch.h"

#define SHELF_BATCHES 8u
#define SHELF_ASKED   64u /* pages asked for that are remembered */

struct shelf_batch {
    struct stock_batch shown; /* first: the taker gets its address */
    struct stock_page *pages; /* room for as many as the shelf was made for */
    uint8_t *room;            /* of their bytes */
    struct shelf_batch *next; /* the shelf's */
};

struct shelf_list {
    struct shelf_batch *head;
    struct shelf_batch **tail;
};

struct page_position {
    uint32_t block;
    pgno_t pgno;
};

struct stock_shelf {
    /* set before the filler starts, then read only */
    void (*ready)(void *arg);
    void *arg;
    struct shelf_batch batches[SHELF_BATCHES];

    /* protected by `lock` */
    struct lock lock;       /* everything below */
    struct condition given; /* a batch came back, a page was asked for, stop */
    struct shelf_list empty GUARDED_BY(lock);
    unsigned n_empty GUARDED_BY(lock);
    struct shelf_list full[PAGE_TURN__COUNT] GUARDED_BY(lock);
    struct page_position asked[SHELF_ASKED] GUARDED_BY(lock); /* a stack */
    unsigned n_asked GUARDED_BY(lock);
    bool stop GUARDED_BY(lock);
    bool ended GUARDED_BY(lock);
    unsigned n_out GUARDED_BY(lock);   /* full, or with one of the two */
    bool planned GUARDED_BY(lock);     /* no group is left to be brought */
    unsigned n_ahead GUARDED_BY(lock); /* batches of groups that are out */
};

/* Batches of `batch_pages` each. `ready` is called by the filler, with no lock
 * held, when there is something to take or to ask. Release after a failure as
 * well. ERR_NOMEM. */
int stock_shelf_init(struct stock_shelf *s, uint32_t batch_pages,
                     void (*ready)(void *arg), void *arg,
                     struct error *err) NODISCARD;
/* Neither thread is in it any more. */
void stock_shelf_release(struct stock_shelf *s);

/* ---- The filler ---- */

/* Waits for an empty batch: the last ones are for turn NEAR only. NULL: stop,
 * or, for turn FILL, a page was asked for. Its `shown` is as it was left. */
struct shelf_batch *stock_shelf_await(struct stock_shelf *s,
                                      enum page_turn turn);
/* What is in `b` may be taken. */
void stock_shelf_show(struct stock_shelf *s, struct shelf_batch *b,
                      enum page_turn turn);
/* The page asked for last that was not looked at yet; false: none. */
bool stock_shelf_next_asked(struct stock_shelf *s, struct page_position *ret);
/* Whether the filler shall go on: it has `more` to do, or a page was asked for;
 * with `waits` until one is. */
bool stock_shelf_has_work(struct stock_shelf *s, bool more, bool waits);
/* No group of the plan is left. */
void stock_shelf_set_planned(struct stock_shelf *s);
/* The filler will bring nothing more; `left` (NULL: none) comes back unused. */
void stock_shelf_end(struct stock_shelf *s, struct shelf_batch *left);

/* ---- The taker ---- */

/* The oldest batch of this turn, or NULL. Given back. */
const struct stock_batch *stock_shelf_take(struct stock_shelf *s,
                                           enum page_turn turn);
/* The batch is empty again, and the filler is woken. */
void stock_shelf_give(struct stock_shelf *s, const struct stock_batch *batch);
/* Of too many the older ones are forgotten. */
void stock_shelf_ask(struct stock_shelf *s, uint32_t block, pgno_t pgno);
/* The plan is through and all of it was given back, or the filler ended. */
bool stock_shelf_is_ahead(struct stock_shelf *s);
/* The filler ended and everything was given back. */
bool stock_shelf_is_done(struct stock_shelf *s);
/* The filler shall end, and waits for nothing from here on. */
void stock_shelf_stop(struct stock_shelf *s);

#endif

/*
 * page_queue.h - which page goes next, and each at most once.
 *
 * A page that QEMU places twice breaks the migration (UFFDIO_COPY says
 * EEXIST), a data page that is never sent leaves zeros in the guest. So one
 * bit a host page says *taken*, tested and set when the page is queued or
 * handed out, for requests and for the background alike.
 *
 * A *unit* is what QEMU places at once: one host page, 1 or 512 pages of the
 * guest. Blocks that the snapshot does not know, and pages behind a block's
 * end, can be asked for as well (`known` is false then): they are zero.
 *
 * Pure: no I/O but through next_data(), no clock, no lock. One thread, but for
 * page_queue_taken().
 */
#ifndef FIRN_RESTORE_PAGES_PAGE_QUEUE_H
#define FIRN_RESTORE_PAGES_PAGE_QUEUE_H

#include "core/base/cleanup.h"
#include "core/base/error.h"
#include "core/vm/page.h"

#define PAGE_UNIT_MAX_PAGES 512u /* 2 MiB: the largest host page served */

enum page_turn {
    PAGE_TURN_NONE = 0, /* nothing is left, or the background is held */
    PAGE_TURN_URGENT,   /* somebody waits for it */
    PAGE_TURN_PREFETCH, /* earlier restores asked for it */
    PAGE_TURN_NEAR,     /* beside a page that was asked for */
    PAGE_TURN_FILL,     /* the rest */
    PAGE_TURN__COUNT
};

struct page_unit {
    enum page_turn turn;
    bool known;        /* the snapshot has it; else it is zero */
    uint32_t block;    /* for page_queue_idstr(); the reader's if known */
    pgno_t first;      /* of the unit's pages */
    uint32_t pages;    /* 1 to PAGE_UNIT_MAX_PAGES */
    uint64_t asked_ns; /* urgent: when the request was read */
};

struct page_queue_block {
    const char *idstr; /* borrowed, outlives the queue */
    pgno_t pages;
    uint32_t unit_pages; /* a power of two */
};

struct page_queue_args {
    const struct page_queue_block *blocks; /* in the snapshot's order */
    uint32_t n;
    /* First page at or behind `from` that is not zero; the block's page count
     * if none is left. An error ends page_queue_next() with it. */
    int (*next_data)(void *arg, uint32_t block, pgno_t from, pgno_t *ret,
                     struct error *err);
    void *arg;
};

struct page_queue;

/* ERR_UNSUPPORTED when a host page is larger than a unit may be. */
int page_queue_new(const struct page_queue_args *args, struct page_queue **ret,
                   struct error *err) NODISCARD;
/* Takes NULL. */
void page_queue_free(struct page_queue *q);

/* A request, in bytes of the block. What is taken already is dropped.
 * ERR_PROTOCOL: not aligned, of no sense, or too many at once. */
int page_queue_ask(struct page_queue *q, const char *idstr, uint64_t start,
                   uint64_t len, uint64_t now_ns, struct error *err) NODISCARD;

/* The pages from `first` to `end` of a known block go before the rest: they
 * came with the page asked for last. Replaces an earlier window. */
void page_queue_set_near(struct page_queue *q, uint32_t block, pgno_t first,
                         pgno_t end);

/* Until this is called only urgent units are handed out. */
void page_queue_release_background(struct page_queue *q);

/* Takes the next unit; turn NONE when there is none. */
int page_queue_next(struct page_queue *q, struct page_unit *ret,
                    struct error *err) NODISCARD;
/* Takes the request, if there is one, for a unit between these pages of a known
 * block, whoever came before it: they come out of one decompression. */
bool page_queue_next_among(struct page_queue *q, uint32_t block, pgno_t first,
                           pgno_t end, struct page_unit *ret);
/* Takes the unit of this page, for a page that was brought by others. False if
 * it was taken before. Known pages only. */
bool page_queue_take(struct page_queue *q, uint32_t block, pgno_t pgno,
                     enum page_turn turn, struct page_unit *ret);
/* Somebody waits: background work makes room. */
bool page_queue_has_urgent(const struct page_queue *q);
/* The background is through: every data page was handed out by some turn. */
bool page_queue_background_done(const struct page_queue *q);

/* Units with data that the linear pass has met, taken or not: when the
 * background is through, all there are but those withdrawn by next_data(). */
uint64_t page_queue_data_units(const struct page_queue *q);

/* Takes the unit of this page out of all turns: QEMU has it (a recovery), or
 * it can never be sent. False if it was taken before. Known pages only. */
bool page_queue_withdraw(struct page_queue *q, uint32_t block, pgno_t pgno);
/* Any thread: a look, that may be old when it is answered. Known pages only. */
bool page_queue_taken(const struct page_queue *q, uint32_t block, pgno_t pgno);
/* Pages of the guest in one host page of this block: 1 or 512. */
uint32_t page_queue_unit_pages(const struct page_queue *q, uint32_t block);

/* Name of a unit's block; lives as long as the queue. */
const char *page_queue_idstr(const struct page_queue *q, uint32_t block);

DEFINE_CLEANUP(page_queue, struct page_queue *, page_queue_free)

#endif

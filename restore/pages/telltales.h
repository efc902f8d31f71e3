/*
 * telltales.h - pages of the fill that are kept back for a while, to hear
 * whether the guest touches what lies around them.
 *
 * What is filled in before the guest touches it is never asked for, and so
 * would be missing among the hints of the next restore, however often it is
 * used. Of each 64 KiB of the guest one page, the *telltale*, waits here when
 * its neighbours are sent; if it is asked for, that page is a hint, and hints
 * are brought with what lies around them. There is room for so many: the oldest
 * go first, the rest when the fill is through.
 *
 * One thread; no allocation after init().
 */
#ifndef FIRN_RESTORE_PAGES_TELLTALES_H
#define FIRN_RESTORE_PAGES_TELLTALES_H

#include "core/base/error.h"
#include "restore/pages/stock_batch.h"

#define TELLTALE_PAGES 16u /* one of so many */

struct telltales {
    struct stock_page *pages; /* a ring */
    uint8_t *room;            /* of their bytes */
    size_t capacity;
    size_t first; /* the oldest */
    size_t n;
};

int telltales_init(struct telltales *t, size_t capacity,
                   struct error *err) NODISCARD;
void telltales_release(struct telltales *t);

/* Room that is left. */
static inline size_t telltales_left(const struct telltales *t)
{
    return t->capacity - t->n;
}

/* The last one of its kind: a guest that goes through these pages in order has
 * shown by then that it wants them. */
static inline bool is_telltale(pgno_t pgno)
{
    return pgno % TELLTALE_PAGES == TELLTALE_PAGES - 1;
}

/* Takes the telltales out of `n` pages that were read; there is room for all.
 * Returns how many pages stay, in their order. */
size_t telltales_take(struct telltales *t, struct stock_page *pages, size_t n);
/* Gives the oldest back, up to `max`, their bytes in `room`; how many. */
size_t telltales_give(struct telltales *t, struct stock_page *pages,
                      uint8_t *room, size_t max);

#endif

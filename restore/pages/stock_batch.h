/*
 * stock_batch.h - pages of one turn, read ahead: what the stock hands out.
 */
#ifndef FIRN_RESTORE_PAGES_STOCK_BATCH_H
#define FIRN_RESTORE_PAGES_STOCK_BATCH_H

#include "core/base/error.h"
#include "core/vm/page.h"
#include "restore/pages/page_queue.h"

struct stock_page {
    uint32_t block;
    pgno_t pgno;
    const uint8_t *data; /* NULL: zero, within a unit with content */
};

struct stock_batch {
    enum page_turn turn;
    const struct stock_page *pages; /* of huge units: one unit, whole */
    size_t n;
    struct error why; /* code not 0: this one unit cannot be had */
};

#endif

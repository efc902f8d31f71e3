/*
 * fault_order.h - which pages a guest wrote first, read off a background save.
 *
 * QEMU scans RAM in order, each page once. A page on which the guest faults
 * for write is sent ahead of its turn, and the scan goes on behind it. So a
 * page that is not the next one of the scan was written: directly after the
 * captured instant, which is what the guest will do directly after a restore.
 * Pure; one thread.
 */
#ifndef FIRN_SNAPSHOT_FAULT_ORDER_H
#define FIRN_SNAPSHOT_FAULT_ORDER_H

#include "core/base/bitmap.h"
#include "core/vm/ramblock.h"
#include "storage/hints.h"

/* 64 MiB of pages: the early ones are those that a restore waits for. */
#define FAULT_ORDER_MAX 16384u

struct fault_order {
    uint64_t *first; /* page of each block in `seen`, and the end */
    uint32_t n_blocks;
    struct bitmap seen;
    uint64_t next;     /* of the scan */
    struct hint *list; /* in the order of the faults */
    size_t n;
};

/* May be called anew with other blocks, after release. */
int fault_order_init(struct fault_order *o, const struct ramblock_list *blocks,
                     struct error *err) NODISCARD;
/* Frees it; an all-zero struct remains, and is taken as well. */
void fault_order_release(struct fault_order *o);

/* A page of the stream, in its order; block and page are in the list. */
void fault_order_page(struct fault_order *o, uint32_t block, pgno_t pgno);

#endif

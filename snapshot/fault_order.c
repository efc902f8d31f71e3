/*
 * fault_order.c - tells a scan from its interruptions.
 *
 * All pages of all blocks are one line of numbers. The scan's next page is the
 * first behind the last one sent that was not sent yet; QEMU leaves out what
 * went ahead, which is why the bitmap of all seen pages is needed and a counter
 * is not enough. Behind an interruption the scan is where the interrupting page
 * left it: `next` follows each page, so a guest that writes pages in a row
 * counts as one interruption and the pages behind it as scan. Such pages are
 * near anyway, and a restore brings neighbours by itself.
 */
#include "snapshot/fault_order.h"

int fault_order_init(struct fault_order *o, const struct ramblock_list *blocks,
                     struct error *err)
{
    int rc;

    *o = (struct fault_order){0};
    o->first = calloc((size_t)blocks->n + 1, sizeof(*o->first));
    o->list = calloc(FAULT_ORDER_MAX, sizeof(*o->list));
    if (!o->first || !o->list) {
        fault_order_release(o);
        return fail_nomem(err);
    }
    o->n_blocks = blocks->n;
    for (uint32_t i = 0; i < blocks->n; i++)
        o->first[i + 1] = o->first[i] + ramblock_pages(&blocks->blocks[i]);
    rc = bitmap_init(&o->seen, o->first[blocks->n], err);
    if (rc < 0)
        fault_order_release(o);
    return rc;
}

void fault_order_release(struct fault_order *o)
{
    bitmap_release(&o->seen);
    free(o->first);
    free(o->list);
    *o = (struct fault_order){0};
}

/* The scan leaves out what was sent, and begins anew at the end. */
static uint64_t next_of_scan(const struct fault_order *o)
{
    uint64_t next = bitmap_next_clear(&o->seen, o->next);

    return next < o->seen.n_bits ? next : bitmap_next_clear(&o->seen, 0);
}

void fault_order_page(struct fault_order *o, uint32_t block, pgno_t pgno)
{
    uint64_t page;

    if (o->n == FAULT_ORDER_MAX || block >= o->n_blocks ||
        pgno >= o->first[block + 1] - o->first[block])
        return;
    page = o->first[block] + pgno;
    if (page != next_of_scan(o))
        o->list[o->n++] = (struct hint){.block = block, .pgno = pgno};
    bitmap_set(&o->seen, page);
    o->next = page + 1;
}

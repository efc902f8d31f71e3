/*
 * ramblock.h - the list of a machine's RAM blocks, in the stream's order.
 *
 * A block is known by its idstr alone ("pc.ram", "/rom@etc/acpi/tables"). Plain
 * data that others fill; the caller owns the list. Not for threads while it
 * grows, any thread afterwards.
 */
#ifndef FIRN_CORE_VM_RAMBLOCK_H
#define FIRN_CORE_VM_RAMBLOCK_H

#include "core/base/error.h"
#include "core/vm/page.h"

#define RAMBLOCK_MAX       4096u /* more blocks than this are refused */
#define RAMBLOCK_NOT_FOUND UINT32_MAX

/* All blocks together; what allocates by a list's size is bounded by it. */
#define RAMBLOCK_MAX_BYTES (UINT64_C(64) << 40)

struct ramblock {
    char idstr[256];
    uint64_t used_bytes;      /* a multiple of PAGE_BYTES */
    uint64_t host_page_bytes; /* 4096 unless the stream says otherwise */
    bool left_out;            /* x-ignore-shared: listed, content elsewhere */
};

struct ramblock_list {
    struct ramblock *blocks;
    uint32_t n;
};

/* Frees the array, and leaves an empty list. */
void ramblock_list_release(struct ramblock_list *l);

/* ERR_PROTOCOL: name taken or empty, length no multiple of a page, too many
 * blocks, too many bytes. */
int ramblock_list_add(struct ramblock_list *l, const struct ramblock *block,
                      struct error *err) NODISCARD;

/* Index of the block called `idstr`, or RAMBLOCK_NOT_FOUND. */
uint32_t ramblock_list_find(const struct ramblock_list *l, const char *idstr);

/* All blocks together, those that were left out included. */
uint64_t ramblock_list_total_bytes(const struct ramblock_list *l);

static inline pgno_t ramblock_pages(const struct ramblock *b)
{
    return b->used_bytes / PAGE_BYTES;
}

#endif

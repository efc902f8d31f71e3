/*
 * ramblock.c - a list that refuses what no machine has.
 *
 * A list comes from a stream, a manifest or a VM's answer, and all that is
 * allocated per page follows from it. So each block is judged as it is added:
 * its name is new, its length is whole pages, and all of them together stay
 * below RAMBLOCK_MAX_BYTES, before anybody multiplies or allocates by these
 * numbers.
 */
#include "core/vm/ramblock.h"

#include <string.h>

#include "core/base/bytes.h"

void ramblock_list_release(struct ramblock_list *l)
{
    free(l->blocks);
    *l = (struct ramblock_list){0};
}

static int check_block(const struct ramblock_list *l, const struct ramblock *b,
                       struct error *err)
{
    if (l->n >= RAMBLOCK_MAX)
        return fail(err, ERR_PROTOCOL, "more than %u RAM blocks", RAMBLOCK_MAX);
    if (b->idstr[0] == '\0')
        return fail(err, ERR_PROTOCOL, "RAM block %u has no name", l->n);
    if (ramblock_list_find(l, b->idstr) != RAMBLOCK_NOT_FOUND)
        return fail(err, ERR_PROTOCOL, "RAM block '%s' is listed twice",
                    b->idstr);
    if (!is_aligned(b->used_bytes, PAGE_BYTES))
        return fail(err, ERR_PROTOCOL,
                    "length 0x%lx of RAM block '%s' is no multiple of a page",
                    b->used_bytes, b->idstr);
    if (b->used_bytes > RAMBLOCK_MAX_BYTES - ramblock_list_total_bytes(l))
        return fail(err, ERR_PROTOCOL,
                    "RAM block '%s' of 0x%lx bytes makes RAM larger than %lu "
                    "TiB",
                    b->idstr, b->used_bytes, RAMBLOCK_MAX_BYTES >> 40);
    return 0;
}

int ramblock_list_add(struct ramblock_list *l, const struct ramblock *block,
                      struct error *err)
{
    struct ramblock *grown;
    int rc = check_block(l, block, err);

    if (rc < 0)
        return rc;
    /* Room doubles at each power of two: 0, 1, 2, 4, ... blocks. */
    if ((l->n & (l->n - 1)) == 0) {
        grown = realloc(l->blocks, (l->n ? 2u * l->n : 1u) * sizeof(*grown));
        if (!grown)
            return fail_nomem(err);
        l->blocks = grown;
    }
    l->blocks[l->n++] = *block;
    return 0;
}

uint32_t ramblock_list_find(const struct ramblock_list *l, const char *idstr)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (strcmp(l->blocks[i].idstr, idstr) == 0)
            return i;
    }
    return RAMBLOCK_NOT_FOUND;
}

uint64_t ramblock_list_total_bytes(const struct ramblock_list *l)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < l->n; i++)
        total += l->blocks[i].used_bytes;
    return total;
}

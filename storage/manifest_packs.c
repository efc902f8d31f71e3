/*
 * manifest_packs.c - table `pack`, and the number of a pack by its id.
 *
 * Rows must come with the numbers 0, 1, 2, ...: segments refer to packs by
 * them, and a gap would shift every place behind it. No pack is listed twice,
 * no count exceeds what a pack may hold; so that readers index by these numbers
 * without asking again.
 */
#include "storage/manifest_inside.h"

#define MAX_PACK_BYTES (UINT64_C(1) << 40)

static int read_pack(struct manifest *m, struct sql_row *row,
                     struct manifest_pack *ret, struct error *err)
{
    uint32_t kind = 0;
    int rc = sql_column_text(row, 1, ret->id, sizeof(ret->id), err);

    if (rc == 0 && !layout_is_id(ret->id, PACK_ID_LEN))
        rc = manifest_bad(m, "a pack's id is none", err);
    if (rc == 0)
        rc = manifest_column_u32(row, 2, PACK_INDEX, &kind, err);
    if (rc == 0 && kind != PACK_PAGES && kind != PACK_INDEX)
        rc = manifest_bad(m, "a pack's kind is not known", err);
    if (rc == 0)
        rc = sql_column_uint(row, 3, MAX_PACK_BYTES, &ret->bytes, err);
    if (rc == 0)
        rc = manifest_column_u32(row, 4, UINT32_MAX, &ret->items, err);
    if (rc == 0)
        rc = manifest_column_u32(row, 5, ret->items, &ret->used, err);
    ret->kind = kind == PACK_INDEX ? PACK_INDEX : PACK_PAGES;
    return rc;
}

/* Room comes in powers of two, so it is full when n is one. */
static int reserve_pack(struct manifest *m, struct error *err)
{
    uint32_t n = m->pack_ids.n;
    struct manifest_pack *packs;

    if (n >= MANIFEST_MAX_PACKS)
        return manifest_bad(m, "it refers to too many packs", err);
    if (n & (n - 1))
        return 0;
    packs = realloc(m->packs, (n ? (size_t)n * 2 : 1) * sizeof(*packs));
    if (!packs)
        return fail_nomem(err);
    m->packs = packs;
    return 0;
}

int manifest_load_pack(struct manifest *m, struct sql_row *row,
                       struct error *err)
{
    uint8_t id[LAYOUT_PACK_ID_BYTES];
    uint64_t number;
    uint32_t added = m->pack_ids.n;
    struct manifest_pack *pack;
    int rc = sql_column_uint(row, 0, MANIFEST_MAX_PACKS, &number, err);

    if (rc == 0 && number != m->pack_ids.n)
        rc = manifest_bad(m, "a pack's row is missing", err);
    if (rc == 0)
        rc = reserve_pack(m, err);
    if (rc < 0)
        return rc;
    pack = &m->packs[number];
    *pack = (struct manifest_pack){0};
    rc = read_pack(m, row, pack, err);
    if (rc < 0)
        return rc;
    if (!layout_id_bytes(pack->id, id, sizeof(id)))
        return manifest_bad(m, "a pack's id is none", err);
    rc = pack_set_add(&m->pack_ids, id, &added, err);
    if (rc == 0 && added != number)
        rc = manifest_bad(m, "a pack is listed twice", err);
    return rc;
}

const struct manifest_pack *manifest_packs(const struct manifest *m,
                                           uint32_t *ret_n)
{
    *ret_n = m->pack_ids.n;
    return m->packs;
}

uint32_t manifest_pack_number(const struct manifest *m,
                              const uint8_t id[static LAYOUT_PACK_ID_BYTES])
{
    return pack_set_find(&m->pack_ids, id);
}

int manifest_add_packs(const struct manifest *m, struct pack_set *add,
                       struct error *err)
{
    uint32_t number;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < m->pack_ids.n; i++)
        rc = pack_set_add(add, m->pack_ids.ids[i], &number, err);
    return rc;
}

/*
 * pack_set.c - open addressing by the first bytes of the id, which is random
 * already: no further hashing. At most half of the slots are taken.
 */
#include "storage/pack_set.h"

#include "core/base/bytes.h"

#define FIRST_CAP 32u

void pack_set_release(struct pack_set *s)
{
    free(s->ids);
    free(s->slots);
    *s = (struct pack_set){0};
}

/* The slot of `id`, or the empty one where it belongs. */
static uint32_t slot_of(const struct pack_set *s, const uint8_t *id)
{
    uint32_t at = load_le32(id) & (s->n_slots - 1);

    while (s->slots[at] &&
           memcmp(s->ids[s->slots[at] - 1], id, LAYOUT_PACK_ID_BYTES) != 0)
        at = (at + 1) & (s->n_slots - 1);
    return at;
}

static int grow(struct pack_set *s, struct error *err)
{
    uint32_t cap = s->cap ? s->cap * 2 : FIRST_CAP;
    void *ids = realloc(s->ids, (size_t)cap * LAYOUT_PACK_ID_BYTES);
    uint32_t *slots;

    if (!ids)
        return fail_nomem(err);
    s->ids = ids;
    slots = calloc((size_t)cap * 2, sizeof(*slots));
    if (!slots)
        return fail_nomem(err);
    free(s->slots);
    s->slots = slots;
    s->n_slots = cap * 2;
    s->cap = cap;
    for (uint32_t i = 0; i < s->n; i++)
        s->slots[slot_of(s, s->ids[i])] = i + 1;
    return 0;
}

int pack_set_add(struct pack_set *s,
                 const uint8_t id[static LAYOUT_PACK_ID_BYTES],
                 uint32_t *ret_number, struct error *err)
{
    uint32_t at;
    int rc;

    if (s->n == s->cap) {
        if (s->cap > UINT32_MAX / 8)
            return fail(err, ERR_INVALID, "too many packs");
        rc = grow(s, err);
        if (rc < 0)
            return rc;
    }
    at = slot_of(s, id);
    if (!s->slots[at]) {
        memcpy(s->ids[s->n], id, LAYOUT_PACK_ID_BYTES);
        s->slots[at] = ++s->n;
    }
    *ret_number = s->slots[at] - 1;
    return 0;
}

uint32_t pack_set_find(const struct pack_set *s,
                       const uint8_t id[static LAYOUT_PACK_ID_BYTES])
{
    uint32_t at;

    if (s->n == 0)
        return PACK_SET_NONE;
    at = slot_of(s, id);
    return s->slots[at] ? s->slots[at] - 1 : PACK_SET_NONE;
}

uint32_t pack_set_find_text(const struct pack_set *s, const char *id)
{
    uint8_t bytes[LAYOUT_PACK_ID_BYTES];

    if (!layout_id_bytes(id, bytes, sizeof(bytes)))
        return PACK_SET_NONE;
    return pack_set_find(s, bytes);
}

/*
 * pack_set.h - a set of pack ids, each with a number: 0, 1, 2, ... as added.
 *
 * The caller owns the struct; all zero is a valid empty set. Not for threads.
 */
#ifndef FIRN_STORAGE_PACK_SET_H
#define FIRN_STORAGE_PACK_SET_H

#include "core/base/cleanup.h"
#include "core/base/error.h"
#include "storage/layout.h"

#define PACK_SET_NONE UINT32_MAX

struct pack_set {
    uint8_t (*ids)[LAYOUT_PACK_ID_BYTES];
    uint32_t n;
    uint32_t cap;
    uint32_t *slots; /* number + 1, 0 for empty; open addressing */
    uint32_t n_slots;
};

/* Frees it; an empty set remains. */
void pack_set_release(struct pack_set *s);

/* The number of `id`, new or old. */
int pack_set_add(struct pack_set *s,
                 const uint8_t id[static LAYOUT_PACK_ID_BYTES],
                 uint32_t *ret_number, struct error *err) NODISCARD;
/* PACK_SET_NONE when it is not in the set. */
uint32_t pack_set_find(const struct pack_set *s,
                       const uint8_t id[static LAYOUT_PACK_ID_BYTES]);
/* The same with 32 hex digits; what is no id is not in the set. */
uint32_t pack_set_find_text(const struct pack_set *s, const char *id);

static inline UNUSED void cleanup_pack_set_fn(struct pack_set *s)
{
    pack_set_release(s);
}

#endif

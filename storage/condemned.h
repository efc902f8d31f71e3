/*
 * condemned.h - packs that are to be removed once nobody can use them. No door.
 *
 * A file in condemned/ (JSON): the packs, and the holders of all leases that
 * were there when they were condemned. Who takes a lease later sees the file
 * and does not start to use these packs; when the last of the holders is gone,
 * and still no snapshot refers to a pack, it may go. See docs/format.md.
 */
#ifndef FIRN_STORAGE_CONDEMNED_H
#define FIRN_STORAGE_CONDEMNED_H

#include "core/base/json.h"
#include "storage/pack_set.h"
#include "storage/repository.h"

struct condemned {
    char id[LAYOUT_LOCK_ID_LEN + 1];
    json_t *packs;   /* array of ids; owned */
    json_t *holders; /* array; NULL: not asked for yet; owned */
};

struct condemned_list {
    struct condemned *all;
    size_t n;
};

/* One that is damaged has no packs, which is safe: they are condemned anew. */
int condemned_list_read(struct repository *r, struct condemned_list *ret,
                        struct error *err) NODISCARD;
/* Frees all of them; an empty list remains. */
void condemned_list_release(struct condemned_list *l);
/* The ids of all of them. */
int condemned_list_packs(const struct condemned_list *l, struct pack_set *add,
                         struct error *err) NODISCARD;

/* Writes one; `c->id` is filled in, and what it was before is removed when the
 * new file is in place. Synced. */
int condemned_write(struct repository *r, struct condemned *c,
                    struct error *err) NODISCARD;
/* One that is gone already is no error. */
int condemned_remove(struct repository *r, const char *id,
                     struct error *err) NODISCARD;
/* Frees what it owns, not the struct. */
void condemned_release(struct condemned *c);

/* The file's bytes. Pure. ERR_CORRUPT. */
int condemned_parse(const void *text, size_t len, struct condemned *ret,
                    struct error *err) NODISCARD;
/* With the time of now, for people. ERR_NOMEM. */
int condemned_print(const struct condemned *c, struct buf *ret,
                    struct error *err) NODISCARD;

static inline UNUSED void cleanup_condemned_list_fn(struct condemned_list *l)
{
    condemned_list_release(l);
}

#endif

/*
 * snapshot_object.c - a manifest's database, changed in a copy.
 *
 * Used when pages move to other packs (prune's rewriting). Only the places may
 * change, so the copy is made of the database's own bytes and two tables are
 * written anew; a column that this version does not know goes over as it is.
 * Which items of a pack are used is a bitmap: pages of many segments may name
 * the same item, and the table counts each once.
 *
 * That every segment was moved is counted and checked at the end, since a row
 * that was forgotten would silently point into another pack.
 */
#include "storage/snapshot_object.h"

#include "core/base/bitmap.h"
#include "storage/index/sql.h"

struct used_pack {
    struct manifest_pack pack;
    struct bitmap items;
};

struct snapshot_object {
    char id[SNAPSHOT_ID_LEN + 1];
    struct sql *sql;
    struct pack_set ids; /* numbers as in table `pack` */
    struct used_pack *packs;
    uint64_t n_moved;
};

int snapshot_object_new(const struct manifest *m, struct snapshot_object **ret,
                        struct error *err)
{
    cleanup(snapshot_object) struct snapshot_object *o = calloc(1, sizeof(*o));
    const void *image;
    size_t len;
    int rc;

    if (!o)
        return fail_nomem(err);
    memcpy(o->id, manifest_summary(m)->id, sizeof(o->id));
    image = manifest_image(m, &len);
    rc = sql_open_copy("snapshot written again", image, len, &o->sql, err);
    if (rc == 0)
        rc = sql_begin(o->sql, err);
    if (rc == 0)
        rc = sql_run(o->sql, SQL_MANIFEST_DROP_PACKS, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&o);
    return 0;
}

void snapshot_object_free(struct snapshot_object *o)
{
    if (!o)
        return;
    sql_close(o->sql);
    for (uint32_t i = 0; o->packs && i < o->ids.n; i++)
        bitmap_release(&o->packs[i].items);
    free(o->packs);
    pack_set_release(&o->ids);
    free(o);
}

/* The row of a pack, new or old. */
static int number_of(struct snapshot_object *o,
                     const struct manifest_pack *pack, uint32_t *ret,
                     struct error *err)
{
    uint8_t id[LAYOUT_PACK_ID_BYTES];
    uint32_t n = o->ids.n;
    void *packs;
    int rc;

    if (!layout_id_bytes(pack->id, id, sizeof(id)))
        return fail(err, ERR_INVALID, "'%.32s' is no pack", pack->id);
    *ret = pack_set_find(&o->ids, id);
    if (*ret != PACK_SET_NONE)
        return 0;
    /* Room comes in powers of two, so it is full when n is one. */
    if (!(n & (n - 1))) {
        packs = realloc(o->packs, (n ? (size_t)n * 2 : 1) * sizeof(*o->packs));
        if (!packs)
            return fail_nomem(err);
        o->packs = packs;
    }
    o->packs[n] = (struct used_pack){.pack = *pack};
    rc = bitmap_init(&o->packs[n].items, MAX(pack->items, 1u), err);
    if (rc < 0)
        return rc;
    rc = pack_set_add(&o->ids, id, ret, err);
    if (rc < 0)
        bitmap_release(&o->packs[n].items);
    return rc;
}

int snapshot_object_use(struct snapshot_object *o,
                        const struct manifest_pack *pack, uint32_t item,
                        uint32_t count, struct error *err)
{
    uint32_t number;
    int rc = number_of(o, pack, &number, err);

    if (rc < 0)
        return rc;
    if ((uint64_t)item + count > pack->items)
        return fail(err, ERR_CORRUPT, "pack '%s' has no item %u", pack->id,
                    item + count - 1);
    bitmap_set_range(&o->packs[number].items, item, count);
    return 0;
}

int snapshot_object_move(struct snapshot_object *o, uint32_t block,
                         const struct manifest_segment *segment,
                         const struct manifest_pack *in, struct error *err)
{
    struct sql_row *row;
    uint32_t number;
    int rc = snapshot_object_use(o, in, segment->item, 1, err);

    if (rc == 0)
        rc = number_of(o, in, &number, err);
    if (rc == 0)
        rc = sql_prepare(o->sql, SQL_MANIFEST_MOVE_SEGMENT, &row, err);
    if (rc < 0)
        return rc;
    sql_bind_int(row, 1, block);
    sql_bind_int(row, 2, (int64_t)segment->segno);
    sql_bind_int(row, 3, number);
    sql_bind_int(row, 4, segment->item);
    sql_bind_int(row, 5, (int64_t)segment->checksum);
    o->n_moved++;
    return sql_done(row, err);
}

static int add_pack(struct snapshot_object *o, uint32_t number,
                    struct error *err)
{
    const struct used_pack *p = &o->packs[number];
    struct sql_row *row;
    int rc = sql_prepare(o->sql, SQL_MANIFEST_ADD_PACK, &row, err);

    if (rc < 0)
        return rc;
    sql_bind_int(row, 1, number);
    sql_bind_text(row, 2, p->pack.id);
    sql_bind_int(row, 3, p->pack.kind);
    sql_bind_int(row, 4, (int64_t)p->pack.bytes);
    sql_bind_int(row, 5, p->pack.items);
    sql_bind_int(row, 6, (int64_t)p->items.n_set);
    return sql_done(row, err);
}

/* A segment that was not moved would point into a pack of another number. */
static int check_all_moved(struct snapshot_object *o, struct error *err)
{
    struct sql_row *row;
    uint64_t n = 0;
    bool found;
    int rc = sql_prepare(o->sql, SQL_MANIFEST_SEGMENT_COUNT, &row, err);

    if (rc == 0)
        rc = sql_step(row, &found, err);
    if (rc == 0 && found)
        rc = sql_column_uint(row, 0, INT64_MAX, &n, err);
    if (rc == 0)
        rc = sql_done(row, err);
    if (rc == 0 && n != o->n_moved)
        rc = fail(err, ERR_CORRUPT, "%llu segments were moved, not %llu",
                  (unsigned long long)o->n_moved, (unsigned long long)n);
    return rc;
}

int snapshot_object_finish(struct snapshot_object *o, struct buf *ret,
                           struct error *err)
{
    int rc = check_all_moved(o, err);

    for (uint32_t i = 0; rc == 0 && i < o->ids.n; i++)
        rc = add_pack(o, i, err);
    if (rc == 0)
        rc = sql_commit(o->sql, err);
    if (rc == 0)
        rc = sql_serialize(o->sql, ret, err);
    return rc < 0 ? rc : manifest_file_seal(o->id, ret, err);
}

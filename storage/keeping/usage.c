/*
 * usage.c - rows, then segments, then frames.
 *
 * First the rows of all snapshots tell who refers to which segment; then each
 * distinct segment is decoded once, and its pages get its owners; then the
 * frame tables turn pages into bytes. So the work grows with what is stored,
 * and only by a few comparisons a row with the number of snapshots.
 */
#include "storage/keeping/usage.h"

#include "storage/index/segment.h"
#include "storage/keeping/usage_inside.h"
#include "storage/packs/pack_reader.h"
#include "storage/repository_inside.h"

/* What an item and a frame cost in a pack's tables. */
#define TABLE_ENTRY_BYTES 16u

struct reading {
    struct usage *u;
    struct stopper *stop;
    /* the manifest at hand: its packs' numbers in the usage */
    uint32_t *numbers;
    /* scratch */
    struct frame_codec *codec;
    struct buf blob;
    struct segment segment;
};

void usage_free(struct usage *u)
{
    if (!u)
        return;
    for (uint32_t i = 0; i < u->ids.n && u->packs; i++)
        free(u->packs[i].owners);
    free(u->packs);
    free(u->snapshots);
    pack_set_release(&u->ids);
    free(u);
}

const struct snapshot_usage *usage_at(const struct usage *u, size_t i)
{
    return i < u->n_snapshots ? &u->snapshots[i].sizes : NULL;
}

const struct snapshot_usage *usage_of(const struct usage *u, const char *id)
{
    for (uint32_t i = 0; i < u->n_snapshots; i++) {
        if (strcmp(u->snapshots[i].sizes.id, id) == 0)
            return &u->snapshots[i].sizes;
    }
    return NULL;
}

static int check_stop(const struct reading *r, struct error *err)
{
    if (r->stop && stopper_pulled(r->stop))
        return stopper_error(r->stop, err);
    return 0;
}

static int open_pack(struct usage *u, const struct manifest_pack *pack,
                     struct pack_reader **ret, struct error *err)
{
    int rc = pack_reader_open(repository_packs_dirfd(u->repository), pack->id,
                              pack->kind, ret, err);

    if (rc == ERR_NOTFOUND)
        return fail(err, ERR_CORRUPT, "pack '%s' is missing", pack->id);
    if (rc < 0)
        return rc;
    if (pack_reader_n_items(*ret) == pack->items &&
        pack_reader_bytes(*ret) == pack->bytes)
        return 0;
    pack_reader_close(steal_ptr(ret));
    return fail(err, ERR_CORRUPT,
                "pack '%s' is not the one that a snapshot refers to", pack->id);
}

/* The pack's own tables say how many items it has: a manifest may lie. */
static int add_new_pack(struct usage *u, uint32_t number,
                        const struct manifest_pack *pack, struct error *err)
{
    cleanup(pack_reader) struct pack_reader *reader = NULL;
    struct usage_pack *p = &u->packs[number];
    int rc;

    *p = (struct usage_pack){.pack = *pack};
    rc = open_pack(u, pack, &reader, err);
    if (rc < 0)
        return rc;
    p->owners = calloc(MAX(pack->items, 1u), sizeof(*p->owners));
    return p->owners ? 0 : fail_nomem(err);
}

/* Room comes in powers of two, so it is full when n is one. */
static int reserve_pack(struct usage *u, struct error *err)
{
    size_t n = u->ids.n, room = n ? n * 2 : 1;
    void *packs;

    if (n & (n - 1))
        return 0;
    packs = realloc(u->packs, room * sizeof(*u->packs));
    if (!packs)
        return fail_nomem(err);
    u->packs = packs;
    return 0;
}

static int add_pack(struct usage *u, const struct manifest_pack *pack,
                    uint32_t *ret_number, struct error *err)
{
    uint8_t bytes[LAYOUT_PACK_ID_BYTES];
    uint32_t n = u->ids.n;
    int rc = reserve_pack(u, err);

    if (rc < 0)
        return rc;
    if (!layout_id_bytes(pack->id, bytes, sizeof(bytes)))
        return fail(err, ERR_CORRUPT, "'%.32s' is no pack", pack->id);
    rc = pack_set_add(&u->ids, bytes, ret_number, err);
    if (rc < 0)
        return rc;
    if (u->ids.n > n)
        return add_new_pack(u, *ret_number, pack, err);
    if (u->packs[*ret_number].pack.items != pack->items ||
        u->packs[*ret_number].pack.kind != pack->kind)
        return fail(err, ERR_CORRUPT,
                    "two snapshots describe pack '%s' in two ways", pack->id);
    return 0;
}

int usage_add(struct usage *u, const struct manifest_pack *pack,
              struct error *err)
{
    uint8_t bytes[LAYOUT_PACK_ID_BYTES];
    uint32_t number;
    int rc = reserve_pack(u, err);

    if (rc < 0)
        return rc;
    if (!layout_id_bytes(pack->id, bytes, sizeof(bytes)))
        return fail(err, ERR_INVALID, "'%.32s' is no pack", pack->id);
    rc = pack_set_add(&u->ids, bytes, &number, err);
    if (rc == 0)
        u->packs[number] =
            (struct usage_pack){.pack = *pack, .live = pack->items};
    return rc;
}

static int add_packs(struct reading *r, const struct manifest *m,
                     struct usage_snapshot *s, struct error *err)
{
    uint32_t n;
    const struct manifest_pack *packs = manifest_packs(m, &n);
    int rc = 0;

    free(r->numbers);
    r->numbers = calloc(n + 1, sizeof(*r->numbers));
    if (!r->numbers)
        return fail_nomem(err);
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        rc = add_pack(r->u, &packs[i], &r->numbers[i], err);
        if (packs[i].items > 0)
            s->share_bytes += packs[i].bytes * packs[i].used / packs[i].items;
    }
    return rc;
}

static int give(struct usage_pack *p, uint32_t item, uint32_t owner,
                struct error *err)
{
    uint32_t *at;

    if (item >= p->pack.items)
        return fail(err, ERR_CORRUPT, "pack '%s' has no item %u", p->pack.id,
                    item);
    at = &p->owners[item];
    if (*at == USAGE_NOBODY) {
        *at = owner;
        p->live++;
    } else if (*at != owner) {
        *at = USAGE_MANY;
    }
    return 0;
}

static int give_row(void *arg, uint32_t block,
                    const struct manifest_segment *row, struct error *err)
{
    struct reading *r = arg;

    return give(&r->u->packs[r->numbers[row->pack]], row->item,
                r->u->n_snapshots, err);
}

static int add_snapshot(void *arg, const char *id, struct error *err)
{
    struct reading *r = arg;
    struct usage *u = r->u;
    cleanup(manifest) struct manifest *m = NULL;
    struct usage_snapshot *s;
    int rc = check_stop(r, err);

    if (rc < 0)
        return rc;
    rc = manifest_open(repository_snapshots_dirfd(u->repository), id, &m, err);
    if (rc < 0)
        return rc == ERR_NOTFOUND ? 0 : rc;
    if (!(u->n_snapshots & (u->n_snapshots - 1))) {
        size_t room = u->n_snapshots ? (size_t)u->n_snapshots * 2 : 1;
        void *all = realloc(u->snapshots, room * sizeof(*u->snapshots));

        if (!all)
            return fail_nomem(err);
        u->snapshots = all;
    }
    s = &u->snapshots[u->n_snapshots++];
    *s = (struct usage_snapshot){.time_ns = manifest_summary(m)->time_ns};
    memcpy(s->sizes.id, id, sizeof(s->sizes.id));
    s->share_bytes = manifest_object_bytes(m);
    s->sizes.unique_bytes = manifest_object_bytes(m);
    rc = add_packs(r, m, s, err);
    if (rc == 0)
        rc = manifest_walk(m, give_row, r, err);
    return rc < 0 ? error_wrap(err, "snapshot '%s'", id) : 0;
}

/* The pages of one segment get the owner of the segment. */
static int give_pages(struct reading *r, uint32_t owner, struct error *err)
{
    const struct segment *s = &r->segment;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < s->n_runs; i++) {
        const struct segment_run *run = &s->runs[i];
        uint32_t number = pack_set_find(&r->u->ids, s->packs[run->pack]);

        if (number == PACK_SET_NONE)
            return fail(err, ERR_CORRUPT,
                        "a segment refers to a pack that its snapshot does "
                        "not list");
        for (uint32_t j = 0; rc == 0 && j < run->count; j++)
            rc = give(&r->u->packs[number], run->item + j, owner, err);
    }
    return rc;
}

static int read_segment(struct reading *r, struct pack_reader *reader,
                        uint32_t item, struct error *err)
{
    struct pack_place at;
    int rc = pack_reader_place(reader, item, &at, err);

    buf_reset(&r->blob);
    if (rc == 0)
        rc = buf_reserve(&r->blob, at.raw_bytes, err);
    if (rc == 0)
        rc = pack_reader_frame(reader, at.frame, r->codec, r->blob.data, err);
    return rc < 0
               ? rc
               : segment_decode(r->blob.data, at.raw_bytes, &r->segment, err);
}

static int read_index(struct reading *r, const struct usage_pack *p,
                      struct error *err)
{
    cleanup(pack_reader) struct pack_reader *reader = NULL;
    int rc = open_pack(r->u, &p->pack, &reader, err);

    for (uint32_t i = 0; rc == 0 && i < p->pack.items; i++) {
        if (p->owners[i] == USAGE_NOBODY)
            continue;
        rc = check_stop(r, err);
        if (rc == 0)
            rc = read_segment(r, reader, i, err);
        if (rc == 0)
            rc = give_pages(r, p->owners[i], err);
    }
    return rc < 0 ? error_wrap(err, "index pack '%s'", p->pack.id) : 0;
}

/* The only owner of the live items from `first` to `end`, or MANY, or NOBODY.
 */
static uint32_t owner_of(const struct usage_pack *p, uint32_t first,
                         uint32_t end)
{
    uint32_t owner = USAGE_NOBODY;

    for (uint32_t i = first; i < end; i++) {
        if (owner == USAGE_NOBODY)
            owner = p->owners[i];
        else if (p->owners[i] != USAGE_NOBODY && p->owners[i] != owner)
            return USAGE_MANY;
    }
    return owner;
}

static int count_frames(struct reading *r, const struct usage_pack *p,
                        struct error *err)
{
    cleanup(pack_reader) struct pack_reader *reader = NULL;
    int rc = open_pack(r->u, &p->pack, &reader, err);
    uint32_t n = rc == 0 ? pack_reader_n_frames(reader) : 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t first = pack_reader_frame_first_item(reader, i);
        uint32_t end = i + 1 < n ? pack_reader_frame_first_item(reader, i + 1)
                                 : p->pack.items;
        uint32_t owner = owner_of(p, first, end);

        if (owner == USAGE_NOBODY || owner == USAGE_MANY)
            continue;
        r->u->snapshots[owner - 1].sizes.unique_bytes +=
            pack_reader_frame_stored_bytes(reader, i) + TABLE_ENTRY_BYTES +
            (uint64_t)(end - first) * TABLE_ENTRY_BYTES;
    }
    return rc;
}

static int read_all(struct reading *r, struct error *err)
{
    struct usage *u = r->u;
    struct object_folder folder =
        layout_snapshots(repository_snapshots_dirfd(u->repository));
    int rc = frame_codec_new(0, &r->codec, err);

    if (rc == 0)
        rc = object_list(&folder, add_snapshot, r, err);
    for (uint32_t i = 0; rc == 0 && i < u->ids.n; i++) {
        if (u->packs[i].pack.kind == PACK_INDEX)
            rc = read_index(r, &u->packs[i], err);
    }
    for (uint32_t i = 0; rc == 0 && i < u->ids.n; i++)
        rc = count_frames(r, &u->packs[i], err);
    for (uint32_t i = 0; i < u->n_snapshots; i++) {
        struct usage_snapshot *s = &u->snapshots[i];

        if (s->share_bytes > s->sizes.unique_bytes)
            s->sizes.shared_bytes = s->share_bytes - s->sizes.unique_bytes;
    }
    return rc;
}

int usage_read(struct repository *r, struct stopper *stop, struct usage **ret,
               struct error *err)
{
    cleanup(usage) struct usage *u = calloc(1, sizeof(*u));
    struct reading *reading = calloc(1, sizeof(*reading));
    int rc = u && reading ? 0 : fail_nomem(err);

    if (rc == 0) {
        u->repository = r;
        reading->u = u;
        reading->stop = stop;
        rc = read_all(reading, err);
        frame_codec_free(reading->codec);
        buf_release(&reading->blob);
        free(reading->numbers);
    }
    free(reading);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&u);
    return 0;
}

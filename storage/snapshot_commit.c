/*
 * snapshot_commit.c - from pages in unnamed packs to a snapshot, or nothing.
 *
 * In this order:
 *   1. the lanes' packs are sealed: synced, read back, compared; those that are
 *      mostly dead are written again (snapshot_repack.c), and what lies too far
 *      apart is stored together (snapshot_rejoin.c);
 *   2. the page map is turned into index segments; those that an earlier
 *      snapshot stored are referred to, new ones go to an index pack, sealed;
 *   3. the snapshot object is built in memory, written to an unnamed file and
 *      synced;
 *   4. the lease names the packs that are about to be linked, so that our
 *      sudden death from here on leaves nothing that the next open would not
 *      remove;
 *   5. every pack of others that is referred to must be there still;
 *   6. the new packs are linked, their folders synced; if asked for, all their
 *      data is read and compared with its hashes;
 *   7. the snapshot object is linked and its folder synced: THE commit;
 *   8. the lease goes.
 * A failure before the end of 7 takes the linked packs away again; where the
 * disk refuses that, the lease stays and the next open does it. A pack in which
 * every page was superseded is not linked at all.
 *
 * Counting: an *item* is content in a pack. What a capture wrote and no page
 * refers to at the end is superseded; pages with content beyond one for each
 * live new item are duplicates. So
 *   total = zero + unseen + duplicate + stored - superseded.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "core/base/bitmap.h"
#include "core/base/path.h"
#include "storage/manifest_builder.h"
#include "storage/repository_inside.h"
#include "storage/snapshot_cost.h"
#include "storage/snapshot_writer_inside.h"
#include "storage/verify_pack.h"

#define NO_NUMBER UINT32_MAX

struct pack_use {
    struct bitmap live; /* items referred to; no words while there are none */
    uint32_t number;    /* in the manifest, or NO_NUMBER */
    bool linked;
};

struct commit {
    struct snapshot_writer *w;
    const struct snapshot_record *record;
    struct manifest_builder *builder;
    struct snapshot_summary summary;
    struct pack_use *uses; /* one for each pack of the writer */
    uint32_t n_uses;
    uint32_t n_numbers;
    uint64_t content_pages;
    /* The index pack being filled, its number in the table of the writer. */
    struct pack_writer *index;
    uint32_t index_pack;
    /* Scratch for one segment at a time. */
    struct segment segment;
    struct dedup_place places[SEGMENT_PAGES];
    struct buf blob;
    struct buf object;
};

static void commit_free(struct commit *c)
{
    if (!c)
        return;
    manifest_builder_free(c->builder);
    for (uint32_t i = 0; i < c->n_uses; i++)
        bitmap_release(&c->uses[i].live);
    free(c->uses);
    buf_release(&c->blob);
    buf_release(&c->object);
    free(c);
}

DEFINE_CLEANUP(commit, struct commit *, commit_free)

static void drop_pack(struct writer_pack *pack)
{
    pack_writer_free(pack->own);
    pack->own = NULL;
}

static int seal_lanes(struct snapshot_writer *w, struct error *err)
{
    int rc = 0;

    for (unsigned i = 0; i < w->n_lanes; i++) {
        for (unsigned k = 0; rc == 0 && k < LANE_PACKS; k++)
            rc = writer_seal_open(w, &w->lanes[i].open[k], err);
    }
    return rc;
}

/* The table of packs grew by an index pack: so does ours. */
static int grow_uses(struct commit *c, struct error *err)
{
    struct pack_use *uses =
        realloc(c->uses, MAX(c->w->n_packs, 1u) * sizeof(*uses));

    if (!uses)
        return fail_nomem(err);
    c->uses = uses;
    for (; c->n_uses < c->w->n_packs; c->n_uses++)
        uses[c->n_uses] = (struct pack_use){.number = NO_NUMBER};
    return 0;
}

static uint32_t number_of(struct commit *c, uint32_t pack)
{
    if (c->uses[pack].number == NO_NUMBER)
        c->uses[pack].number = c->n_numbers++;
    return c->uses[pack].number;
}

static int mark_live(struct commit *c, struct dedup_place place,
                     struct error *err)
{
    struct pack_use *use = &c->uses[place.pack];
    int rc = 0;

    /* An index pack grows while its items are marked. */
    if (place.item >= use->live.n_bits) {
        struct bitmap grown;
        uint64_t n = MAX((uint64_t)c->w->packs[place.pack].items,
                         ((uint64_t)place.item + 1) * 2);

        rc = bitmap_init(&grown, n, err);
        if (rc < 0)
            return rc;
        if (use->live.words)
            memcpy(grown.words, use->live.words,
                   bitmap_n_words(&use->live) * sizeof(*grown.words));
        grown.n_set = use->live.n_set;
        bitmap_release(&use->live);
        use->live = grown;
    }
    bitmap_set(&use->live, place.item);
    return 0;
}

static int seal_index(struct commit *c, struct error *err)
{
    struct pack_writer *own = steal_ptr(&c->index);

    return own ? writer_seal_pack(c->w, own, c->index_pack, err) : 0;
}

static int open_index(struct commit *c, struct error *err)
{
    int rc;

    if (c->index && pack_writer_bytes(c->index) + 2 * SEGMENT_MAX_BYTES <=
                        PACK_TARGET_BYTES)
        return 0;
    rc = seal_index(c, err);
    if (rc == 0)
        rc = writer_new_pack(c->w, PACK_INDEX, c->w->lanes[0].ring,
                             &c->w->clock, &c->index, &c->index_pack, err);
    return rc < 0 ? rc : grow_uses(c, err);
}

/* The bytes of a segment: stored already, or stored now. */
static int store_blob(struct commit *c, struct dedup_place *ret,
                      struct error *err)
{
    struct page_hash hash = page_hash_of(c->w->key, c->blob.data, c->blob.len);
    uint32_t item;
    int rc;

    if (dedup_find(&c->w->index_known, hash, ret))
        return 0;
    rc = open_index(c, err);
    if (rc == 0)
        rc = pack_writer_add_blob(c->index, c->blob.data, c->blob.len, &hash,
                                  &item, err);
    if (rc < 0)
        return rc;
    *ret = (struct dedup_place){.pack = c->index_pack, .item = item};
    (void)dedup_add(&c->w->index_known, hash, *ret);
    return 0;
}

static int unseen_page(const struct ramblock *block, pgno_t pgno,
                       struct error *err)
{
    return fail(err, ERR_PROTOCOL,
                "page %llu of block '%s' was never sent, so the snapshot "
                "would not be whole",
                (unsigned long long)pgno, block->idstr);
}

/* From the map to the struct, with the counts. */
static int fill_segment(struct commit *c, uint32_t block, uint64_t segno,
                        struct error *err)
{
    uint32_t n = page_map_read_segment(&c->w->map, block, segno, c->places);
    struct snapshot_summary *s = &c->summary;
    int rc = 0;

    segment_init(&c->segment);
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        struct dedup_place place = c->places[i];

        if (place.pack == PAGE_MAP_ZERO) {
            s->pages_zero++;
        } else if (place.pack == PAGE_MAP_UNSEEN) {
            s->pages_unseen++;
            if (!c->record->unseen_as_zero)
                rc = unseen_page(&c->w->blocks.blocks[block],
                                 segno * SEGMENT_PAGES + i, err);
        } else {
            c->content_pages++;
            segment_add(&c->segment, i, c->w->packs[place.pack].id_bytes,
                        place.item);
            rc = mark_live(c, place, err);
        }
    }
    s->pages_total += n;
    return rc;
}

static int write_segment(struct commit *c, uint32_t block, uint64_t segno,
                         struct error *err)
{
    const char *idstr = c->w->blocks.blocks[block].idstr;
    struct manifest_segment row = {.segno = segno};
    struct dedup_place place;
    int rc = fill_segment(c, block, segno, err);

    if (rc < 0 || c->segment.n_runs == 0)
        return rc;
    buf_reset(&c->blob);
    rc = segment_encode(&c->segment, &c->blob, err);
    if (rc == 0)
        rc = store_blob(c, &place, err);
    if (rc == 0)
        rc = mark_live(c, place, err);
    if (rc < 0)
        return rc;
    row.pack = number_of(c, place.pack);
    row.item = place.item;
    row.checksum =
        manifest_segment_checksum(idstr, segno, c->blob.data, c->blob.len);
    return manifest_builder_add_segment(c->builder, block, &row, err);
}

static int write_index(struct commit *c, struct error *err)
{
    const struct ramblock_list *blocks = &c->w->blocks;
    int rc = manifest_builder_add_blocks(c->builder, blocks, err);

    for (uint32_t b = 0; rc == 0 && b < blocks->n; b++) {
        uint64_t n = ramblock_segments(&blocks->blocks[b]);

        if (blocks->blocks[b].left_out)
            continue;
        for (uint64_t segno = 0; rc == 0 && segno < n; segno++)
            rc = write_segment(c, b, segno, err);
    }
    return rc < 0 ? rc : seal_index(c, err);
}

/* The newest first: a history read in this order finds the content of today's
 * packs before an older copy that was left for the sake of its neighbours. */
static void number_packs(struct commit *c)
{
    for (uint32_t i = c->n_uses; i-- > 0;) {
        if (c->w->packs[i].own && c->uses[i].live.n_set > 0)
            number_of(c, i);
    }
    for (uint32_t i = 0; i < c->n_uses; i++) {
        if (c->uses[i].live.n_set > 0)
            number_of(c, i);
    }
}

/* Rows of the packs in use, and what they cost; the others are dropped. */
static int write_packs(struct commit *c, struct error *err)
{
    uint64_t live_new = 0;
    int rc = 0;

    number_packs(c);
    for (uint32_t i = 0; rc == 0 && i < c->n_uses; i++) {
        struct writer_pack *pack = &c->w->packs[i];
        struct manifest_pack row = {
            .kind = pack->kind,
            .bytes = pack->bytes,
            .items = pack->items,
            .used = (uint32_t)c->uses[i].live.n_set,
        };

        if (c->uses[i].number == NO_NUMBER) {
            drop_pack(pack);
            continue;
        }
        memcpy(row.id, pack->id, sizeof(row.id));
        rc =
            manifest_builder_add_pack(c->builder, c->uses[i].number, &row, err);
        if (!pack->own)
            continue;
        c->summary.stored_bytes += pack->bytes;
        if (pack->kind == PACK_PAGES) {
            c->summary.pages_stored += pack->items;
            live_new += row.used;
        }
    }
    c->summary.pages_superseded = c->summary.pages_stored - live_new;
    c->summary.pages_duplicate = c->content_pages - live_new;
    return rc;
}

static int begin_summary(struct commit *c, struct error *err)
{
    const struct snapshot_summary *given = c->record->summary;
    struct snapshot_summary *s = &c->summary;

    *s = *given;
    s->tags = NULL;
    memcpy(s->vm, c->w->vm, sizeof(s->vm));
    memcpy(s->vm_uuid, c->w->vm_uuid, sizeof(s->vm_uuid));
    s->ram_bytes = ramblock_list_total_bytes(&c->w->blocks);
    s->device_bytes = c->record->devices->tail.len;
    s->pages_total = s->pages_zero = s->pages_unseen = 0;
    s->pages_duplicate = s->pages_stored = s->pages_superseded = 0;
    s->stored_bytes = 0;
    s->cost = (struct snapshot_cost){0};
    return layout_new_id(s->id, SNAPSHOT_ID_LEN, err);
}

static int write_object(struct commit *c, struct object_file *ret,
                        struct error *err)
{
    struct object_folder folder =
        layout_snapshots(repository_snapshots_dirfd(c->w->repository));
    int rc = object_file_create(&folder, ret, err);

    if (rc == 0)
        rc = path_write_at(ret->fd, c->object.data, c->object.len, 0, err);
    if (rc == 0 && fsync(ret->fd) < 0)
        rc = fail_errno(err, ERR_IO, "cannot sync a snapshot");
    return rc;
}

static int intend_packs(struct commit *c, struct error *err)
{
    cleanup_free const char **ids = calloc(MAX(c->n_uses, 1u), sizeof(*ids));
    size_t n = 0;

    if (!ids)
        return fail_nomem(err);
    for (uint32_t i = 0; i < c->n_uses; i++) {
        if (c->w->packs[i].own)
            ids[n++] = c->w->packs[i].id;
    }
    return lease_intend(c->w->lease, ids, n, err);
}

static int check_foreign(struct commit *c, struct error *err)
{
    int dirfd = repository_packs_dirfd(c->w->repository);

    for (uint32_t i = 0; i < c->n_uses; i++) {
        const struct writer_pack *pack = &c->w->packs[i];
        uint64_t bytes;
        int rc;

        if (pack->own || c->uses[i].number == NO_NUMBER)
            continue;
        rc = layout_pack_stat(dirfd, pack->id, &bytes, err);
        if (rc == ERR_NOTFOUND || (rc == 0 && bytes != pack->bytes))
            return fail(err, ERR_CORRUPT,
                        "pack '%s' of an earlier snapshot is gone or cut",
                        pack->id);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int link_packs(struct commit *c, struct error *err)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < c->n_uses; i++) {
        if (!c->w->packs[i].own)
            continue;
        rc = pack_writer_link(c->w->packs[i].own, err);
        c->uses[i].linked = rc == 0;
    }
    return rc;
}

static int verify_packs(struct commit *c, struct error *err)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && c->record->verify && i < c->n_uses; i++) {
        const struct writer_pack *pack = &c->w->packs[i];
        struct manifest_pack expected = {
            .kind = pack->kind,
            .bytes = pack->bytes,
            .items = pack->items,
        };

        if (c->uses[i].number == NO_NUMBER)
            continue;
        memcpy(expected.id, pack->id, sizeof(expected.id));
        rc = verify_pack_whole(c->w->repository, &expected, c->record->stop,
                               err);
        if (rc == ERR_CORRUPT)
            error_wrap(err, "pack '%s' reads back damaged", pack->id);
    }
    return rc;
}

static bool snapshot_is_there(const struct commit *c)
{
    struct stat st;

    return fstatat(repository_snapshots_dirfd(c->w->repository), c->summary.id,
                   &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* True when none of our packs has its name any more. */
static bool unlink_packs(struct commit *c)
{
    int dirfd = repository_packs_dirfd(c->w->repository);
    bool gone = true;

    for (uint32_t i = 0; i < c->n_uses; i++) {
        struct error ignored;
        uint64_t bytes;

        if (!c->w->packs[i].own)
            continue;
        if (c->uses[i].linked)
            pack_writer_unlink(c->w->packs[i].own);
        gone &= layout_pack_stat(dirfd, c->w->packs[i].id, &bytes, &ignored) ==
                ERR_NOTFOUND;
    }
    return gone;
}

/* A disk that refuses to remove names is left with our lease, so that the next
 * open after our end removes what it can. Packs never go before the snapshot.
 */
static void undo(struct commit *c)
{
    if (!snapshot_is_there(c) && unlink_packs(c))
        return;
    lease_forget(c->w->lease);
    c->w->lease = NULL;
}

static int add_foreign(struct commit *c, json_t *facts, struct error *err)
{
    json_t *ids = json_array();
    bool failed = !ids;

    for (uint32_t i = 0; !failed && i < c->n_uses; i++) {
        if (c->w->packs[i].compare && c->uses[i].number != NO_NUMBER)
            failed =
                json_array_append_new(ids, json_string(c->w->packs[i].id)) < 0;
    }
    if (!failed && json_array_size(ids) > 0)
        failed = json_object_set(facts, SNAPSHOT_FOREIGN_PACKS, ids) < 0;
    json_decref(ids);
    return failed ? fail_nomem(err) : 0;
}

/* The facts with what is ours to add, which the caller lets go of, also after
 * an error; those of the record stay as they are. */
static int add_facts(struct commit *c, struct snapshot_record *ret,
                     struct error *err)
{
    json_t *facts =
        c->record->facts ? json_copy(c->record->facts) : json_object();

    *ret = *c->record;
    ret->facts = facts;
    if (!facts || json_object_set_new(facts, "cost",
                                      snapshot_cost_json(&c->summary.cost)) < 0)
        return fail_nomem(err);
    return add_foreign(c, facts, err);
}

static int finish_object(struct commit *c, struct error *err)
{
    struct snapshot_record record;
    int rc;

    writer_sum_cost(c->w, &c->summary.cost);
    rc = add_facts(c, &record, err);
    if (rc == 0)
        rc = manifest_builder_finish(c->builder, &c->summary, &record,
                                     &c->object, err);
    json_decref(record.facts);
    return rc;
}

static int build(struct commit *c, struct error *err)
{
    int rc = begin_summary(c, err);

    if (rc == 0)
        rc = manifest_builder_new(&c->builder, err);
    if (rc == 0)
        rc = seal_lanes(c->w, err);
    if (rc == 0)
        rc = snapshot_repack(c->w, err);
    if (rc == 0)
        rc = snapshot_rejoin(c->w, &c->summary.cost, err);
    if (rc == 0)
        rc = grow_uses(c, err);
    if (rc == 0)
        rc = write_index(c, err);
    if (rc == 0)
        rc = write_packs(c, err);
    if (rc == 0)
        rc = finish_object(c, err);
    return rc;
}

static int put_in_place(struct commit *c, struct error *err)
{
    struct object_folder folder =
        layout_snapshots(repository_snapshots_dirfd(c->w->repository));
    cleanup(object_file) struct object_file file = OBJECT_FILE_INIT;
    int rc = write_object(c, &file, err);

    if (rc == 0)
        rc = intend_packs(c, err);
    if (rc == 0)
        rc = check_foreign(c, err);
    if (rc == 0)
        rc = link_packs(c, err);
    if (rc == 0)
        rc = verify_packs(c, err);
    if (rc == 0)
        rc = object_file_link(&folder, &file, c->summary.id, err);
    if (rc < 0)
        undo(c);
    return rc;
}

int snapshot_writer_commit(struct snapshot_writer *w,
                           const struct snapshot_record *record,
                           struct snapshot_summary *ret, struct error *err)
{
    cleanup(commit) struct commit *c = calloc(1, sizeof(*c));
    int rc;

    if (!c)
        return fail_nomem(err);
    if (w->why_failed.code)
        return error_copy(err, &w->why_failed);
    c->w = w;
    c->record = record;
    stage_clock_enter(&w->clock, CPU_INDEX);
    rc = build(c, err);
    if (rc == 0)
        rc = put_in_place(c, err);
    stage_clock_enter(&w->clock, CPU_STAGES);
    if (rc < 0) {
        error_copy(&w->why_failed, err);
        return error_wrap(err, "the snapshot was not stored");
    }
    c->summary.stored_bytes += c->object.len;
    lease_release(w->lease);
    w->lease = NULL;
    *ret = c->summary;
    return 0;
}

/*
 * snapshot_reader.c - page → segment → item → frame → bytes, each step checked.
 *
 * The row of the segment comes from the snapshot object, which was verified
 * whole at open; the segment's bytes from an index pack, where the frame's own
 * checksum is checked, and then the row's checksum, which covers the place: a
 * segment that was swapped for another valid one is found. Its packs must be
 * in the snapshot's list, its items in those packs; a frame is checked before
 * it is decompressed. So what comes out is either what was put in or an error
 * that names pack, frame and offset.
 *
 * Packs are opened when they are first needed, and the one used longest ago is
 * closed when too many are open: their frame tables are kept in memory.
 */
#include "storage/snapshot_reader.h"

#include "core/codec/frame_codec.h"
#include "storage/frame_cache.h"
#include "storage/manifest.h"
#include "storage/packs/pack_reader.h"
#include "storage/repository_inside.h"
#include "storage/segment_cache.h"
#include "storage/snapshot_reader_inside.h"

#define FRAME_CACHE_BYTES (32u << 20)
/* Some 300 KiB of tables each. */
#define OPEN_PACKS_MAX 256u

struct open_pack {
    struct pack_reader *reader; /* NULL: closed */
    uint64_t last_used;
    struct error *damage; /* why it cannot be opened; found once, told again */
};

struct snapshot_reader {
    struct repository *repository;
    struct manifest *manifest;
    const struct manifest_pack *manifest_packs; /* of the manifest */
    uint32_t n_packs;
    struct snapshot_pack *packs; /* the same, as the door shows them */
    struct open_pack *open;      /* one for each pack */
    uint32_t n_open;
    uint64_t uses;         /* counts up, for last_used */
    uint64_t bytes_closed; /* read from packs that are closed again */
    struct frame_codec *codec;
    struct frame_cache *frames;
    struct segment_cache *segments;
    struct segment scratch;
    struct buf blob;
};

static int list_packs(struct snapshot_reader *s, struct error *err)
{
    s->manifest_packs = manifest_packs(s->manifest, &s->n_packs);
    s->packs = calloc(MAX(s->n_packs, 1u), sizeof(*s->packs));
    s->open = calloc(MAX(s->n_packs, 1u), sizeof(*s->open));
    if (!s->packs || !s->open)
        return fail_nomem(err);
    for (uint32_t i = 0; i < s->n_packs; i++) {
        const struct manifest_pack *pack = &s->manifest_packs[i];

        memcpy(s->packs[i].id, pack->id, sizeof(s->packs[i].id));
        s->packs[i].index = pack->kind == PACK_INDEX;
        s->packs[i].bytes = pack->bytes;
    }
    return 0;
}

int snapshot_reader_open(struct repository *r, const char *id,
                         struct snapshot_reader **ret, struct error *err)
{
    cleanup(snapshot_reader) struct snapshot_reader *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return fail_nomem(err);
    s->repository = r;
    rc = manifest_open(repository_snapshots_dirfd(r), id, &s->manifest, err);
    if (rc == 0)
        rc = list_packs(s, err);
    if (rc == 0)
        rc = frame_codec_new(0, &s->codec, err);
    if (rc == 0)
        rc = frame_cache_new(FRAME_CACHE_BYTES, &s->frames, err);
    if (rc == 0)
        rc = segment_cache_new(&s->segments, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&s);
    return 0;
}

void snapshot_reader_close(struct snapshot_reader *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; s->open && i < s->n_packs; i++) {
        pack_reader_close(s->open[i].reader);
        free(s->open[i].damage);
    }
    free(s->open);
    free(s->packs);
    frame_codec_free(s->codec);
    frame_cache_free(s->frames);
    segment_cache_free(s->segments);
    buf_release(&s->blob);
    manifest_close(s->manifest);
    free(s);
}

const struct snapshot_summary *
snapshot_reader_summary(const struct snapshot_reader *s)
{
    return manifest_summary(s->manifest);
}

const struct ramblock_list *
snapshot_reader_blocks(const struct snapshot_reader *s)
{
    return manifest_blocks(s->manifest);
}

const struct machine_config *
snapshot_reader_config(const struct snapshot_reader *s)
{
    return manifest_config(s->manifest);
}

const struct device_state *
snapshot_reader_devices(const struct snapshot_reader *s)
{
    return manifest_devices(s->manifest);
}

const json_t *snapshot_reader_facts(const struct snapshot_reader *s)
{
    return manifest_facts(s->manifest);
}

uint32_t snapshot_reader_ram_section_id(const struct snapshot_reader *s)
{
    return manifest_ram_section_id(s->manifest);
}

static void close_oldest_pack(struct snapshot_reader *s)
{
    struct open_pack *oldest = NULL;

    for (uint32_t i = 0; i < s->n_packs; i++) {
        if (s->open[i].reader &&
            (!oldest || s->open[i].last_used < oldest->last_used))
            oldest = &s->open[i];
    }
    s->bytes_closed += pack_reader_read_bytes(oldest->reader);
    pack_reader_close(steal_ptr(&oldest->reader));
    s->n_open--;
}

static int open_pack(struct snapshot_reader *s, uint32_t number,
                     struct error *err)
{
    const struct manifest_pack *pack = &s->manifest_packs[number];
    struct pack_reader *reader;
    int rc = pack_reader_open(repository_packs_dirfd(s->repository), pack->id,
                              pack->kind, &reader, err);

    if (rc == ERR_NOTFOUND)
        return fail(err, ERR_CORRUPT, "pack '%s' is missing", pack->id);
    if (rc < 0)
        return rc;
    if (pack_reader_bytes(reader) != pack->bytes ||
        pack_reader_n_items(reader) != pack->items) {
        pack_reader_close(reader);
        return fail(err, ERR_CORRUPT,
                    "pack '%s' is not the one that the snapshot refers to",
                    pack->id);
    }
    if (s->n_open >= OPEN_PACKS_MAX)
        close_oldest_pack(s);
    s->open[number].reader = reader;
    s->n_open++;
    return 0;
}

/* A walk over a snapshot asks for a pack once a page: what is wrong with it is
 * kept, but for what may be better the next time. */
static int keep_damage(struct open_pack *o, int rc, const struct error *err)
{
    if (rc == ERR_CORRUPT) {
        o->damage = malloc(sizeof(*o->damage));
        if (o->damage)
            error_copy(o->damage, err);
    }
    return rc;
}

static int use_pack(struct snapshot_reader *s, uint32_t number,
                    struct pack_reader **ret, struct error *err)
{
    struct open_pack *o = &s->open[number];
    int rc = 0;

    if (o->damage) {
        error_copy(err, o->damage);
        return ERR_CORRUPT;
    }
    if (!o->reader)
        rc = keep_damage(o, open_pack(s, number, err), err);
    if (rc < 0)
        return rc;
    o->last_used = ++s->uses;
    *ret = o->reader;
    return 0;
}

/* The bytes of a segment, as its row in the snapshot says. */
static int read_blob(struct snapshot_reader *s, uint32_t block,
                     const struct manifest_segment *row, struct error *err)
{
    const char *idstr = manifest_blocks(s->manifest)->blocks[block].idstr;
    struct pack_reader *reader;
    struct pack_place at;
    int rc = use_pack(s, row->pack, &reader, err);

    if (rc == 0)
        rc = pack_reader_place(reader, row->item, &at, err);
    if (rc < 0)
        return rc;
    buf_reset(&s->blob);
    rc = buf_reserve(&s->blob, at.raw_bytes, err);
    if (rc == 0)
        rc = pack_reader_frame(reader, at.frame, s->codec, s->blob.data, err);
    if (rc < 0)
        return rc;
    s->blob.len = at.raw_bytes;
    if (manifest_segment_checksum(idstr, row->segno, s->blob.data,
                                  s->blob.len) != row->checksum)
        return fail(err, ERR_CORRUPT,
                    "item %u of pack '%s' is not segment %llu of block '%s'",
                    row->item, pack_reader_id(reader),
                    (unsigned long long)row->segno, idstr);
    return 0;
}

/* From the segment's own list of packs to numbers in the snapshot. */
static int renumber_packs(struct snapshot_reader *s, struct error *err)
{
    uint32_t numbers[SEGMENT_PAGES];

    for (uint32_t i = 0; i < s->scratch.n_packs; i++) {
        numbers[i] = manifest_pack_number(s->manifest, s->scratch.packs[i]);
        if (numbers[i] == PACK_SET_NONE ||
            s->manifest_packs[numbers[i]].kind != PACK_PAGES)
            return fail(err, ERR_CORRUPT,
                        "it refers to a pack that the snapshot does not list");
    }
    for (uint32_t i = 0; i < s->scratch.n_runs; i++)
        s->scratch.runs[i].pack = numbers[s->scratch.runs[i].pack];
    return 0;
}

static int decode_segment(struct snapshot_reader *s, uint32_t block,
                          const struct manifest_segment *row, struct error *err)
{
    int rc = read_blob(s, block, row, err);

    if (rc == 0)
        rc = segment_decode(s->blob.data, s->blob.len, &s->scratch, err);
    if (rc == 0)
        rc = renumber_packs(s, err);
    if (rc < 0)
        return error_wrap(err, "segment %llu of block %u",
                          (unsigned long long)row->segno, block);
    return 0;
}

struct manifest *snapshot_reader_manifest(struct snapshot_reader *s)
{
    return s->manifest;
}

int snapshot_reader_check_segment(struct snapshot_reader *s, uint32_t block,
                                  const struct manifest_segment *row,
                                  struct error *err)
{
    int rc = decode_segment(s, block, row, err);

    for (uint32_t i = 0; rc == 0 && i < s->scratch.n_runs; i++) {
        const struct segment_run *run = &s->scratch.runs[i];
        const struct manifest_pack *pack = &s->manifest_packs[run->pack];

        if ((uint64_t)run->item + run->count > pack->items)
            rc = fail(err, ERR_CORRUPT,
                      "segment %llu of block %u: pack '%s' has %u items and no "
                      "item %u",
                      (unsigned long long)row->segno, block, pack->id,
                      pack->items, run->item + run->count - 1);
    }
    return rc;
}

static int load_segment(struct snapshot_reader *s, uint32_t block,
                        uint64_t segno, const struct cached_segment **ret,
                        struct error *err)
{
    struct manifest_segment row;
    bool found;
    int rc;

    *ret = segment_cache_find(s->segments, block, segno);
    if (*ret)
        return 0;
    rc = manifest_next_segment(s->manifest, block, segno, &row, &found, err);
    if (rc < 0)
        return rc;
    if (found && row.segno == segno)
        rc = decode_segment(s, block, &row, err);
    else
        segment_init(&s->scratch);
    if (rc < 0)
        return rc;
    return segment_cache_put(s->segments, block, segno, &s->scratch, ret, err);
}

static int check_page(const struct snapshot_reader *s, uint32_t block,
                      pgno_t pgno, struct error *err)
{
    const struct ramblock_list *blocks = manifest_blocks(s->manifest);

    if (block >= blocks->n)
        return fail(err, ERR_INVALID, "there is no block %u", block);
    if (blocks->blocks[block].left_out)
        return fail(err, ERR_INVALID, "block '%s' is not in the snapshot",
                    blocks->blocks[block].idstr);
    if (pgno >= ramblock_pages(&blocks->blocks[block]))
        return fail(err, ERR_INVALID, "block '%s' has no page %llu",
                    blocks->blocks[block].idstr, (unsigned long long)pgno);
    return 0;
}

static int wrap_page(const struct snapshot_reader *s, uint32_t block,
                     pgno_t pgno, struct error *err)
{
    return error_wrap(err, "snapshot '%s', page %llu of block %u",
                      manifest_summary(s->manifest)->id,
                      (unsigned long long)pgno, block);
}

static int locate(struct snapshot_reader *s, uint32_t block, pgno_t pgno,
                  struct page_place *ret, struct pack_reader **ret_reader,
                  struct error *err)
{
    uint32_t page = (uint32_t)(pgno % SEGMENT_PAGES);
    const struct cached_segment *segment;
    const struct segment_run *run;
    struct pack_place at;
    int rc = check_page(s, block, pgno, err);

    if (rc == 0)
        rc = load_segment(s, block, pgno / SEGMENT_PAGES, &segment, err);
    if (rc < 0)
        return rc;
    run = segment_run_find(segment->runs, segment->n_runs, page);
    if (!run) {
        *ret = (struct page_place){.zero = true};
        return 0;
    }
    rc = use_pack(s, run->pack, ret_reader, err);
    if (rc == 0)
        rc = pack_reader_place(*ret_reader, run->item + (page - run->first),
                               &at, err);
    if (rc < 0)
        return rc;
    *ret = (struct page_place){
        .pack = run->pack,
        .frame = at.frame,
        .slot = at.slot,
    };
    return 0;
}

int snapshot_reader_locate(struct snapshot_reader *s, uint32_t block,
                           pgno_t pgno, struct page_place *ret,
                           struct error *err)
{
    struct pack_reader *reader;
    int rc = locate(s, block, pgno, ret, &reader, err);

    return rc < 0 ? wrap_page(s, block, pgno, err) : 0;
}

int snapshot_reader_is_raw(struct snapshot_reader *s,
                           const struct page_place *place, bool *ret,
                           struct error *err)
{
    struct pack_reader *reader;
    int rc = use_pack(s, place->pack, &reader, err);

    if (rc < 0)
        return rc;
    *ret = pack_reader_frame_stored_bytes(reader, place->frame) ==
           pack_reader_frame_raw_bytes(reader, place->frame);
    return 0;
}

int snapshot_reader_hash(struct snapshot_reader *s, uint32_t block, pgno_t pgno,
                         struct page_place *ret, struct page_hash *ret_hash,
                         uint32_t *ret_key, struct error *err)
{
    const struct page_hash *hashes;
    struct pack_reader *reader;
    int rc = locate(s, block, pgno, ret, &reader, err);

    if (rc == 0 && !ret->zero)
        rc = pack_reader_hashes(reader, &hashes, err);
    if (rc < 0)
        return wrap_page(s, block, pgno, err);
    if (!ret->zero) {
        *ret_key = pack_reader_hash_key_id(reader);
        *ret_hash = hashes[pack_reader_frame_first_item(reader, ret->frame) +
                           ret->slot];
    }
    return 0;
}

static int load_frame(struct snapshot_reader *s, struct pack_reader *reader,
                      const struct page_place *place, const uint8_t **ret,
                      struct error *err)
{
    uint32_t bytes = pack_reader_frame_raw_bytes(reader, place->frame);
    uint8_t *room;
    int rc = frame_cache_add(s->frames, place->pack, place->frame, bytes, &room,
                             err);

    if (rc < 0)
        return rc;
    rc = pack_reader_frame(reader, place->frame, s->codec, room, err);
    if (rc < 0) {
        frame_cache_drop(s->frames, place->pack, place->frame);
        return rc;
    }
    *ret = room;
    return 0;
}

int snapshot_reader_page(struct snapshot_reader *s, uint32_t block, pgno_t pgno,
                         const uint8_t **ret, struct error *err)
{
    struct pack_reader *reader;
    struct page_place place;
    const uint8_t *frame;
    int rc = locate(s, block, pgno, &place, &reader, err);

    if (rc < 0)
        return wrap_page(s, block, pgno, err);
    if (place.zero) {
        *ret = NULL;
        return 0;
    }
    frame = frame_cache_find(s->frames, place.pack, place.frame);
    if (!frame)
        rc = load_frame(s, reader, &place, &frame, err);
    if (rc < 0)
        return wrap_page(s, block, pgno, err);
    *ret = frame + (size_t)place.slot * PAGE_BYTES;
    return 0;
}

/* The segment of `from`, or the next one that has a row; *ret is NULL when
 * there is none. Moves `from` to the first page in it. */
static int next_segment(struct snapshot_reader *s, uint32_t block, pgno_t *from,
                        const struct cached_segment **ret, struct error *err)
{
    struct manifest_segment row;
    bool found;
    int rc;

    /* A walk asks for each page: do not ask the database as often. */
    *ret = segment_cache_find(s->segments, block, *from / SEGMENT_PAGES);
    if (*ret)
        return 0;
    rc = manifest_next_segment(s->manifest, block, *from / SEGMENT_PAGES, &row,
                               &found, err);
    if (rc < 0 || !found)
        return rc;
    *from = MAX(*from, row.segno * SEGMENT_PAGES);
    return load_segment(s, block, row.segno, ret, err);
}

int snapshot_reader_next_data(struct snapshot_reader *s, uint32_t block,
                              pgno_t from, pgno_t *ret, struct error *err)
{
    const struct ramblock_list *blocks = manifest_blocks(s->manifest);
    const struct cached_segment *segment;
    pgno_t n;

    if (block >= blocks->n)
        return fail(err, ERR_INVALID, "there is no block %u", block);
    n = ramblock_pages(&blocks->blocks[block]);
    while (from < n) {
        uint32_t page;
        int rc = next_segment(s, block, &from, &segment, err);

        if (rc < 0)
            return wrap_page(s, block, from, err);
        if (!segment)
            break;
        page = segment_run_next(segment->runs, segment->n_runs,
                                (uint32_t)(from % SEGMENT_PAGES));
        from = segment->segno * SEGMENT_PAGES + page;
        if (page < SEGMENT_PAGES) {
            *ret = MIN(from, n);
            return 0;
        }
    }
    *ret = n;
    return 0;
}

const struct snapshot_pack *
snapshot_reader_packs(const struct snapshot_reader *s, size_t *ret_n)
{
    *ret_n = s->n_packs;
    return s->packs;
}

uint64_t snapshot_reader_read_bytes(const struct snapshot_reader *s)
{
    uint64_t bytes = manifest_object_bytes(s->manifest) + s->bytes_closed;

    for (uint32_t i = 0; i < s->n_packs; i++) {
        if (s->open[i].reader)
            bytes += pack_reader_read_bytes(s->open[i].reader);
    }
    return bytes;
}

/* Of a pack that holds other things as well, its share by items. */
uint64_t snapshot_reader_image_bytes(const struct snapshot_reader *s)
{
    uint64_t bytes = manifest_object_bytes(s->manifest);

    for (uint32_t i = 0; i < s->n_packs; i++) {
        const struct manifest_pack *pack = &s->manifest_packs[i];

        if (pack->items > 0)
            bytes += (uint64_t)((double)pack->bytes * pack->used / pack->items);
    }
    return bytes;
}

/*
 * rewriter.c - content is moved by its hash, segments by their places.
 *
 * The same content is stored once, also when two old packs had it: found by its
 * hash, then compared. A segment is
 * made anew from its old bytes whenever it is asked for, so nothing but the
 * places of moved pages is kept in memory.
 */
#include "storage/keeping/rewriter.h"

#include "core/base/bitmap.h"
#include "storage/dedup.h"
#include "storage/frame_cache.h"
#include "storage/index/segment.h"
#include "storage/packs/pack_reader.h"
#include "storage/repository_inside.h"
#include "storage/snapshot_object.h"
#include "storage/verify_pack.h"

#define FRAME_CACHE_BYTES (16u << 20)
#define OPEN_READERS_MAX  128u
#define PAGE_WORST        (PAGE_BYTES + 32u)
#define LEVEL             1
#define NOWHERE           UINT32_MAX

/* A pack of the usage. */
struct source {
    bool chosen;
    struct dedup_place *places; /* of each item of a chosen pack, or NULL */
    struct pack_reader *reader;
};

/* A pack of ours. */
struct product {
    struct manifest_pack pack; /* figures once it is sealed */
    uint8_t id_bytes[LAYOUT_PACK_ID_BYTES];
    struct pack_writer *writer;
};

/* The one that is being filled, of each kind. */
struct filling {
    struct ring *ring;
    struct pack_writer *writer; /* owned by its product */
    uint32_t number;
};

struct rewriter {
    struct repository *repository;
    const struct usage *u;
    struct stopper *stop;
    const struct hash_key *key;
    struct source *sources; /* one for each pack of the usage, at new() */
    uint32_t n_sources;
    unsigned n_readers;
    struct product *products;
    uint32_t n_products;
    struct filling pages, index;
    struct place_book book;
    struct dedup known; /* content, of pages and of segments, in our packs */
    struct frame_codec *codec;
    struct frame_cache *frames;
    /* scratch, for one segment at a time */
    struct buf blob;
    struct segment old, new;
};

int rewriter_new(struct repository *r, const struct usage *u,
                 struct stopper *stop, struct rewriter **ret, struct error *err)
{
    cleanup(rewriter) struct rewriter *w = calloc(1, sizeof(*w));
    struct ring_args args = {0};
    int rc;

    if (!w)
        return fail_nomem(err);
    w->repository = r;
    w->u = u;
    w->stop = stop;
    w->key = repository_write_key(r);
    dedup_init(&w->known, &w->book, DEDUP_MAX_ENTRIES);
    w->n_sources = u->ids.n;
    w->sources = calloc((size_t)w->n_sources + 1, sizeof(*w->sources));
    if (!w->sources)
        return fail_nomem(err);
    rc = ring_new(&args, &w->pages.ring, err);
    if (rc == 0)
        rc = ring_new(&args, &w->index.ring, err);
    if (rc == 0)
        rc = frame_codec_new(0, &w->codec, err);
    if (rc == 0)
        rc = frame_cache_new(FRAME_CACHE_BYTES, &w->frames, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&w);
    return 0;
}

static void close_readers(struct rewriter *w)
{
    for (uint32_t i = 0; w->n_readers > 0 && i < w->n_sources; i++) {
        if (!w->sources[i].reader)
            continue;
        pack_reader_close(steal_ptr(&w->sources[i].reader));
        w->n_readers--;
    }
}

void rewriter_free(struct rewriter *w)
{
    if (!w)
        return;
    close_readers(w);
    for (uint32_t i = 0; w->sources && i < w->n_sources; i++)
        free(w->sources[i].places);
    free(w->sources);
    for (uint32_t i = 0; i < w->n_products; i++)
        pack_writer_free(w->products[i].writer);
    free(w->products);
    ring_free(w->pages.ring);
    ring_free(w->index.ring);
    dedup_release(&w->known);
    place_book_release(&w->book);
    frame_codec_free(w->codec);
    frame_cache_free(w->frames);
    buf_release(&w->blob);
    free(w);
}

void rewriter_choose(struct rewriter *w, uint32_t pack)
{
    w->sources[pack].chosen = true;
}

/* ---- What there is ---- */

static uint32_t number_of(const struct rewriter *w, const char *id)
{
    return pack_set_find_text(&w->u->ids, id);
}

bool rewriter_touches(const struct rewriter *w, const struct manifest *m)
{
    uint32_t n;
    const struct manifest_pack *packs = manifest_packs(m, &n);

    for (uint32_t i = 0; i < n; i++) {
        uint32_t number = number_of(w, packs[i].id);

        if (number != PACK_SET_NONE && w->sources[number].chosen)
            return true;
    }
    return false;
}

static int use_reader(struct rewriter *w, uint32_t pack,
                      struct pack_reader **ret, struct error *err)
{
    struct source *s = &w->sources[pack];
    const struct manifest_pack *p = &w->u->packs[pack].pack;
    int rc;

    if (!s->reader) {
        if (w->n_readers >= OPEN_READERS_MAX)
            close_readers(w);
        rc = pack_reader_open(repository_packs_dirfd(w->repository), p->id,
                              p->kind, &s->reader, err);
        if (rc < 0)
            return rc;
        w->n_readers++;
    }
    *ret = s->reader;
    return 0;
}

/* A page of an old pack; borrowed until the next one. */
static int read_page(struct rewriter *w, uint32_t pack, uint32_t item,
                     const uint8_t **ret, struct error *err)
{
    struct pack_reader *reader;
    struct pack_place at;
    const uint8_t *frame;
    uint8_t *room;
    int rc = use_reader(w, pack, &reader, err);

    if (rc == 0)
        rc = pack_reader_place(reader, item, &at, err);
    if (rc < 0)
        return rc;
    frame = frame_cache_find(w->frames, pack, at.frame);
    if (!frame) {
        rc = frame_cache_add(w->frames, pack, at.frame, at.raw_bytes, &room,
                             err);
        if (rc < 0)
            return rc;
        rc = pack_reader_frame(reader, at.frame, w->codec, room, err);
        if (rc < 0) {
            frame_cache_drop(w->frames, pack, at.frame);
            return rc;
        }
        frame = room;
    }
    *ret = frame + (size_t)at.slot * PAGE_BYTES;
    return 0;
}

/* The bytes of a row's segment, checked by the row. */
static int read_blob(struct rewriter *w, struct manifest *m, uint32_t block,
                     const struct manifest_segment *row, uint32_t pack,
                     struct error *err)
{
    const char *idstr = manifest_blocks(m)->blocks[block].idstr;
    struct pack_reader *reader;
    struct pack_place at;
    int rc = use_reader(w, pack, &reader, err);

    if (rc == 0)
        rc = pack_reader_place(reader, row->item, &at, err);
    buf_reset(&w->blob);
    if (rc == 0)
        rc = buf_reserve(&w->blob, at.raw_bytes, err);
    if (rc == 0)
        rc = pack_reader_frame(reader, at.frame, w->codec, w->blob.data, err);
    if (rc < 0)
        return rc;
    w->blob.len = at.raw_bytes;
    if (manifest_segment_checksum(idstr, row->segno, w->blob.data,
                                  w->blob.len) != row->checksum)
        return fail(err, ERR_CORRUPT, "segment %llu of block '%s' is damaged",
                    (unsigned long long)row->segno, idstr);
    return segment_decode(w->blob.data, w->blob.len, &w->old, err);
}

/* ---- What is made ---- */

static int add_product(struct rewriter *w, struct pack_writer *writer,
                       enum pack_kind kind, struct error *err)
{
    struct product p = {.pack = {.kind = kind}, .writer = writer};
    uint32_t n = w->n_products;

    memcpy(p.pack.id, pack_writer_id(writer), sizeof(p.pack.id));
    if (!layout_id_bytes(p.pack.id, p.id_bytes, sizeof(p.id_bytes)))
        return fail(err, ERR_INVALID, "'%.32s' is no pack", p.pack.id);
    /* Room comes in powers of two, so it is full when n is one. */
    if (!(n & (n - 1))) {
        void *all = realloc(w->products, (n ? (size_t)n * 2 : 1) * sizeof(p));

        if (!all)
            return fail_nomem(err);
        w->products = all;
    }
    w->products[w->n_products++] = p;
    return 0;
}

static int seal(struct rewriter *w, struct filling *f, struct error *err)
{
    struct pack_writer *writer = steal_ptr(&f->writer);
    struct product *p = &w->products[f->number];
    int rc = writer ? pack_writer_seal(writer, err) : 0;

    if (rc < 0 || !writer)
        return rc;
    p->pack.bytes = pack_writer_bytes(writer);
    p->pack.items = pack_writer_n_items(writer);
    return 0;
}

/* There is an open pack with room for `worst` bytes. */
static int make_room(struct rewriter *w, struct filling *f, enum pack_kind kind,
                     uint64_t worst, struct error *err)
{
    struct pack_writer_args args = {
        .packs_dirfd = repository_packs_dirfd(w->repository),
        .kind = kind,
        .ring = f->ring,
        .level = LEVEL,
        .frame_bytes = repository_frame_bytes(w->repository),
        .hash_key_id = w->key->id,
    };
    cleanup(pack_writer) struct pack_writer *writer = NULL;
    int rc;

    if (f->writer && pack_writer_bytes(f->writer) + worst <= PACK_TARGET_BYTES)
        return 0;
    rc = seal(w, f, err);
    if (rc == 0)
        rc = pack_writer_new(&args, &writer, err);
    if (rc == 0)
        rc = add_product(w, writer, kind, err);
    if (rc < 0)
        return rc;
    f->writer = steal_ptr(&writer);
    f->number = w->n_products - 1;
    return 0;
}

/* The packs may be of several VMs, and a hash is no proof between them. */
static int is_stored(struct rewriter *w, const uint8_t *page,
                     struct page_hash hash, struct dedup_place *ret,
                     bool *ret_is, struct error *err)
{
    uint8_t stored[PAGE_BYTES];
    int rc;

    *ret_is = false;
    if (!dedup_find(&w->known, hash, ret))
        return 0;
    rc = pack_writer_read_page(w->products[ret->pack].writer, ret->item, stored,
                               err);
    *ret_is = rc == 0 && memcmp(stored, page, PAGE_BYTES) == 0;
    return rc;
}

static int store_page(struct rewriter *w, const uint8_t *page,
                      struct dedup_place *ret, struct error *err)
{
    struct page_hash hash = page_hash_of(w->key, page, PAGE_BYTES);
    bool stored;
    int rc = is_stored(w, page, hash, ret, &stored, err);

    if (rc < 0 || stored)
        return rc;
    rc = make_room(w, &w->pages, PACK_PAGES, PAGE_WORST, err);
    if (rc < 0)
        return rc;
    ret->pack = w->pages.number;
    rc = pack_writer_add_page(w->pages.writer, page, &hash, &ret->item, err);
    if (rc == 0)
        (void)dedup_add(&w->known, hash, *ret);
    return rc;
}

static int store_blob(struct rewriter *w, struct error *err)
{
    struct page_hash hash = page_hash_of(w->key, w->blob.data, w->blob.len);
    struct dedup_place place;
    int rc;

    if (dedup_find(&w->known, hash, &place))
        return 0;
    rc = make_room(w, &w->index, PACK_INDEX, 2 * SEGMENT_MAX_BYTES, err);
    if (rc < 0)
        return rc;
    place.pack = w->index.number;
    rc = pack_writer_add_blob(w->index.writer, w->blob.data, w->blob.len, &hash,
                              &place.item, err);
    if (rc == 0 && !dedup_add(&w->known, hash, place))
        rc = fail_nomem(err);
    return rc;
}

static int make_places(struct rewriter *w, uint32_t pack, struct error *err)
{
    struct source *s = &w->sources[pack];
    uint32_t n = w->u->packs[pack].pack.items;

    if (s->places)
        return 0;
    s->places = malloc(MAX(n, 1u) * sizeof(*s->places));
    if (!s->places)
        return fail_nomem(err);
    for (uint32_t i = 0; i < n; i++)
        s->places[i].pack = NOWHERE;
    return 0;
}

static int move_item(struct rewriter *w, uint32_t pack, uint32_t item,
                     struct error *err)
{
    const uint8_t *page;
    int rc = make_places(w, pack, err);

    if (rc < 0)
        return rc;
    if (item >= w->u->packs[pack].pack.items)
        return fail(err, ERR_CORRUPT, "pack '%s' has no item %u",
                    w->u->packs[pack].pack.id, item);
    if (w->sources[pack].places[item].pack != NOWHERE)
        return 0;
    rc = read_page(w, pack, item, &page, err);
    return rc < 0 ? rc
                  : store_page(w, page, &w->sources[pack].places[item], err);
}

/* From old places to new ones: w->old to w->new and its bytes in w->blob.
 * *ret_changed: some page moved. With `move` pages that have no new place yet
 * get one. */
static int renew_segment(struct rewriter *w, bool move, bool *ret_changed,
                         struct error *err)
{
    const struct segment *s = &w->old;
    uint32_t numbers[SEGMENT_PAGES];
    int rc = 0;

    *ret_changed = false;
    for (uint32_t i = 0; i < s->n_packs; i++) {
        numbers[i] = pack_set_find(&w->u->ids, s->packs[i]);
        *ret_changed |=
            numbers[i] != PACK_SET_NONE && w->sources[numbers[i]].chosen;
    }
    if (!*ret_changed)
        return 0;
    segment_init(&w->new);
    for (uint32_t i = 0; rc == 0 && i < s->n_runs; i++) {
        const struct segment_run *run = &s->runs[i];
        uint32_t pack = numbers[run->pack];
        bool chosen = pack != PACK_SET_NONE && w->sources[pack].chosen;

        for (uint32_t j = 0; rc == 0 && j < run->count; j++) {
            uint32_t item = run->item + j;
            const uint8_t *id = s->packs[run->pack];

            if (chosen && move)
                rc = move_item(w, pack, item, err);
            if (rc == 0 && chosen) {
                const struct dedup_place *to = &w->sources[pack].places[item];

                id = w->products[to->pack].id_bytes;
                item = to->item;
            }
            if (rc == 0)
                segment_add(&w->new, run->first + j, id, item);
        }
    }
    buf_reset(&w->blob);
    return rc < 0 ? rc : segment_encode(&w->new, &w->blob, err);
}

/* ---- Collecting ---- */

struct collecting {
    struct rewriter *w;
    struct manifest *m;
    const struct manifest_pack *packs;
};

static int check_stop(const struct rewriter *w, struct error *err)
{
    if (w->stop && stopper_pulled(w->stop))
        return stopper_error(w->stop, err);
    return 0;
}

static int collect_row(void *arg, uint32_t block,
                       const struct manifest_segment *row, struct error *err)
{
    struct collecting *c = arg;
    struct rewriter *w = c->w;
    uint32_t pack = number_of(w, c->packs[row->pack].id);
    bool changed;
    int rc = check_stop(w, err);

    if (rc == 0 && pack == PACK_SET_NONE)
        rc = fail(err, ERR_CORRUPT, "pack '%s' is not known",
                  c->packs[row->pack].id);
    if (rc == 0)
        rc = read_blob(w, c->m, block, row, pack, err);
    if (rc == 0)
        rc = renew_segment(w, true, &changed, err);
    if (rc < 0 || (!changed && !w->sources[pack].chosen))
        return rc;
    return store_blob(w, err);
}

int rewriter_collect(struct rewriter *w, struct manifest *m, struct error *err)
{
    struct collecting c = {.w = w, .m = m};
    uint32_t n;
    int rc;

    c.packs = manifest_packs(m, &n);
    rc = manifest_walk(m, collect_row, &c, err);
    return rc < 0 ? error_wrap(err, "snapshot '%s'", manifest_summary(m)->id)
                  : 0;
}

int rewriter_seal(struct rewriter *w, struct error *err)
{
    int rc = seal(w, &w->pages, err);

    return rc < 0 ? rc : seal(w, &w->index, err);
}

int rewriter_link(struct rewriter *w, struct lease *lease, struct error *err)
{
    cleanup_free const char **ids =
        calloc((size_t)w->n_products + 1, sizeof(*ids));
    int rc;

    if (!ids)
        return fail_nomem(err);
    for (uint32_t i = 0; i < w->n_products; i++)
        ids[i] = w->products[i].pack.id;
    rc = lease_intend(lease, ids, w->n_products, err);
    for (uint32_t i = 0; rc == 0 && i < w->n_products; i++)
        rc = pack_writer_link(w->products[i].writer, err);
    for (uint32_t i = 0; rc == 0 && i < w->n_products; i++)
        rc = verify_pack_whole(w->repository, &w->products[i].pack, w->stop,
                               err);
    return rc;
}

const struct manifest_pack *rewriter_product(const struct rewriter *w,
                                             uint32_t i)
{
    return i < w->n_products ? &w->products[i].pack : NULL;
}

uint64_t rewriter_bytes(const struct rewriter *w)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < w->n_products; i++)
        bytes += w->products[i].pack.bytes;
    return bytes;
}

/* ---- The object ---- */

struct building {
    struct rewriter *w;
    struct manifest *m;
    const struct manifest_pack *packs;
    struct snapshot_object *object;
};

static const struct manifest_pack *describe(const struct rewriter *w,
                                            const uint8_t *id)
{
    uint32_t number = pack_set_find(&w->u->ids, id);

    if (number != PACK_SET_NONE)
        return &w->u->packs[number].pack;
    for (uint32_t i = 0; i < w->n_products; i++) {
        if (memcmp(w->products[i].id_bytes, id, LAYOUT_PACK_ID_BYTES) == 0)
            return &w->products[i].pack;
    }
    return NULL;
}

static int use_pages(struct building *b, const struct segment *s,
                     struct error *err)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < s->n_runs; i++) {
        const struct segment_run *run = &s->runs[i];
        const struct manifest_pack *pack = describe(b->w, s->packs[run->pack]);

        if (!pack)
            return fail(err, ERR_CORRUPT, "a segment refers to no known pack");
        rc = snapshot_object_use(b->object, pack, run->item, run->count, err);
    }
    return rc;
}

static int build_row(void *arg, uint32_t block,
                     const struct manifest_segment *row, struct error *err)
{
    struct building *b = arg;
    struct rewriter *w = b->w;
    const char *idstr = manifest_blocks(b->m)->blocks[block].idstr;
    uint32_t pack = number_of(w, b->packs[row->pack].id);
    const struct manifest_pack *in = &b->packs[row->pack];
    struct manifest_segment new = *row;
    struct dedup_place place;
    bool changed;
    int rc = check_stop(w, err);

    if (rc == 0)
        rc = read_blob(w, b->m, block, row, pack, err);
    if (rc == 0)
        rc = renew_segment(w, false, &changed, err);
    if (rc < 0)
        return rc;
    if (changed || w->sources[pack].chosen) {
        if (!dedup_find(&w->known,
                        page_hash_of(w->key, w->blob.data, w->blob.len),
                        &place))
            return fail(err, ERR_CORRUPT, "a segment was not collected");
        in = &w->products[place.pack].pack;
        new.item = place.item;
        new.checksum = manifest_segment_checksum(idstr, row->segno,
                                                 w->blob.data, w->blob.len);
    }
    rc = use_pages(b, changed ? &w->new : &w->old, err);
    if (rc == 0)
        rc = snapshot_object_move(b->object, block, &new, in, err);
    return rc;
}

int rewriter_object(struct rewriter *w, struct manifest *m, struct buf *ret,
                    struct error *err)
{
    cleanup(snapshot_object) struct snapshot_object *object = NULL;
    struct building b = {.w = w, .m = m};
    uint32_t n;
    int rc = snapshot_object_new(m, &object, err);

    b.packs = manifest_packs(m, &n);
    b.object = object;
    if (rc == 0)
        rc = manifest_walk(m, build_row, &b, err);
    return rc < 0 ? rc : snapshot_object_finish(object, ret, err);
}

/*
 * snapshot_repack.c - a pack that is mostly dead is written again, smaller.
 *
 * A guest that changes its memory while it is captured sends pages again; what
 * was stored of them before is dead weight from the first day. Before the
 * index is written, the live pages of each own pack of which fewer than half
 * are live are read back and stored together in a new pack, in their old order;
 * the page map is told where they went. The old pack is then referred to by
 * nobody, and the commit drops it.
 *
 * It only saves space, so it gives up where there is none: as long as the map
 * has not been told, the old packs serve.
 */
#define LOG_AREA "repack"
#include "core/base/bitmap.h"
#include "core/base/log.h"
#include "storage/repository_inside.h"
#include "storage/snapshot_writer_inside.h"

struct moved_pack {
    struct bitmap live;         /* no words: not a pack of ours with pages */
    struct dedup_place *places; /* of each item; NULL: it stays */
};

struct repack {
    struct snapshot_writer *w;
    struct moved_pack *moved; /* one for each pack of the writer at the start */
    uint32_t n_moved;
    struct open_pack open;
};

static int find_live(struct repack *r, struct error *err)
{
    struct dedup_place places[SEGMENT_PAGES];
    const struct page_map *map = &r->w->map;

    for (uint32_t i = 0; i < r->n_moved; i++) {
        const struct writer_pack *pack = &r->w->packs[i];
        int rc = 0;

        if (pack->own && pack->kind == PACK_PAGES)
            rc = bitmap_init(&r->moved[i].live, pack->items, err);
        if (rc < 0)
            return rc;
    }
    for (uint32_t b = 0; b < map->n_blocks; b++) {
        for (uint64_t s = 0; s < map->blocks[b].n_segments; s++) {
            uint32_t n = page_map_read_segment(map, b, s, places);

            for (uint32_t i = 0; i < n; i++) {
                if (places[i].pack < PAGE_MAP_ZERO &&
                    r->moved[places[i].pack].live.words)
                    bitmap_set(&r->moved[places[i].pack].live, places[i].item);
            }
        }
    }
    return 0;
}

static bool is_mostly_dead(const struct moved_pack *pack)
{
    return pack->live.n_set > 0 && pack->live.n_set < pack->live.n_bits / 2;
}

static int move_item(struct repack *r, struct pack_writer *from, uint32_t item,
                     struct dedup_place *ret, struct error *err)
{
    uint8_t page[PAGE_BYTES];
    struct page_hash hash;
    int rc = pack_writer_read_page(from, item, page, err);

    if (rc == 0)
        rc = writer_make_room(r->w, &r->open, r->w->lanes[0].ring, &r->w->clock,
                              1, err);
    if (rc < 0)
        return rc;
    hash = page_hash_of(r->w->key, page, PAGE_BYTES);
    ret->pack = r->open.number;
    return pack_writer_add_page(r->open.writer, page, &hash, &ret->item, err);
}

static int move_pack(struct repack *r, uint32_t number, struct error *err)
{
    struct moved_pack *pack = &r->moved[number];
    struct pack_writer *from = r->w->packs[number].own;
    struct dedup_place *places =
        calloc((size_t)pack->live.n_bits, sizeof(*places));
    int rc = places ? 0 : fail_nomem(err);

    for (uint64_t item = bitmap_next_set(&pack->live, 0);
         rc == 0 && item < pack->live.n_bits;
         item = bitmap_next_set(&pack->live, item + 1))
        rc = move_item(r, from, (uint32_t)item, &places[item], err);
    pack->places = places;
    return rc;
}

static int tell_segment(struct repack *r, uint32_t block, uint64_t segno,
                        struct error *err)
{
    struct dedup_place places[SEGMENT_PAGES];
    uint32_t n = page_map_read_segment(&r->w->map, block, segno, places);
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        const struct dedup_place *to = places[i].pack < r->n_moved
                                           ? r->moved[places[i].pack].places
                                           : NULL;

        if (to)
            rc = page_map_move(&r->w->map, block, segno * SEGMENT_PAGES + i,
                               to[places[i].item], err);
    }
    return rc;
}

static int tell_map(struct repack *r, struct error *err)
{
    const struct page_map *map = &r->w->map;
    int rc = 0;

    for (uint32_t b = 0; b < map->n_blocks; b++) {
        for (uint64_t s = 0; rc == 0 && s < map->blocks[b].n_segments; s++)
            rc = tell_segment(r, b, s, err);
    }
    return rc;
}

static int run(struct repack *r, struct error *err)
{
    unsigned n = 0;
    int rc = find_live(r, err);

    for (uint32_t i = 0; rc == 0 && i < r->n_moved; i++) {
        if (is_mostly_dead(&r->moved[i])) {
            rc = move_pack(r, i, err);
            n++;
        }
    }
    if (rc == 0)
        rc = writer_seal_open(r->w, &r->open, err);
    return rc == 0 && n > 0 ? tell_map(r, err) : rc;
}

int snapshot_repack(struct snapshot_writer *w, struct error *err)
{
    struct repack r = {.w = w, .n_moved = w->n_packs};
    struct error why;
    int rc;

    r.moved = calloc(MAX(w->n_packs, 1u), sizeof(*r.moved));
    if (!r.moved)
        return fail_nomem(err);
    rc = run(&r, &why);
    if (rc < 0) {
        log_debug("given up: %s", why.message);
        writer_drop_from(w, r.n_moved);
    }
    for (uint32_t i = 0; i < r.n_moved; i++) {
        bitmap_release(&r.moved[i].live);
        free(r.moved[i].places);
    }
    free(r.moved);
    return rc == ERR_NOSPC ? 0 : rc < 0 ? error_copy(err, &why) : 0;
}

/*
 * snapshot_writer.c - a batch of pages: zero test, hash, place, store.
 *
 * Hashing and compressing take the time and are done by the lane alone. In
 * between the lock is taken once for the whole batch: each page is looked up,
 * new content is given its place *before* it is written (its lane's open pack,
 * the next item), and the places go into the page map. So content that comes
 * twice is stored once, also when the second one comes while the first is
 * still being compressed. If storing fails the places are wrong, and with them
 * the whole snapshot: the writer keeps its first error and gives nothing else
 * from then on.
 *
 * A pack is sealed when the next batch might take it over its size. Sealed
 * packs stay unnamed, each with a descriptor, until commit().
 */
#include "storage/snapshot_writer.h"

#include <sys/resource.h>

#include "core/base/clock.h"
#include "storage/repository_inside.h"
#include "storage/snapshot_writer_inside.h"

#define LEVEL_DEFAULT 1

/* What becomes of each page of a batch. */
struct batch_plan {
    uint32_t n_content;
    bool content[PAGE_BATCH_MAX]; /* not zero */
    bool store[PAGE_BATCH_MAX];   /* not stored yet */
    struct page_hash hash[PAGE_BATCH_MAX];
};

/* A pack is an open descriptor until the commit: 64 GiB of them are a
 * thousand, the usual limit. */
static void raise_open_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
        limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int writer_begin(struct snapshot_writer *w, struct error *err)
{
    struct ring_args ring_args = {0};
    int rc = lease_acquire(w->repository, "capture", NULL, &w->lease, err);

    for (unsigned i = 0; rc == 0 && i < w->n_lanes; i++)
        rc = ring_new(&ring_args, &w->lanes[i].ring, err);
    stage_clock_enter(&w->clock, CPU_INDEX);
    if (rc == 0)
        rc = snapshot_history_load(w, err);
    stage_clock_enter(&w->clock, CPU_STAGES);
    return rc;
}

int snapshot_writer_new(const struct snapshot_writer_args *args,
                        struct snapshot_writer **ret, struct error *err)
{
    cleanup(snapshot_writer) struct snapshot_writer *w = NULL;
    int rc;

    if (args->lanes < 1 || args->lanes > SNAPSHOT_LANES_MAX)
        return fail(err, ERR_INVALID, "%u lanes are not 1 to %u", args->lanes,
                    SNAPSHOT_LANES_MAX);
    w = calloc(1, sizeof(*w));
    if (!w)
        return fail_nomem(err);
    w->repository = args->repository;
    w->key = repository_write_key(args->repository);
    w->level = args->level ? args->level : LEVEL_DEFAULT;
    w->n_lanes = args->lanes;
    snprintf(w->vm, sizeof(w->vm), "%s", args->vm ? args->vm : "");
    snprintf(w->vm_uuid, sizeof(w->vm_uuid), "%s",
             args->vm_uuid ? args->vm_uuid : "");
    lock_init(&w->lock);
    dedup_init(&w->pages_known, &w->book, DEDUP_MAX_ENTRIES);
    dedup_init(&w->index_known, &w->index_book, DEDUP_MAX_ENTRIES);
    w->process_cpu_ns = clock_process_cpu_ns();
    w->thread_cpu_ns = clock_thread_cpu_ns();
    w->clock = STAGE_CLOCK_INIT;
    for (unsigned i = 0; i < w->n_lanes; i++)
        w->lanes[i].clock = STAGE_CLOCK_INIT;
    raise_open_files();
    rc = writer_begin(w, err);
    if (rc < 0)
        return error_wrap(err, "cannot begin a snapshot");
    *ret = steal_ptr(&w);
    return 0;
}

void snapshot_writer_free(struct snapshot_writer *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; i < w->n_packs; i++)
        pack_writer_free(w->packs[i].own);
    free(w->packs);
    for (unsigned i = 0; i < w->n_lanes; i++)
        ring_free(w->lanes[i].ring);
    pack_reader_close(w->get_reader);
    frame_codec_free(w->get_codec);
    buf_release(&w->get_frame);
    dedup_release(&w->pages_known);
    dedup_release(&w->index_known);
    page_map_release(&w->map);
    place_book_release(&w->book);
    place_book_release(&w->index_book);
    ramblock_list_release(&w->blocks);
    lease_release(w->lease);
    lock_release(&w->lock);
    free(w);
}

int snapshot_writer_set_blocks(struct snapshot_writer *w,
                               const struct ramblock_list *blocks,
                               struct error *err)
{
    int rc = 0;

    assert(w->blocks.n == 0);
    for (uint32_t i = 0; rc == 0 && i < blocks->n; i++)
        rc = ramblock_list_add(&w->blocks, &blocks->blocks[i], err);
    return rc < 0 ? rc : page_map_init(&w->map, &w->blocks, &w->book, err);
}

static int add_pack_locked(struct snapshot_writer *w, struct writer_pack *pack,
                           uint32_t *ret_number, struct error *err)
{
    uint32_t n = w->n_packs;

    if (n >= PAGE_MAP_ZERO / 2)
        return fail(err, ERR_UNSUPPORTED, "too many packs");
    /* Room comes in powers of two, so it is full when n is one. */
    if (!(n & (n - 1))) {
        struct writer_pack *packs =
            realloc(w->packs, (n ? (size_t)n * 2 : 1) * sizeof(*packs));

        if (!packs)
            return fail_nomem(err);
        w->packs = packs;
    }
    w->packs[n] = *pack;
    *ret_number = w->n_packs++;
    return 0;
}

int writer_add_pack(struct snapshot_writer *w, const char *id,
                    enum pack_kind kind, struct pack_writer *own,
                    uint32_t *ret_number, struct error *err)
{
    struct writer_pack pack = {.kind = kind, .own = own};

    memcpy(pack.id, id, sizeof(pack.id));
    if (!layout_id_bytes(id, pack.id_bytes, sizeof(pack.id_bytes)))
        return fail(err, ERR_INVALID, "'%.32s' is no pack", id);
    LOCK_SCOPE(&w->lock);
    return add_pack_locked(w, &pack, ret_number, err);
}

int writer_new_pack(struct snapshot_writer *w, enum pack_kind kind,
                    struct ring *ring, struct stage_clock *clock,
                    struct pack_writer **ret, uint32_t *ret_number,
                    struct error *err)
{
    struct pack_writer_args args = {
        .packs_dirfd = repository_packs_dirfd(w->repository),
        .kind = kind,
        .ring = ring,
        .level = w->level,
        .clock = clock,
        .hash_key_id = w->key->id,
    };
    struct pack_writer *own;
    int rc = pack_writer_new(&args, &own, err);

    if (rc < 0)
        return rc;
    rc = writer_add_pack(w, pack_writer_id(own), kind, own, ret_number, err);
    if (rc < 0)
        pack_writer_free(own);
    else
        *ret = own;
    return rc;
}

int writer_seal_pack(struct snapshot_writer *w, struct pack_writer *own,
                     uint32_t number, struct error *err)
{
    int rc = pack_writer_seal(own, err);

    if (rc < 0)
        return rc;
    LOCK_SCOPE(&w->lock);
    w->packs[number].bytes = pack_writer_bytes(own);
    w->packs[number].items = pack_writer_n_items(own);
    return 0;
}

static int check_batch(const struct snapshot_writer *w, unsigned lane,
                       const struct page_batch *batch, struct error *err)
{
    const struct ramblock *block;

    assert(lane < w->n_lanes);
    if (batch->block >= w->blocks.n || batch->n > PAGE_BATCH_MAX)
        return fail(err, ERR_INVALID, "%u pages of block %u cannot be put",
                    batch->n, batch->block);
    block = &w->blocks.blocks[batch->block];
    if (block->left_out)
        return fail(err, ERR_INVALID, "block '%s' is left out", block->idstr);
    for (uint32_t i = 0; i < batch->n; i++) {
        if (batch->pgno[i] >= ramblock_pages(block))
            return fail(err, ERR_INVALID, "block '%s' has no page %llu",
                        block->idstr, (unsigned long long)batch->pgno[i]);
    }
    return 0;
}

static const uint8_t *page_at(const struct page_batch *batch, uint32_t i)
{
    return batch->data + (size_t)i * PAGE_BYTES;
}

/* Two passes over a batch, which lies in a cache, and not one: so each of
 * them can be told what it costs. */
static void plan_batch(const struct snapshot_writer *w,
                       const struct page_batch *batch,
                       struct stage_clock *clock, struct batch_plan *ret)
{
    ret->n_content = 0;
    stage_clock_enter(clock, CPU_ZERO);
    for (uint32_t i = 0; i < batch->n; i++) {
        ret->store[i] = false;
        ret->content[i] = batch->data && !page_is_zero(page_at(batch, i));
        ret->n_content += ret->content[i];
    }
    stage_clock_enter(clock, CPU_HASH);
    for (uint32_t i = 0; i < batch->n; i++) {
        if (ret->content[i])
            ret->hash[i] = page_hash_of(w->key, page_at(batch, i), PAGE_BYTES);
    }
}

static int seal_lane(struct snapshot_writer *w, unsigned lane,
                     struct error *err)
{
    struct snapshot_lane *l = &w->lanes[lane];
    int rc = writer_seal_pack(w, l->open, l->pack, err);

    if (rc < 0)
        return rc;
    l->open = NULL;
    LOCK_SCOPE(&w->lock);
    w->stats.pack_bytes += w->packs[l->pack].bytes - w->open_bytes[lane];
    w->open_bytes[lane] = 0;
    return 0;
}

/* The lane has an open pack with room for `n` pages, whatever they compress
 * to. */
static int open_lane(struct snapshot_writer *w, unsigned lane, uint32_t n,
                     struct error *err)
{
    struct snapshot_lane *l = &w->lanes[lane];
    uint64_t worst = (uint64_t)n * WRITER_PAGE_WORST;
    int rc = 0;

    if (l->open && pack_writer_bytes(l->open) + worst <= PACK_TARGET_BYTES)
        return 0;
    if (l->open)
        rc = seal_lane(w, lane, err);
    return rc < 0 ? rc
                  : writer_new_pack(w, PACK_PAGES, l->ring, &l->clock, &l->open,
                                    &l->pack, err);
}

/* Where one page of a batch lies; `next_item` is that of the open pack. */
static struct dedup_place place_page_locked(struct snapshot_writer *w,
                                            const struct snapshot_lane *l,
                                            uint32_t i, struct batch_plan *plan,
                                            uint32_t *next_item)
{
    struct dedup_place place = {.pack = PAGE_MAP_ZERO};

    if (!plan->content[i])
        return place;
    if (dedup_find(&w->pages_known, plan->hash[i], &place)) {
        w->stats.duplicate++;
        return place;
    }
    place = (struct dedup_place){.pack = l->pack, .item = (*next_item)++};
    /* A full table only means that this content may be stored again. */
    (void)dedup_add(&w->pages_known, plan->hash[i], place);
    plan->store[i] = true;
    w->stats.stored++;
    return place;
}

static int place_batch(struct snapshot_writer *w, unsigned lane,
                       const struct page_batch *batch, struct batch_plan *plan,
                       struct error *err)
{
    const struct snapshot_lane *l = &w->lanes[lane];
    uint32_t next_item = l->open ? pack_writer_n_items(l->open) : 0;
    uint64_t bytes = l->open ? pack_writer_bytes(l->open) : 0;
    int rc = 0;

    LOCK_SCOPE(&w->lock);
    if (w->why_failed.code)
        return error_copy(err, &w->why_failed);
    for (uint32_t i = 0; rc == 0 && i < batch->n; i++) {
        struct dedup_place place = place_page_locked(w, l, i, plan, &next_item);

        rc = page_map_put(&w->map, batch->block, batch->pgno[i], batch->seq,
                          place, err);
    }
    w->stats.pages += batch->n;
    w->stats.pack_bytes += bytes - w->open_bytes[lane];
    w->open_bytes[lane] = bytes;
    return rc;
}

static int store_batch(struct snapshot_lane *l, const struct page_batch *batch,
                       const struct batch_plan *plan, struct error *err)
{
    uint32_t item;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < batch->n; i++) {
        if (plan->store[i])
            rc = pack_writer_add_page(l->open, page_at(batch, i),
                                      &plan->hash[i], &item, err);
    }
    return rc;
}

static int keep_failure(struct snapshot_writer *w, const struct error *why)
{
    LOCK_SCOPE(&w->lock);
    if (!w->why_failed.code)
        error_copy(&w->why_failed, why);
    return why->code;
}

int snapshot_writer_put(struct snapshot_writer *w, unsigned lane,
                        const struct page_batch *batch, struct error *err)
{
    struct stage_clock *clock = &w->lanes[lane].clock;
    struct batch_plan plan;
    int rc = check_batch(w, lane, batch, err);

    if (rc < 0)
        return rc;
    plan_batch(w, batch, clock, &plan);
    stage_clock_enter(clock, CPU_INDEX);
    if (plan.n_content > 0)
        rc = open_lane(w, lane, plan.n_content, err);
    if (rc == 0)
        rc = place_batch(w, lane, batch, &plan, err);
    stage_clock_enter(clock, CPU_COMPRESS);
    if (rc == 0)
        rc = store_batch(&w->lanes[lane], batch, &plan, err);
    stage_clock_enter(clock, CPU_STAGES);
    return rc < 0 ? keep_failure(w, err) : 0;
}

/* From a pack of an earlier snapshot. */
static int get_foreign(struct snapshot_writer *w, struct dedup_place place,
                       uint8_t *page, struct error *err)
{
    struct pack_place at;
    int rc = 0;

    if (w->get_reader && w->get_pack != place.pack) {
        pack_reader_close(w->get_reader);
        w->get_reader = NULL;
    }
    if (!w->get_codec)
        rc = frame_codec_new(0, &w->get_codec, err);
    if (rc == 0 && !w->get_reader)
        rc = pack_reader_open(repository_packs_dirfd(w->repository),
                              w->packs[place.pack].id, PACK_PAGES,
                              &w->get_reader, err);
    if (rc < 0)
        return rc;
    w->get_pack = place.pack;
    rc = pack_reader_place(w->get_reader, place.item, &at, err);
    buf_reset(&w->get_frame);
    if (rc == 0)
        rc = buf_reserve(&w->get_frame, at.raw_bytes, err);
    if (rc == 0)
        rc = pack_reader_frame(w->get_reader, at.frame, w->get_codec,
                               w->get_frame.data, err);
    if (rc == 0)
        memcpy(page, w->get_frame.data + (size_t)at.slot * PAGE_BYTES,
               PAGE_BYTES);
    return rc;
}

int snapshot_writer_get(struct snapshot_writer *w, uint32_t block, pgno_t pgno,
                        uint8_t *page, struct error *err)
{
    struct dedup_place place;
    struct pack_writer *own = NULL;

    if (block >= w->blocks.n ||
        pgno >= ramblock_pages(&w->blocks.blocks[block]))
        return fail(err, ERR_INVALID, "block %u has no page %llu", block,
                    (unsigned long long)pgno);
    {
        LOCK_SCOPE(&w->lock);
        place = page_map_get(&w->map, block, pgno);
        if (place.pack < PAGE_MAP_ZERO)
            own = w->packs[place.pack].own;
    }
    if (place.pack == PAGE_MAP_UNSEEN)
        return fail(err, ERR_NOTFOUND, "page %llu of block '%s' was never sent",
                    (unsigned long long)pgno, w->blocks.blocks[block].idstr);
    if (place.pack == PAGE_MAP_ZERO) {
        memset(page, 0, PAGE_BYTES);
        return 0;
    }
    return own ? pack_writer_read_page(own, place.item, page, err)
               : get_foreign(w, place, page, err);
}

const char *snapshot_writer_slow_io(const struct snapshot_writer *w)
{
    const struct ring *ring = w->lanes[0].ring;

    return ring_is_uring(ring) ? NULL : ring_kind(ring);
}

void snapshot_writer_spent(struct snapshot_writer *w, enum cpu_stage stage,
                           uint64_t ns)
{
    LOCK_SCOPE(&w->lock);
    w->spent.ns[stage] += ns;
}

void snapshot_writer_stats(struct snapshot_writer *w,
                           struct snapshot_writer_stats *ret)
{
    LOCK_SCOPE(&w->lock);
    *ret = w->stats;
}

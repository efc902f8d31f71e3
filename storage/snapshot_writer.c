/*
 * snapshot_writer.c - a writer's life, its table of packs, and reading back.
 *
 * Batches of pages are taken by snapshot_put.c. Sealed packs stay unnamed, each
 * with a descriptor, until commit().
 */
#include "storage/snapshot_writer.h"

#include <sys/resource.h>

#include "core/base/clock.h"
#include "core/codec/frame_codec.h"
#include "storage/repository_inside.h"
#include "storage/snapshot_writer_inside.h"

#define LEVEL_DEFAULT 1

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
    w->across_vms = args->across_vms;
    snprintf(w->vm, sizeof(w->vm), "%s", args->vm ? args->vm : "");
    snprintf(w->vm_uuid, sizeof(w->vm_uuid), "%s",
             args->vm_uuid ? args->vm_uuid : "");
    lock_init(&w->lock);
    dedup_init(&w->pages_known, &w->book, DEDUP_MAX_ENTRIES);
    dedup_init(&w->index_known, &w->index_book, DEDUP_MAX_ENTRIES);
    w->process_cpu_ns = clock_process_cpu_ns();
    w->thread_cpu_ns = clock_thread_cpu_ns();
    w->clock = STAGE_CLOCK_INIT;
    pack_pages_init(&w->stored, repository_packs_dirfd(w->repository));
    for (unsigned i = 0; i < w->n_lanes; i++) {
        w->lanes[i].clock = STAGE_CLOCK_INIT;
        pack_pages_init(&w->lanes[i].stored,
                        repository_packs_dirfd(w->repository));
    }
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
    for (unsigned i = 0; i < w->n_lanes; i++) {
        ring_free(w->lanes[i].ring);
        pack_pages_release(&w->lanes[i].stored);
    }
    pack_pages_release(&w->stored);
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

/* The index is small, and always worth it. */
static int index_level(const struct snapshot_writer *w)
{
    return w->level == FRAME_CODEC_NONE ? LEVEL_DEFAULT : w->level;
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
        .level = kind == PACK_INDEX ? index_level(w) : w->level,
        .frame_bytes = repository_frame_bytes(w->repository),
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

static void drop_pack(struct snapshot_writer *w, uint32_t number)
{
    struct pack_writer *own;
    {
        LOCK_SCOPE(&w->lock);
        own = steal_ptr(&w->packs[number].own);
    }
    pack_writer_free(own);
}

void writer_drop_from(struct snapshot_writer *w, uint32_t from)
{
    for (uint32_t i = from; i < w->n_packs; i++)
        drop_pack(w, i);
}

int writer_seal_open(struct snapshot_writer *w, struct open_pack *open,
                     struct error *err)
{
    struct pack_writer *own = steal_ptr(&open->writer);
    int rc = 0;

    if (own && pack_writer_n_items(own) == 0)
        drop_pack(w, open->number);
    else if (own)
        rc = writer_seal_pack(w, own, open->number, err);
    if (rc < 0 || !own)
        return rc;
    LOCK_SCOPE(&w->lock);
    w->stats.pack_bytes += w->packs[open->number].bytes - open->told_bytes;
    open->told_bytes = 0;
    return 0;
}

int writer_make_room(struct snapshot_writer *w, struct open_pack *open,
                     struct ring *ring, struct stage_clock *clock, uint32_t n,
                     struct error *err)
{
    uint64_t worst = (uint64_t)n * WRITER_PAGE_WORST;
    int rc;

    if (open->writer &&
        pack_writer_bytes(open->writer) + worst <= PACK_TARGET_BYTES)
        return 0;
    rc = writer_seal_open(w, open, err);
    return rc < 0 ? rc
                  : writer_new_pack(w, PACK_PAGES, ring, clock, &open->writer,
                                    &open->number, err);
}

/* From a pack of an earlier snapshot. */
static int get_foreign(struct snapshot_writer *w, struct dedup_place place,
                       uint8_t *page, struct error *err)
{
    const uint8_t *stored;
    int rc = pack_pages_get(&w->stored, place.pack, w->packs[place.pack].id,
                            place.item, &stored, err);

    if (rc == 0)
        memcpy(page, stored, PAGE_BYTES);
    return rc;
}

int writer_read_place(struct snapshot_writer *w, struct dedup_place place,
                      uint8_t *page, struct error *err)
{
    struct pack_writer *own = w->packs[place.pack].own;

    return own ? pack_writer_read_page(own, place.item, page, err)
               : get_foreign(w, place, page, err);
}

int snapshot_writer_get(struct snapshot_writer *w, uint32_t block, pgno_t pgno,
                        uint8_t *page, struct error *err)
{
    struct dedup_place place;

    if (block >= w->blocks.n ||
        pgno >= ramblock_pages(&w->blocks.blocks[block]))
        return fail(err, ERR_INVALID, "block %u has no page %llu", block,
                    (unsigned long long)pgno);
    {
        LOCK_SCOPE(&w->lock);
        place = page_map_get(&w->map, block, pgno);
    }
    if (place.pack == PAGE_MAP_UNSEEN)
        return fail(err, ERR_NOTFOUND, "page %llu of block '%s' was never sent",
                    (unsigned long long)pgno, w->blocks.blocks[block].idstr);
    if (place.pack == PAGE_MAP_ZERO) {
        memset(page, 0, PAGE_BYTES);
        return 0;
    }
    return writer_read_place(w, place, page, err);
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

/* So far: what remains is a small file and some names. What this thread did
 * beside the stages is "other". What no thread of ours accounts for was done by
 * the kernel's, which write for the rings. */
void writer_sum_cost(struct snapshot_writer *w, struct snapshot_cost *cost)
{
    uint64_t thread_ns = clock_thread_cpu_ns() - w->thread_cpu_ns;
    uint64_t process_ns = clock_process_cpu_ns() - w->process_cpu_ns;
    uint64_t known_ns;
    struct rusage usage;

    stage_clock_enter(&w->clock, CPU_WRITE);
    stage_clock_enter(&w->clock, CPU_INDEX);
    cost->cpu = w->clock.spent;
    known_ns = cpu_stages_total(&cost->cpu);
    if (thread_ns > known_ns)
        cost->cpu.ns[CPU_OTHER] += thread_ns - known_ns;
    for (unsigned i = 0; i < w->n_lanes; i++)
        cpu_stages_add(&cost->cpu, &w->lanes[i].clock.spent);
    {
        LOCK_SCOPE(&w->lock);
        cpu_stages_add(&cost->cpu, &w->spent);
    }
    known_ns = cpu_stages_total(&cost->cpu);
    if (process_ns > known_ns)
        cost->cpu.ns[CPU_WRITE] += process_ns - known_ns;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        cost->peak_bytes = (uint64_t)usage.ru_maxrss * 1024;
}

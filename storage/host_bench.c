/*
 * host_bench.c - one function a figure, told as soon as it is known.
 *
 * Each repeats its work until its spell is over. The sample that is compressed
 * is what this process has of programs and libraries: code, tables and text as
 * they lie in memory, and there without a file of our own.
 */
#include "storage/host_bench.h"

#include <link.h>
#include <sys/uio.h>

#include "core/base/clock.h"
#include "core/codec/frame_codec.h"
#include "storage/dedup.h"
#include "storage/objects/ring.h"
#include "storage/packs/page_hash.h"
#include "storage/page_map.h"
#include "storage/segment_cache.h"
#include "storage/space.h"

#define SPELL_MS     250u
#define MEMORY_BYTES (UINT64_C(64) << 20) /* more than caches hold */
#define SAMPLE_BYTES (UINT64_C(8) << 20)
#define FRAME_BYTES  FRAME_CODEC_USUAL_BYTES
#define DISK_BYTES   (UINT64_C(256) << 20)
#define INDEX_PAGES  (UINT64_C(1) << 18) /* 1 GiB of guest memory */
#define PACK_PAGES   UINT64_C(65536)

struct host_bench {
    const struct host_bench_args *args;
    uint64_t spell_ns;
    uint8_t *memory; /* MEMORY_BYTES; the sample at its start */
    size_t sample_bytes;
};

static int tell(const struct host_bench *b, const char *name, double value,
                const char *unit, double ratio, const char *detail,
                struct error *err)
{
    const struct host_bench_args *a = b->args;

    if (a->stop && stopper_pulled(a->stop))
        return stopper_error(a->stop, err);
    return a->tell(a->arg,
                   &(struct host_bench_figure){.name = name,
                                               .value = value,
                                               .unit = unit,
                                               .ratio = ratio,
                                               .detail = detail},
                   err);
}

/* Amount a second of `ns`, in units of `scale`. */
static double rate(uint64_t amount, uint64_t ns, double scale)
{
    return (double)amount * 1e9 / scale / (double)MAX(ns, UINT64_C(1));
}

/* A stretch of work. Its end is by the clock; what it took is by the processor,
 * so that the figures are the host's and not its load's. */
struct spell {
    uint64_t end_ns;
    uint64_t cpu_ns;
};

static struct spell spell_begin(const struct host_bench *b)
{
    return (struct spell){.end_ns = clock_monotonic_ns() + b->spell_ns,
                          .cpu_ns = clock_thread_cpu_ns()};
}

static bool spell_goes_on(const struct spell *s)
{
    return clock_monotonic_ns() < s->end_ns;
}

static uint64_t spell_took_ns(const struct spell *s)
{
    return clock_thread_cpu_ns() - s->cpu_ns;
}

/* What nobody reads the compiler leaves out. */
static void keep(uint64_t value)
{
    __asm__ volatile("" : : "r"(value));
}

static int bench_hash(const struct host_bench *b, struct error *err)
{
    static const struct hash_key key = {.id = 1, .secret = {1, 2, 3}};
    uint64_t bytes = 0, sum = 0;
    struct spell spell = spell_begin(b);

    do {
        for (uint64_t at = 0; at < MEMORY_BYTES; at += PAGE_BYTES)
            sum += page_hash_of(&key, b->memory + at, PAGE_BYTES).low;
        bytes += MEMORY_BYTES;
    } while (spell_goes_on(&spell));
    keep(sum);
    return tell(b, "hash", rate(bytes, spell_took_ns(&spell), 1e9), "GB/s", 0,
                "XXH3-128 of pages", err);
}

static int bench_zero(const struct host_bench *b, struct error *err)
{
    uint64_t bytes = 0, zero = 0;
    struct spell spell;

    memset(b->memory, 0, MEMORY_BYTES);
    spell = spell_begin(b);
    do {
        for (uint64_t at = 0; at < MEMORY_BYTES; at += PAGE_BYTES)
            zero += page_is_zero(b->memory + at);
        bytes += MEMORY_BYTES;
    } while (spell_goes_on(&spell));
    keep(zero);
    return tell(b, "zero test", rate(bytes, spell_took_ns(&spell), 1e9), "GB/s",
                0, "of pages that are zero to the end", err);
}

/* Adds the readable parts of one object of this process to the sample. The
 * kernel copies them: between the objects of a sanitized program lies memory
 * that no code of it may read. */
static int take_sample(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct host_bench *b = arg;

    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        size_t n = MIN(p->p_memsz, SAMPLE_BYTES - b->sample_bytes);
        struct iovec from, to;
        ssize_t got;

        if (p->p_type != PT_LOAD || !(p->p_flags & PF_R) || (p->p_flags & PF_W))
            continue;
        from = (struct iovec){(void *)(info->dlpi_addr + p->p_vaddr), n};
        to = (struct iovec){b->memory + b->sample_bytes, n};
        got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
        b->sample_bytes += (size_t)MAX(got, (ssize_t)0);
    }
    return 0;
}

static int bench_level(const struct host_bench *b, int level, uint8_t *out,
                       struct error *err)
{
    cleanup(frame_codec) struct frame_codec *codec = NULL;
    uint64_t bytes = 0, stored = 0;
    struct spell spell;
    char name[32];
    int rc = frame_codec_new(level, &codec, err);

    if (rc < 0)
        return rc;
    spell = spell_begin(b);
    do {
        for (size_t at = 0; at < b->sample_bytes; at += FRAME_BYTES) {
            size_t len;

            rc = frame_codec_compress(codec, b->memory + at, FRAME_BYTES, out,
                                      &len, err);
            if (rc < 0)
                return rc;
            bytes += FRAME_BYTES;
            stored += len ? len : FRAME_BYTES;
            if (bytes >= b->sample_bytes && !spell_goes_on(&spell))
                break;
        }
    } while (spell_goes_on(&spell));
    snprintf(name, sizeof(name), "zstd %d", level);
    return tell(b, name, rate(bytes, spell_took_ns(&spell), 1e6), "MB/s",
                (double)bytes / (double)MAX(stored, UINT64_C(1)),
                "frames of 32 KiB of this program and its libraries", err);
}

/* One frame again and again: what a fault waits for. */
static int bench_decode(const struct host_bench *b, uint8_t *out,
                        struct error *err)
{
    cleanup(frame_codec) struct frame_codec *codec = NULL;
    uint8_t *frame = b->memory + b->sample_bytes;
    uint64_t bytes = 0;
    struct spell spell;
    size_t len = 0;
    int rc = frame_codec_new(1, &codec, err);

    /* The first that compresses; behind the sample is room. */
    for (size_t at = 0; rc == 0 && len == 0 && at < b->sample_bytes;
         at += FRAME_BYTES)
        rc = frame_codec_compress(codec, b->memory + at, FRAME_BYTES, frame,
                                  &len, err);
    if (rc < 0 || len == 0)
        return rc;
    spell = spell_begin(b);
    do {
        rc = frame_codec_decompress(codec, frame, len, out, FRAME_BYTES, err);
        bytes += FRAME_BYTES;
    } while (rc == 0 && spell_goes_on(&spell));
    return rc < 0
               ? rc
               : tell(b, "zstd decode", rate(bytes, spell_took_ns(&spell), 1e6),
                      "MB/s", 0, "a frame of 32 KiB, level 1", err);
}

static int bench_zstd(struct host_bench *b, struct error *err)
{
    static const int levels[] = {-5, 1, 3, 6, 9};
    cleanup_free uint8_t *out = malloc(FRAME_BYTES);
    int rc = out ? 0 : fail_nomem(err);

    dl_iterate_phdr(take_sample, b);
    b->sample_bytes -= b->sample_bytes % FRAME_BYTES;
    if (rc == 0 && b->sample_bytes == 0)
        rc = fail_errno(err, ERR_IO, "read this program's own memory");
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(levels); i++)
        rc = bench_level(b, levels[i], out, err);
    return rc < 0 ? rc : bench_decode(b, out, err);
}

/* Writes `DISK_BYTES` as packs are written, and syncs. */
static int fill_file(struct ring *ring, int fd, const uint8_t *from,
                     struct stopper *stop, struct error *err)
{
    size_t piece = ring_buffer_bytes(ring);
    uint8_t *buffer;
    int rc = 0;

    for (uint64_t at = 0; rc == 0 && at < DISK_BYTES; at += piece) {
        if (stop && stopper_pulled(stop))
            return stopper_error(stop, err);
        rc = ring_take_buffer(ring, &buffer, err);
        if (rc < 0)
            return rc;
        memcpy(buffer, from + at % (MEMORY_BYTES - piece), piece);
        rc = ring_write(ring, fd, buffer, piece, at, err);
    }
    return rc < 0 ? rc : ring_sync(ring, fd, err);
}

static int bench_disk(const struct host_bench *b, struct error *err)
{
    cleanup(ring) struct ring *ring = NULL;
    cleanup_close int fd = -1;
    uint64_t from;
    int rc = space_check(b->args->repository, 0, DISK_BYTES, err);

    if (rc == 0)
        rc = ring_new(&(struct ring_args){0}, &ring, err);
    if (rc == 0)
        rc = repository_unnamed_file(b->args->repository, &fd, err);
    if (rc < 0)
        return rc;
    from = clock_monotonic_ns();
    rc = fill_file(ring, fd, b->memory, b->args->stop, err);
    return rc < 0 ? rc
                  : tell(b, "disk",
                         rate(DISK_BYTES, clock_monotonic_ns() - from, 1e6),
                         "MB/s", 0,
                         ring_is_uring(ring) ? "256 MiB and a sync, io_uring"
                                             : "256 MiB and a sync, pwrite",
                         err);
}

/* The i-th page's content is like no other's. */
static struct page_hash some_hash(uint64_t i)
{
    return checksum128(&i, sizeof(i), 1);
}

/* Runs of 8 pages, as several writers and a VM's history leave them. */
static struct dedup_place some_place(uint64_t i)
{
    uint64_t at = i / 8 * 5 % (INDEX_PAGES / 8) * 8 + i % 8;

    return (struct dedup_place){.pack = (uint32_t)(at / PACK_PAGES),
                                .item = (uint32_t)(at % PACK_PAGES)};
}

/* What the index does with a page of a capture: is the content known, it is
 * now, and there the page lies. */
static int insert_pages(struct dedup *known, struct page_map *map,
                        struct error *err)
{
    struct dedup_place place;
    int rc = 0;

    for (uint64_t i = 0; rc == 0 && i < INDEX_PAGES; i++) {
        struct page_hash hash = some_hash(i);

        if (!dedup_find(known, hash, &place)) {
            place = some_place(i);
            dedup_add(known, hash, place);
        }
        rc = page_map_put(map, 0, i, 1, place, err);
    }
    return rc;
}

static int encode_segment(const struct page_map *map, uint64_t segno,
                          struct segment *segment, struct buf *ret,
                          struct error *err)
{
    struct dedup_place places[SEGMENT_PAGES];
    uint32_t n = page_map_read_segment(map, 0, segno, places);

    segment_init(segment);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t pack[SEGMENT_PACK_ID_BYTES] = {(uint8_t)places[i].pack};

        segment_add(segment, i, pack, places[i].item);
    }
    buf_reset(ret);
    return segment_encode(segment, ret, err);
}

/* Segments come as they lie in an index pack, and are kept. */
static int look_up(const struct host_bench *b, const struct page_map *map,
                   struct segment_cache *cache, struct segment *segment,
                   struct error *err)
{
    cleanup_buf struct buf bytes = BUF_INIT;
    const struct cached_segment *found;
    uint64_t spent = 0, n, sum = 0;
    struct spell spell;
    int rc = 0;

    for (n = 0; rc == 0 && n < INDEX_PAGES / SEGMENT_PAGES; n++) {
        rc = encode_segment(map, n, segment, &bytes, err);
        spell = spell_begin(b);
        if (rc == 0)
            rc = segment_decode(bytes.data, bytes.len, segment, err);
        if (rc == 0)
            rc = segment_cache_put(cache, 0, n, segment, &found, err);
        spent += spell_took_ns(&spell);
    }
    if (rc == 0)
        rc = tell(b, "first lookup", (double)spent / 1e3 / (double)n, "us", 0,
                  "decoding the index of 512 pages", err);
    spell = spell_begin(b);
    for (n = 0; rc == 0 && (n % 1024 || spell_goes_on(&spell)); n++) {
        uint64_t page = n * UINT64_C(2654435761) % INDEX_PAGES;

        found = segment_cache_find(cache, 0, page / SEGMENT_PAGES);
        sum +=
            segment_run_find(found->runs, found->n_runs, page % SEGMENT_PAGES)
                ->item;
    }
    keep(sum);
    return rc < 0 ? rc
                  : tell(b, "index lookups",
                         rate(n, spell_took_ns(&spell), 1e6), "Mpages/s", 0,
                         "pages anywhere in 1 GiB, index decoded", err);
}

static int bench_lookups(const struct host_bench *b, const struct page_map *map,
                         struct error *err)
{
    cleanup_free struct segment *segment = malloc(sizeof(*segment));
    struct segment_cache *cache = NULL;
    int rc = segment ? segment_cache_new(&cache, err) : fail_nomem(err);

    if (rc == 0)
        rc = look_up(b, map, cache, segment, err);
    segment_cache_free(cache);
    return rc;
}

static int bench_index(const struct host_bench *b, struct error *err)
{
    struct ramblock block = {.idstr = "ram",
                             .used_bytes = INDEX_PAGES * PAGE_BYTES,
                             .host_page_bytes = PAGE_BYTES};
    struct ramblock_list blocks = {.blocks = &block, .n = 1};
    struct place_book book = {0};
    struct page_map map = {0};
    struct dedup known;
    struct spell spell;
    int rc = page_map_init(&map, &blocks, &book, err);

    dedup_init(&known, &book, INDEX_PAGES);
    spell = spell_begin(b);
    if (rc == 0)
        rc = insert_pages(&known, &map, err);
    if (rc == 0)
        rc = tell(b, "index inserts",
                  rate(INDEX_PAGES, spell_took_ns(&spell), 1e6), "Mpages/s", 0,
                  "new pages of 1 GiB, contents looked up and added", err);
    if (rc == 0)
        rc = bench_lookups(b, &map, err);
    dedup_release(&known);
    page_map_release(&map);
    place_book_release(&book);
    return rc;
}

int host_bench_run(const struct host_bench_args *args, struct error *err)
{
    struct host_bench b = {.args = args};
    int rc;

    b.spell_ns =
        (uint64_t)(args->spell_ms ? args->spell_ms : SPELL_MS) * NS_PER_MS;
    b.memory = malloc(MEMORY_BYTES);
    rc = b.memory ? bench_zero(&b, err) : fail_nomem(err);
    if (rc == 0)
        rc = bench_hash(&b, err);
    if (rc == 0)
        rc = bench_zstd(&b, err);
    if (rc == 0 && args->repository)
        rc = bench_disk(&b, err);
    if (rc == 0)
        rc = bench_index(&b, err);
    free(b.memory);
    return rc;
}

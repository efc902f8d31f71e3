/*
 * lanes.c - what the writers of a capture cost, without a guest.
 *
 * A made-up image (image.h) goes through N lanes into a fresh repository, then,
 * after every twentieth page was written again, once more. Beside it, in the
 * same run, on one core: zstd alone over the same frames. Times are processor
 * seconds, so that they mean something on a machine that does other things.
 *
 *   lanes [--mib N] [--lanes N] [--level N] [--runs N] [--work FOLDER]
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench/storage/image.h"
#include "core/base/clock.h"
#include "core/base/worker.h"
#include "core/codec/frame_codec.h"
#include "storage/snapshot_writer.h"

#define FRAME_BYTES (8 * (size_t)PAGE_BYTES)
#define GIB         1073741824.0

struct bench {
    uint64_t mib;
    unsigned lanes;
    int level;
    unsigned runs;
    const char *work;

    uint8_t *memory;
    uint64_t pages;
    struct snapshot_writer *writer;
    _Atomic uint64_t next; /* batch */
    _Atomic unsigned next_lane;
};

static void check(int rc, const struct error *err)
{
    if (rc == 0)
        return;
    fprintf(stderr, "lanes: %s\n", err->message);
    exit(1);
}

static int lane_main(void *arg, struct error *err)
{
    struct bench *b = arg;
    unsigned lane = b->next_lane++;
    uint64_t n = b->pages / PAGE_BATCH_MAX;
    int rc = 0;

    for (uint64_t i = b->next++; rc == 0 && i < n; i = b->next++) {
        struct page_batch batch = {.seq = i + 1, .n = PAGE_BATCH_MAX};

        for (uint32_t k = 0; k < batch.n; k++)
            batch.pgno[k] = i * PAGE_BATCH_MAX + k;
        batch.data = b->memory + i * PAGE_BATCH_MAX * PAGE_BYTES;
        rc = snapshot_writer_put(b->writer, lane, &batch, err);
    }
    return rc;
}

static void no_cancel(void *arg)
{
    (void)arg;
}

static void put_all(struct bench *b)
{
    struct worker_group group;
    struct error err;

    b->next = 0;
    b->next_lane = 0;
    worker_group_init(&group, no_cancel, NULL);
    for (unsigned i = 0; i < b->lanes; i++)
        check(worker_start(&group, "lane", lane_main, b, &err), &err);
    check(worker_group_join(&group, &err), &err);
    worker_group_release(&group);
}

static void set_blocks(struct bench *b)
{
    struct ramblock_list blocks = {0};
    struct ramblock block = {.used_bytes = b->pages * PAGE_BYTES,
                             .host_page_bytes = PAGE_BYTES,
                             .idstr = "pc.ram"};
    struct error err;

    check(ramblock_list_add(&blocks, &block, &err), &err);
    check(snapshot_writer_set_blocks(b->writer, &blocks, &err), &err);
    ramblock_list_release(&blocks);
}

static void commit(struct bench *b, struct snapshot_summary *ret)
{
    struct machine_config config = {.machine = "none"};
    struct device_state devices = {.run_state = "running"};
    struct snapshot_summary given = {.time_ns = clock_realtime_ns(),
                                     .mode = "stream",
                                     .run_state = "running"};
    struct snapshot_record record = {
        .config = &config, .devices = &devices, .summary = &given};
    struct error err;
    int rc = buf_append(&config.raw, "\0", 1, &err);

    if (rc == 0)
        rc = buf_append(&devices.tail, "\0", 1, &err);
    if (rc == 0)
        rc = buf_append(&devices.vmdesc, "{}", 2, &err);
    if (rc == 0)
        rc = snapshot_writer_commit(b->writer, &record, ret, &err);
    check(rc, &err);
    buf_release(&config.raw);
    buf_release(&devices.tail);
    buf_release(&devices.vmdesc);
}

static void say(const char *what, const struct snapshot_summary *s,
                double wall_s, uint64_t pages)
{
    double gib = (double)pages * PAGE_BYTES / GIB;
    double cpu_s = (double)cpu_stages_total(&s->cost.cpu) / 1e9;

    printf("%-8s %6.2f s wall %6.2f s cpu %6.2f s cpu/GiB %8.1f MB stored "
           "%7.1f MB peak |",
           what, wall_s, cpu_s, cpu_s / gib, (double)s->stored_bytes / 1e6,
           (double)s->cost.peak_bytes / 1e6);
    for (unsigned i = 0; i < CPU_STAGES; i++)
        printf(" %s %.3f", cpu_stage_name(i),
               (double)s->cost.cpu.ns[i] / 1e9 / gib);
    printf(" s/GiB\n");
    fflush(stdout);
}

static void capture(struct bench *b, struct repository *r, const char *what)
{
    struct snapshot_writer_args args = {
        .repository = r, .vm = "bench", .level = b->level, .lanes = b->lanes};
    struct snapshot_summary s;
    uint64_t begun_ns = clock_monotonic_ns();
    struct error err;

    check(snapshot_writer_new(&args, &b->writer, &err), &err);
    set_blocks(b);
    put_all(b);
    commit(b, &s);
    snapshot_writer_free(b->writer);
    say(what, &s, (double)(clock_monotonic_ns() - begun_ns) / 1e9, b->pages);
    snapshot_summary_release(&s);
}

/* All frames that are not zero, and nothing else. */
static void zstd_alone(struct bench *b)
{
    uint64_t begun_ns = clock_thread_cpu_ns(), raw = 0, stored = 0;
    struct frame_codec *codec;
    uint8_t out[FRAME_BYTES];
    struct error err;

    check(frame_codec_new(b->level, &codec, &err), &err);
    for (uint64_t at = 0; at < b->pages * PAGE_BYTES; at += FRAME_BYTES) {
        size_t n;

        if (page_is_zero(b->memory + at))
            continue;
        check(frame_codec_compress(codec, b->memory + at, FRAME_BYTES, out, &n,
                                   &err),
              &err);
        raw += FRAME_BYTES;
        stored += n ? n : FRAME_BYTES;
    }
    frame_codec_free(codec);
    printf("zstd %2d  %6.2f s cpu for %.1f MB: %.0f MB/s, ratio %.3f\n",
           b->level, (double)(clock_thread_cpu_ns() - begun_ns) / 1e9,
           (double)raw / 1e6,
           (double)raw * 1e3 / (double)(clock_thread_cpu_ns() - begun_ns),
           (double)raw / (double)stored);
}

static void run_once(struct bench *b, unsigned number)
{
    char path[512], command[600];
    struct repository *r;
    struct error err;

    snprintf(path, sizeof(path), "%s/firn-lanes-%d", b->work, (int)getpid());
    check(repository_create(path, &err), &err);
    check(repository_open(path, &r, &err), &err);
    image_fill(b->memory, b->pages, number + 1);
    zstd_alone(b);
    capture(b, r, "first");
    printf("         %llu pages written again\n",
           (unsigned long long)image_dirty(b->memory, b->pages, 20,
                                           number + 100));
    capture(b, r, "second");
    repository_close(r);
    snprintf(command, sizeof(command), "rm -rf '%s'", path);
    if (system(command) != 0)
        fprintf(stderr, "lanes: '%s' stays\n", path);
    madvise(b->memory, b->pages * PAGE_BYTES, MADV_DONTNEED);
}

static void read_options(struct bench *b, int argc, char **argv)
{
    static const struct option options[] = {
        {"mib", required_argument, NULL, 'm'},
        {"lanes", required_argument, NULL, 'n'},
        {"level", required_argument, NULL, 'l'},
        {"runs", required_argument, NULL, 'r'},
        {"work", required_argument, NULL, 'w'},
        {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == 'm')
            b->mib = strtoull(optarg, NULL, 10);
        else if (c == 'n')
            b->lanes = (unsigned)strtol(optarg, NULL, 10);
        else if (c == 'l')
            b->level = (int)strtol(optarg, NULL, 10);
        else if (c == 'r')
            b->runs = (unsigned)strtol(optarg, NULL, 10);
        else if (c == 'w')
            b->work = optarg;
        else
            exit(2);
    }
}

int main(int argc, char **argv)
{
    struct bench b = {
        .mib = 1024, .lanes = 2, .level = 1, .runs = 1, .work = "/dev/shm"};

    read_options(&b, argc, argv);
    b.pages = b.mib << (20 - PAGE_BITS);
    b.memory = mmap(NULL, b.pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (b.memory == MAP_FAILED)
        return 1;
    for (unsigned i = 0; i < b.runs; i++)
        run_once(&b, i);
    munmap(b.memory, b.pages * PAGE_BYTES);
    return 0;
}

/*
 * series.c - what filling costs at the least: one thread that decompresses
 * frames of 16 KiB from memory and places them by UFFDIO_COPY, one after the
 * other, and nothing else. Prints bytes a second as JSON.
 *
 *   series IMAGE BYTES THREADS
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include "core/base/clock.h"
#include "core/codec/frame_codec.h"
#include "core/host/uffd.h"

#define FRAME 16384u
#define BATCH 65536u

struct part {
    pthread_t thread;
    const uint8_t *image; /* this part's */
    uint64_t len;
    uint8_t *memory;
    int uffd;
    uint8_t *stored;
    uint32_t *lens; /* 0: raw */
    uint64_t took_ns;
    uint64_t cpu_ns;
};

static void die(const struct error *err)
{
    fprintf(stderr, "series: %s\n", err->message);
    exit(1);
}

static void *run(void *arg)
{
    struct part *p = arg;
    struct error err = ERROR_INIT;
    struct frame_codec *codec;
    uint8_t *staging = malloc(BATCH);
    const uint8_t *from = p->stored;
    uint64_t start;
    uint64_t cpu;
    uint64_t done;

    if (frame_codec_new(1, &codec, &err) < 0)
        die(&err);
    start = clock_monotonic_ns();
    cpu = clock_thread_cpu_ns();
    for (uint64_t at = 0; at < p->len; at += BATCH) {
        for (uint64_t i = 0; i < BATCH; i += FRAME) {
            uint32_t len = p->lens[(at + i) / FRAME];

            if (len == FRAME)
                memcpy(staging + i, from, FRAME);
            else if (frame_codec_decompress(codec, from, len, staging + i,
                                            FRAME, &err) < 0)
                die(&err);
            from += len;
        }
        if (uffd_copy(p->uffd, (uintptr_t)p->memory + at, staging, BATCH, 0,
                      &done, &err) != UFFD_DONE)
            die(&err);
    }
    p->cpu_ns = clock_thread_cpu_ns() - cpu;
    p->took_ns = clock_monotonic_ns() - start;
    frame_codec_free(codec);
    free(staging);
    return NULL;
}

static void prepare(struct part *p, int uffd)
{
    struct error err = ERROR_INIT;
    struct frame_codec *codec;
    uint8_t *to;

    if (frame_codec_new(1, &codec, &err) < 0)
        die(&err);
    p->uffd = uffd;
    p->stored = malloc(p->len);
    p->lens = malloc(p->len / FRAME * sizeof(*p->lens));
    to = p->stored;
    for (uint64_t at = 0; at < p->len; at += FRAME) {
        size_t n;

        if (frame_codec_compress(codec, p->image + at, FRAME, to, &n, &err) < 0)
            die(&err);
        if (n == 0)
            memcpy(to, p->image + at, FRAME);
        p->lens[at / FRAME] = n ? (uint32_t)n : FRAME;
        to += p->lens[at / FRAME];
    }
    p->memory = mmap(NULL, p->len, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    madvise(p->memory, p->len, MADV_NOHUGEPAGE);
    if (uffd_register(uffd, (uintptr_t)p->memory, p->len, UFFD_MODE_MISSING,
                      NULL, &err) < 0)
        die(&err);
    frame_codec_free(codec);
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct part parts[16] = {0};
    uint64_t bytes = strtoull(argc > 2 ? argv[2] : "0", NULL, 10);
    unsigned n = (unsigned)strtoul(argc > 3 ? argv[3] : "1", NULL, 10);
    int fd = open(argc > 1 ? argv[1] : "", O_RDONLY);
    uint8_t *image = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    uint64_t longest = 0;
    uint64_t cpu_ns = 0;
    int uffd;

    if (image == MAP_FAILED || n == 0 || n > ARRAY_LEN(parts)) {
        fprintf(stderr, "series: IMAGE BYTES THREADS\n");
        return 2;
    }
    if (uffd_open_telling(UFFD_SYSCALL, 0, &uffd, &err) < 0)
        die(&err);
    for (unsigned i = 0; i < n; i++) {
        parts[i].len = bytes / n / BATCH * BATCH;
        parts[i].image = image + i * parts[i].len;
        prepare(&parts[i], uffd);
    }
    for (unsigned i = 0; i < n; i++)
        pthread_create(&parts[i].thread, NULL, run, &parts[i]);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(parts[i].thread, NULL);
        longest = MAX(longest, parts[i].took_ns);
        cpu_ns += parts[i].cpu_ns;
    }
    printf("{\"bytes_per_s\":%.0f,\"bytes_per_cpu_s\":%.0f}\n",
           (double)(parts[0].len * n) * 1e9 / (double)longest,
           (double)(parts[0].len * n) * 1e9 / (double)cpu_ns);
    return 0;
}

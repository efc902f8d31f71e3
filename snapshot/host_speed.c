/*
 * host_speed.c - a short race of compressors.
 *
 * Frames are made from a fixed seed, so that two measurements differ by the
 * host and not by the data; each thread counts for itself how long it ran,
 * since they do not begin at one instant, and the sum of their rates is the
 * answer. The codec is the packs' own, and does not try noise: a quarter of the
 * frames are noise, since about so much of a guest's memory is.
 */
#include "snapshot/host_speed.h"

#include "core/base/clock.h"
#include "core/base/worker.h"
#include "core/codec/frame_codec.h"

#define MEASURE_NS  (150 * NS_PER_MS)
#define FRAME_BYTES FRAME_CODEC_USUAL_BYTES
#define FRAMES      16u
#define THREADS_MAX 16u

struct meter {
    int level;
    struct stopper *stop;
    const uint8_t *frames;
    uint64_t bytes; /* done */
    uint64_t ns;
};

static void make_frames(uint8_t *frames)
{
    static const char words[] = "the guest writes what the guest has read, ";
    uint64_t noise = 88172645463325252u;

    for (size_t i = 0; i < FRAMES * FRAME_BYTES; i++) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        /* Text with something new in each line. */
        frames[i] = (i / FRAME_BYTES) % 4 == 0 || i % 16 == 0
                        ? (uint8_t)noise
                        : (uint8_t)words[i % (sizeof(words) - 1)];
    }
}

static int meter_main(void *arg, struct error *err)
{
    struct meter *m = arg;
    cleanup(frame_codec) struct frame_codec *codec = NULL;
    cleanup_free uint8_t *out = malloc(FRAME_BYTES);
    uint64_t begun = clock_monotonic_ns();
    int rc = out ? frame_codec_new(m->level, &codec, err) : fail_nomem(err);

    for (size_t i = 0; rc == 0 && m->ns < MEASURE_NS; i++) {
        size_t len;

        if (stopper_pulled(m->stop))
            return stopper_error(m->stop, err);
        rc = frame_codec_compress(codec, m->frames + i % FRAMES * FRAME_BYTES,
                                  FRAME_BYTES, out, &len, err);
        m->bytes += FRAME_BYTES;
        m->ns = clock_monotonic_ns() - begun;
    }
    return rc;
}

static void nothing(void *arg)
{
    (void)arg;
}

int host_speed_measure(int level, unsigned threads, struct stopper *stop,
                       uint64_t *ret_bytes_per_s, struct error *err)
{
    cleanup_free uint8_t *frames = malloc((size_t)FRAMES * FRAME_BYTES);
    struct meter meters[THREADS_MAX];
    struct worker_group group;
    double sum = 0;
    int rc = 0;

    if (!frames)
        return fail_nomem(err);
    assert(threads > 0);
    threads = MIN(threads, THREADS_MAX);
    make_frames(frames);
    worker_group_init(&group, nothing, NULL);
    for (unsigned i = 0; rc == 0 && i < threads; i++) {
        meters[i] =
            (struct meter){.level = level, .stop = stop, .frames = frames};
        rc = worker_start(&group, "meter", meter_main, &meters[i], err);
    }
    if (rc == 0)
        rc = worker_group_join(&group, err);
    worker_group_release(&group);
    for (unsigned i = 0; rc == 0 && i < threads; i++)
        sum += (double)meters[i].bytes * 1e9 / (double)meters[i].ns;
    if (rc == 0)
        *ret_bytes_per_s = (uint64_t)MAX(sum, 1.0);
    return rc;
}

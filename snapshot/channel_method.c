#include "snapshot/channel_method.h"

#include <sys/socket.h>

#include "core/base/cleanup.h"
#include "core/base/clock.h"
#include "core/codec/frame_codec.h"

#define LOG_AREA "channels"
#include "core/base/log.h"

#define DEFAULT_MAX 4L

/* So many frames of the size that the codec is made for; and pieces that every
 * socket buffer holds. */
#define FRAMES      32u
#define FRAME_BYTES FRAME_CODEC_USUAL_BYTES
#define PIECE_BYTES 32768u

struct sample {
    uint8_t raw[FRAMES * FRAME_BYTES];
    uint8_t packed[FRAMES * FRAME_BYTES];
    size_t packed_bytes[FRAMES];
    uint8_t back[FRAME_BYTES];
};

/* Pages of short words with small numbers between them; every fourth is
 * noise. About the mix that is left of a guest without its zero pages. */
static void fill(struct sample *s)
{
    static const char words[] = "the page of a guest holds pointers and text ";
    uint64_t x = 88172645463325252u;

    for (size_t i = 0; i < sizeof(s->raw); i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        s->raw[i] = i / 4096 % 4 == 3 || i % 16 == 0
                        ? (uint8_t)x
                        : (uint8_t)words[(i + x % 3) % (sizeof(words) - 1)];
    }
}

static int copy(struct sample *s, int from, int to, struct error *err)
{
    for (size_t at = 0; at < sizeof(s->raw); at += PIECE_BYTES) {
        if (send(from, s->raw + at, PIECE_BYTES, MSG_NOSIGNAL) != PIECE_BYTES ||
            recv(to, s->packed, PIECE_BYTES, MSG_WAITALL) != PIECE_BYTES)
            return fail_errno(err, ERR_IO, "cannot measure a socket");
    }
    return 0;
}

static int measure_copy(struct sample *s, uint64_t *ret_ns, struct error *err)
{
    uint64_t begun;
    int fds[2];
    int rc;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return fail_errno(err, ERR_IO, "cannot make a socket");
    begun = clock_thread_cpu_ns();
    rc = copy(s, fds[0], fds[1], err);
    *ret_ns = clock_thread_cpu_ns() - begun;
    close(fds[0]);
    close(fds[1]);
    return rc;
}

static int compress(struct sample *s, struct frame_codec *codec,
                    struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < FRAMES; i++)
        rc = frame_codec_compress(codec, s->raw + i * FRAME_BYTES, FRAME_BYTES,
                                  s->packed + i * FRAME_BYTES,
                                  &s->packed_bytes[i], err);
    return rc;
}

static int decompress(struct sample *s, struct frame_codec *codec,
                      struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < FRAMES; i++) {
        if (s->packed_bytes[i] > 0)
            rc = frame_codec_decompress(codec, s->packed + i * FRAME_BYTES,
                                        s->packed_bytes[i], s->back,
                                        FRAME_BYTES, err);
    }
    return rc;
}

static int measure_codec(struct sample *s, struct channel_costs *ret,
                         struct error *err)
{
    cleanup(frame_codec) struct frame_codec *codec = NULL;
    uint64_t begun, between;
    int rc = frame_codec_new(1, &codec, err);

    if (rc < 0)
        return rc;
    begun = clock_thread_cpu_ns();
    rc = compress(s, codec, err);
    between = clock_thread_cpu_ns();
    if (rc == 0)
        rc = decompress(s, codec, err);
    ret->compress_ns = between - begun;
    ret->decompress_ns = clock_thread_cpu_ns() - between;
    for (size_t i = 0; i < FRAMES; i++)
        ret->packed_bytes +=
            s->packed_bytes[i] ? s->packed_bytes[i] : FRAME_BYTES;
    return rc;
}

int channel_costs_measure(struct channel_costs *ret, struct error *err)
{
    cleanup_free struct sample *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return fail_nomem(err);
    fill(s);
    *ret = (struct channel_costs){.raw_bytes = sizeof(s->raw)};
    rc = measure_copy(s, &ret->copy_ns, err);
    return rc < 0 ? rc : measure_codec(s, ret, err);
}

enum multifd_method channel_method_choose(const struct channel_costs *c)
{
    double left = (double)c->packed_bytes / (double)c->raw_bytes;
    double packed_ns = (double)c->copy_ns * left + (double)c->compress_ns +
                       (double)c->decompress_ns;

    return packed_ns < (double)c->copy_ns ? MULTIFD_ZSTD : MULTIFD_NONE;
}

enum multifd_method channel_method_measured(void)
{
    struct error why = ERROR_INIT;
    struct channel_costs c;
    enum multifd_method method = MULTIFD_NONE;

    if (channel_costs_measure(&c, &why) < 0) {
        log_debug("the method is not measured: %s", why.message);
        return method;
    }
    method = channel_method_choose(&c);
    log_debug("method %s: %lu KiB cost %lu us through a socket; by zstd they "
              "are %lu KiB and cost %lu us before and %lu us behind",
              multifd_method_name(method), c.raw_bytes / 1024, c.copy_ns / 1000,
              c.packed_bytes / 1024, c.compress_ns / 1000,
              c.decompress_ns / 1000);
    return method;
}

unsigned channel_count_default(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return (unsigned)MAX(1, MIN(cores / 2, DEFAULT_MAX));
}

/*
 * frame_codec.c - zstd without allocation in the hot path.
 *
 * Both contexts are made once and keep their workspaces: at a given level the
 * tables of zstd depend on the length of the input, so only the first call of
 * a new greatest length allocates. new() makes that call for the usual frame.
 *
 * Level 1 and those below are for speed. There the table of zstd has 1 Ki
 * entries and so stays in the first cache, with all else; and at level 1
 * literals are coded only where a sample of the frame promises something for
 * it. In frames of 32 KiB, over the memory of a guest, that is 18 % less time
 * for 4 % more bytes than with zstd's own choices; over the files of /usr 20 %
 * less for 5 % more (docs/capture.md has the table).
 *
 * A frame is decompressed only when it is one whole zstd frame that needs no
 * dictionary: zstd itself would also take several frames in a row and skip
 * frames that hold no data, so that many byte strings would read the same.
 */
#include "core/codec/frame_codec.h"

#include <zstd.h>
#include <zstd_errors.h>

#include "core/codec/byte_sample.h"

#define QUICK_LEVEL     1 /* and all below */
#define QUICK_HASH_LOG  10
#define QUICK_MIN_MATCH 6
/* Negative levels are for those who want it faster still. */
#define HASTY_MIN_MATCH 7

/* A stream's window, and so what it may make us allocate. QEMU's levels up to
 * 17 need no more; only level 1 is asked for. */
#define WINDOW_LOG_MAX 23

struct frame_stream {
    ZSTD_DCtx *decompress;
};

struct frame_codec {
    ZSTD_CCtx *compress; /* NULL: nothing is compressed */
    ZSTD_DCtx *decompress;
    bool chooses_literals; /* frame by frame */
    bool codes_literals;   /* as `compress` is set now */
};

static bool set_parameter(ZSTD_CCtx *c, ZSTD_cParameter p, int value)
{
    return !ZSTD_isError(ZSTD_CCtx_setParameter(c, p, value));
}

static bool set_level(ZSTD_CCtx *c, int level)
{
    if (!set_parameter(c, ZSTD_c_compressionLevel, level))
        return false;
    return level > QUICK_LEVEL ||
           (set_parameter(c, ZSTD_c_hashLog, QUICK_HASH_LOG) &&
            set_parameter(c, ZSTD_c_minMatch,
                          level < 0 ? HASTY_MIN_MATCH : QUICK_MIN_MATCH));
}

/* zstd's fast strategy leaves literals as they are when it has a target length,
 * which is the step of its search: of 0 and 1 it makes the same. */
static int set_literals(struct frame_codec *c, bool coded, struct error *err)
{
    if (!c->chooses_literals || coded == c->codes_literals)
        return 0;
    if (!set_parameter(c->compress, ZSTD_c_targetLength, coded ? 0 : 1))
        return fail(err, ERR_INVALID, "zstd refuses a target length");
    c->codes_literals = coded;
    return 0;
}

static int warm_up(struct frame_codec *c, struct error *err)
{
    cleanup_free uint8_t *src = calloc(2, FRAME_CODEC_USUAL_BYTES);
    size_t n;

    if (!src)
        return fail_nomem(err);
    n = ZSTD_compress2(c->compress, src + FRAME_CODEC_USUAL_BYTES,
                       FRAME_CODEC_USUAL_BYTES, src, FRAME_CODEC_USUAL_BYTES);
    return ZSTD_isError(n) ? fail_nomem(err) : 0;
}

static int start_compressing(struct frame_codec *c, int level,
                             struct error *err)
{
    c->compress = ZSTD_createCCtx();
    if (!c->compress)
        return fail_nomem(err);
    /* The packs have a checksum of their own for each frame. */
    if (!set_level(c->compress, level) ||
        !set_parameter(c->compress, ZSTD_c_contentSizeFlag, 1) ||
        !set_parameter(c->compress, ZSTD_c_checksumFlag, 0))
        return fail(err, ERR_INVALID, "zstd refuses compression level %d",
                    level);
    c->chooses_literals = level == QUICK_LEVEL;
    c->codes_literals = true;
    return warm_up(c, err);
}

int frame_codec_new(int level, struct frame_codec **ret, struct error *err)
{
    cleanup(frame_codec) struct frame_codec *c = NULL;
    bool none = level == FRAME_CODEC_NONE;
    int rc;

    if (!none && (level < ZSTD_minCLevel() || level > ZSTD_maxCLevel()))
        return fail(err, ERR_INVALID, "compression level %d is not %d to %d",
                    level, ZSTD_minCLevel(), ZSTD_maxCLevel());
    c = calloc(1, sizeof(*c));
    if (!c)
        return fail_nomem(err);
    c->decompress = ZSTD_createDCtx();
    if (!c->decompress)
        return fail_nomem(err);
    rc = none ? 0 : start_compressing(c, level, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&c);
    return 0;
}

void frame_codec_free(struct frame_codec *c)
{
    if (!c)
        return;
    ZSTD_freeCCtx(c->compress);
    ZSTD_freeDCtx(c->decompress);
    free(c);
}

int frame_codec_compress(struct frame_codec *c, const void *src, size_t len,
                         void *dst, size_t *ret_len, struct error *err)
{
    /* zstd gives up as soon as it would not fit the room it is told of. */
    size_t room = len - len / 8;
    enum byte_look look;
    size_t n;
    int rc;

    *ret_len = 0;
    if (!c->compress)
        return 0;
    look = byte_sample_look(src, len);
    if (look == BYTES_RANDOM)
        return 0;
    rc = set_literals(c, look == BYTES_SKEWED, err);
    if (rc < 0)
        return rc;
    n = ZSTD_compress2(c->compress, dst, room, src, len);
    if (!ZSTD_isError(n)) {
        *ret_len = n < room ? n : 0;
        return 0;
    }
    if (ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall)
        return 0;
    if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
        return fail_nomem(err);
    return fail(err, ERR_INVALID, "cannot compress %zu bytes: %s", len,
                ZSTD_getErrorName(n));
}

int frame_codec_decompress(struct frame_codec *c, const void *src, size_t len,
                           void *dst, size_t raw_len, struct error *err)
{
    size_t whole = ZSTD_findFrameCompressedSize(src, len);
    size_t n;

    if (ZSTD_isError(whole))
        return fail(err, ERR_CORRUPT, "no zstd frame: %s",
                    ZSTD_getErrorName(whole));
    if (whole != len)
        return fail(err, ERR_CORRUPT,
                    "zstd frame ends after %zu bytes, not after %zu", whole,
                    len);
    n = ZSTD_decompressDCtx(c->decompress, dst, raw_len, src, len);
    if (ZSTD_isError(n))
        return fail(err, ERR_CORRUPT, "zstd frame does not decompress: %s",
                    ZSTD_getErrorName(n));
    if (n != raw_len)
        return fail(err, ERR_CORRUPT,
                    "zstd frame gives %zu bytes, %zu were expected", n,
                    raw_len);
    return 0;
}

int frame_codec_expect(const void *src, size_t len, uint64_t raw_len,
                       struct error *err)
{
    unsigned long long n = ZSTD_getFrameContentSize(src, len);

    /* Both are huge numbers, which `raw_len` might be as well. */
    if (n == ZSTD_CONTENTSIZE_ERROR || n == ZSTD_CONTENTSIZE_UNKNOWN)
        return fail(err, ERR_CORRUPT,
                    "no zstd frame that tells its content's length");
    if (n != raw_len)
        return fail(err, ERR_CORRUPT,
                    "zstd frame has %llu bytes of content, %llu were expected",
                    n, (unsigned long long)raw_len);
    return 0;
}

const char *frame_codec_library_version(void)
{
    return ZSTD_versionString();
}

/* Streams. */

int frame_stream_new(struct frame_stream **ret, struct error *err)
{
    struct frame_stream *s = calloc(1, sizeof(*s));

    if (!s)
        return fail_nomem(err);
    s->decompress = ZSTD_createDCtx();
    if (!s->decompress ||
        ZSTD_isError(ZSTD_DCtx_setParameter(s->decompress, ZSTD_d_windowLogMax,
                                            WINDOW_LOG_MAX))) {
        frame_stream_free(s);
        return fail_nomem(err);
    }
    *ret = s;
    return 0;
}

void frame_stream_free(struct frame_stream *s)
{
    if (!s)
        return;
    ZSTD_freeDCtx(s->decompress);
    free(s);
}

/* Until the input is used up, the output is full or nothing moves. */
static int read_some(struct frame_stream *s, ZSTD_inBuffer *in,
                     ZSTD_outBuffer *out, struct error *err)
{
    for (;;) {
        size_t in_before = in->pos;
        size_t out_before = out->pos;
        size_t n = ZSTD_decompressStream(s->decompress, out, in);

        if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
            return fail_nomem(err);
        if (ZSTD_isError(n))
            return fail(err, ERR_CORRUPT, "zstd stream does not decompress: %s",
                        ZSTD_getErrorName(n));
        if ((in->pos == in_before && out->pos == out_before) ||
            out->pos == out->size)
            return 0;
    }
}

int frame_stream_read(struct frame_stream *s, const void *src, size_t len,
                      void *dst, size_t raw_len, struct error *err)
{
    ZSTD_inBuffer in = {.src = src, .size = len};
    ZSTD_outBuffer out = {.dst = dst, .size = raw_len};
    uint8_t too_much;
    ZSTD_outBuffer rest = {.dst = &too_much, .size = 1};
    int rc = read_some(s, &in, &out, err);

    /* Also what gives no bytes (the end of a block) belongs to this packet. */
    if (rc == 0)
        rc = read_some(s, &in, &rest, err);
    if (rc < 0)
        return rc;
    if (out.pos != raw_len || rest.pos > 0 || in.pos != len)
        return fail(err, ERR_CORRUPT,
                    "%zu bytes of a zstd stream give %s than %zu", len,
                    out.pos < raw_len ? "less" : "more", raw_len);
    return 0;
}

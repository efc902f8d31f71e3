/*
 * inflater.c - two libraries that inflate, behind one call.
 *
 * zlib is used here and nowhere else; zstd's part is frame_stream of
 * frame_codec.c, which is the only place of zstd.h. Both libraries tell
 * progress by leaving input or output over, so that "exactly these bytes give
 * exactly this many" is a check of ours: the output is filled, then one byte
 * more is asked for. It must not come, and nothing of the input may be left;
 * otherwise the stream is out of step with its packets and every page behind
 * would be wrong.
 */
#include "core/codec/inflater.h"

#include <zlib.h>

#include "core/codec/frame_codec.h"

struct inflater {
    enum inflater_kind kind;
    struct frame_stream *zstd; /* of that kind */
    z_stream zlib;             /* of the other */
};

int inflater_new(enum inflater_kind kind, struct inflater **ret,
                 struct error *err)
{
    struct inflater *s = calloc(1, sizeof(*s));
    int rc = 0;

    if (!s)
        return fail_nomem(err);
    s->kind = kind;
    if (kind == INFLATER_ZSTD)
        rc = frame_stream_new(&s->zstd, err);
    else if (inflateInit(&s->zlib) != Z_OK)
        rc = fail_nomem(err);
    if (rc < 0)
        free(s);
    else
        *ret = s;
    return rc;
}

void inflater_free(struct inflater *s)
{
    if (!s)
        return;
    frame_stream_free(s->zstd);
    if (s->kind == INFLATER_ZLIB)
        inflateEnd(&s->zlib);
    free(s);
}

/* Z_BUF_ERROR says that nothing could be done, which is no error here. */
static int inflate_into(z_stream *z, void *dst, size_t room, size_t *ret_n,
                        struct error *err)
{
    int rc;

    z->next_out = dst;
    z->avail_out = (uInt)room;
    rc = inflate(z, Z_SYNC_FLUSH);
    *ret_n = room - z->avail_out;
    if (rc == Z_MEM_ERROR)
        return fail_nomem(err);
    if (rc == Z_STREAM_END)
        return fail(err, ERR_CORRUPT, "zlib stream has an end");
    if (rc != Z_OK && rc != Z_BUF_ERROR)
        return fail(err, ERR_CORRUPT, "zlib stream does not decompress: %s",
                    z->msg ? z->msg : "it wants a dictionary");
    return 0;
}

static int read_zlib(z_stream *z, const void *src, size_t len, void *dst,
                     size_t raw_len, struct error *err)
{
    uint8_t too_much;
    size_t n, rest = 0;
    int rc;

    z->next_in = (Bytef *)(uintptr_t)src;
    z->avail_in = (uInt)len;
    rc = inflate_into(z, dst, raw_len, &n, err);
    /* Also what gives no bytes (the flush) belongs to this packet. */
    if (rc == 0)
        rc = inflate_into(z, &too_much, 1, &rest, err);
    if (rc < 0)
        return rc;
    if (n != raw_len || rest > 0 || z->avail_in > 0)
        return fail(err, ERR_CORRUPT,
                    "%zu bytes of a zlib stream give %s than %zu", len,
                    n < raw_len ? "less" : "more", raw_len);
    return 0;
}

int inflater_read(struct inflater *s, const void *src, size_t len, void *dst,
                  size_t raw_len, struct error *err)
{
    assert(len <= UINT32_MAX && raw_len <= UINT32_MAX);
    if (s->kind == INFLATER_ZSTD)
        return frame_stream_read(s->zstd, src, len, dst, raw_len, err);
    return read_zlib(&s->zlib, src, len, dst, raw_len, err);
}

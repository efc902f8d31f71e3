/*
 * deflater.h - compresses as QEMU's multifd channels do: one stream, a flush
 * behind each packet, no end. Header only; for tests and seeds.
 */
#ifndef FIRN_TESTS_CORE_WIRE_DEFLATER_H
#define FIRN_TESTS_CORE_WIRE_DEFLATER_H

#include <zlib.h>
#include <zstd.h>

#include "core/base/buf.h"

struct deflater {
    bool zstd;
    z_stream zlib;
    ZSTD_CStream *stream;
};

static inline UNUSED void deflater_init(struct deflater *d, bool zstd)
{
    *d = (struct deflater){.zstd = zstd};
    if (zstd) {
        d->stream = ZSTD_createCStream();
        if (!d->stream || ZSTD_isError(ZSTD_initCStream(d->stream, 1)))
            abort();
    } else if (deflateInit(&d->zlib, 1) != Z_OK) {
        abort();
    }
}

static inline UNUSED void deflater_release(struct deflater *d)
{
    if (d->zstd)
        ZSTD_freeCStream(d->stream);
    else
        deflateEnd(&d->zlib);
}

/* One packet: appended to `out`; returns its bytes. */
static inline UNUSED size_t deflater_put(struct deflater *d, const void *data,
                                         size_t len, struct buf *out)
{
    size_t room = len + len / 2 + 1024;
    struct error err;
    size_t n;

    if (buf_reserve(out, out->len + room, &err) < 0)
        abort();
    if (d->zstd) {
        ZSTD_inBuffer in = {.src = data, .size = len};
        ZSTD_outBuffer to = {.dst = out->data + out->len, .size = room};

        if (ZSTD_compressStream2(d->stream, &to, &in, ZSTD_e_flush) != 0)
            abort();
        n = to.pos;
    } else {
        d->zlib.next_in = (Bytef *)(uintptr_t)data;
        d->zlib.avail_in = (uInt)len;
        d->zlib.next_out = out->data + out->len;
        d->zlib.avail_out = (uInt)room;
        if (deflate(&d->zlib, Z_SYNC_FLUSH) != Z_OK || d->zlib.avail_in > 0)
            abort();
        n = room - d->zlib.avail_out;
    }
    out->len += n;
    return n;
}

#endif

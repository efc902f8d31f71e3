/*
 * wire_out.h - writes one message to a buffer, whole or not at all.
 *
 * The first error sticks, what follows does nothing, and wire_out_end() takes
 * back the half that was written. For the encoders of this room; no source.
 */
#ifndef FIRN_CORE_WIRE_WIRE_OUT_H
#define FIRN_CORE_WIRE_WIRE_OUT_H

#include "core/base/buf.h"
#include "core/base/bytes.h"

struct wire_out {
    struct buf *b;
    size_t start; /* length of the buffer before the message */
    int rc;
    struct error *err;
};

static inline UNUSED struct wire_out wire_out_begin(struct buf *b,
                                                    struct error *err)
{
    return (struct wire_out){.b = b, .start = b->len, .err = err};
}

static inline UNUSED void out_bytes(struct wire_out *o, const void *p, size_t n)
{
    if (o->rc == 0)
        o->rc = buf_append(o->b, p, n, o->err);
}

static inline UNUSED void out_u8(struct wire_out *o, uint8_t v)
{
    out_bytes(o, &v, sizeof(v));
}

static inline UNUSED void out_be16(struct wire_out *o, uint16_t v)
{
    uint8_t raw[sizeof(v)];

    store_be16(raw, v);
    out_bytes(o, raw, sizeof(raw));
}

static inline UNUSED void out_be32(struct wire_out *o, uint32_t v)
{
    uint8_t raw[sizeof(v)];

    store_be32(raw, v);
    out_bytes(o, raw, sizeof(raw));
}

static inline UNUSED void out_be64(struct wire_out *o, uint64_t v)
{
    uint8_t raw[sizeof(v)];

    store_be64(raw, v);
    out_bytes(o, raw, sizeof(raw));
}

/* ERR_INVALID when it is longer than its length byte can say. */
static inline UNUSED void out_str8(struct wire_out *o, const char *s)
{
    size_t n = strlen(s);

    if (o->rc == 0 && n > UINT8_MAX)
        o->rc = fail(o->err, ERR_INVALID, "name of %zu bytes is too long", n);
    if (o->rc == 0)
        out_u8(o, (uint8_t)n);
    out_bytes(o, s, n);
}

/* 0, or the error, with the buffer as it was before. */
static inline UNUSED int wire_out_end(struct wire_out *o)
{
    if (o->rc < 0)
        o->b->len = o->start;
    return o->rc;
}

#endif

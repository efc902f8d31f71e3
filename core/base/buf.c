/*
 * buf.c - a byte buffer that doubles.
 *
 * reserve() always keeps one byte more than was asked for. That byte is where
 * buf_str() puts its NUL: text can be read at any time without a call that may
 * fail, and a buffer of bytes does not care.
 */
#include "core/base/buf.h"

#include <stdarg.h>

#include "core/base/bytes.h"

void buf_release(struct buf *b)
{
    free(b->data);
    *b = BUF_INIT;
}

int buf_reserve(struct buf *b, size_t extra, struct error *err)
{
    uint64_t need;
    size_t cap;
    uint8_t *data;

    assert(b->len <= b->cap);
    /* One byte more than asked for, so that buf_str() never needs memory. */
    if (!add_checked(b->len, extra, &need) || need >= SIZE_MAX / 2)
        return fail_nomem(err);
    need++;
    if (need <= b->cap)
        return 0;
    cap = MAX((size_t)need, MAX(b->cap * 2, (size_t)64));
    data = realloc(b->data, cap);
    if (!data)
        return fail_nomem(err);
    b->data = data;
    b->cap = cap;
    return 0;
}

int buf_append(struct buf *b, const void *data, size_t len, struct error *err)
{
    int rc = buf_reserve(b, len, err);

    if (rc < 0)
        return rc;
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    return 0;
}

int buf_append_u8(struct buf *b, uint8_t v, struct error *err)
{
    return buf_append(b, &v, sizeof(v), err);
}

#define APPENDER(suffix, type)                                                 \
    int buf_append_##suffix(struct buf *b, type v, struct error *err)          \
    {                                                                          \
        uint8_t raw[sizeof(type)];                                             \
                                                                               \
        store_##suffix(raw, v);                                                \
        return buf_append(b, raw, sizeof(raw), err);                           \
    }

APPENDER(be16, uint16_t)
APPENDER(be32, uint32_t)
APPENDER(be64, uint64_t)
APPENDER(le16, uint16_t)
APPENDER(le32, uint32_t)
APPENDER(le64, uint64_t)

int buf_printf(struct buf *b, struct error *err, const char *fmt, ...)
{
    va_list ap;
    int n;
    int rc;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return fail(err, ERR_INVALID, "text cannot be formatted");

    rc = buf_reserve(b, (size_t)n + 1, err);
    if (rc < 0)
        return rc;
    va_start(ap, fmt);
    vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return 0;
}

const char *buf_str(struct buf *b)
{
    if (!b->data)
        return "";
    assert(b->len < b->cap);
    b->data[b->len] = '\0';
    return (const char *)b->data;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

#include "core/wire/xbzrle.h"

#include "core/base/cursor.h"

/*
 * xbzrle.c - deltas of pages, applied and made.
 *
 * A delta comes from a peer: each run is checked against the page before it is
 * copied, and forms that QEMU never sends (an empty run, a skip of 0 behind the
 * first) are refused rather than read somehow. A page is written in place, so
 * after an error it is neither old nor new, and the capture fails with it.
 */

/* A count has at most 14 bits; a page's length fits easily. */
static_assert(PAGE_BYTES < 1u << 14, "counts of a delta reach over a page");

static bool get_count(struct cursor *c, uint32_t *ret)
{
    uint8_t low;
    uint8_t high;

    if (!cursor_u8(c, &low))
        return false;
    *ret = low & 0x7fu;
    if (low < 0x80)
        return true;
    if (!cursor_u8(c, &high) || high >= 0x80)
        return false;
    *ret |= (uint32_t)high << 7;
    return true;
}

int xbzrle_apply(uint8_t *page, const uint8_t *delta, size_t len,
                 struct error *err)
{
    struct cursor c = cursor_of(delta, len);
    const uint8_t *bytes;
    size_t at = 0;

    while (cursor_left(&c) > 0) {
        size_t start = c.pos;
        uint32_t skip;
        uint32_t copy;

        if (!get_count(&c, &skip) || !get_count(&c, &copy))
            return fail(err, ERR_PROTOCOL,
                        "XBZRLE count at byte %zu of %zu is malformed", start,
                        len);
        if ((skip == 0 && start > 0) || copy == 0)
            return fail(err, ERR_PROTOCOL,
                        "XBZRLE run at byte %zu of %zu is empty", start, len);
        if (skip + copy > PAGE_BYTES - at)
            return fail(err, ERR_PROTOCOL,
                        "XBZRLE run at byte %zu of %zu ends behind the page",
                        start, len);
        if (!cursor_bytes(&c, copy, &bytes))
            return fail(err, ERR_PROTOCOL,
                        "XBZRLE run at byte %zu of %zu is cut", start, len);
        memcpy(page + at + skip, bytes, copy);
        at += skip + copy;
    }
    return 0;
}

static int put_count(struct buf *b, size_t n, struct error *err)
{
    int rc = 0;

    if (n >= 0x80)
        rc = buf_append_u8(b, (uint8_t)(0x80 | (n & 0x7f)), err);
    if (rc == 0)
        rc = buf_append_u8(b, (uint8_t)(n < 0x80 ? n : n >> 7), err);
    return rc;
}

/* How far `old` and `new` stay equal (or, with `equal` false, different). */
static size_t run_length(const uint8_t *old, const uint8_t *new, size_t at,
                         bool equal)
{
    size_t end = at;

    while (end < PAGE_BYTES && (old[end] == new[end]) == equal)
        end++;
    return end - at;
}

int xbzrle_encode(struct buf *b, const uint8_t *old, const uint8_t *new,
                  struct error *err)
{
    size_t at = 0;

    for (;;) {
        size_t skip = run_length(old, new, at, true);
        size_t copy = run_length(old, new, at + skip, false);
        int rc;

        if (copy == 0)
            return 0;
        rc = put_count(b, skip, err);
        if (rc == 0)
            rc = put_count(b, copy, err);
        if (rc == 0)
            rc = buf_append(b, new + at + skip, copy, err);
        if (rc < 0)
            return rc;
        at += skip + copy;
    }
}

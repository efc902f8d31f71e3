/*
 * cursor.h - a bounded reader over bytes that somebody else owns.
 *
 * Every decoder of untrusted bytes reads through it, never by a cast. A read
 * past the end gives false and leaves the output and the position alone; the
 * caller knows what was being read and words the error. Not for threads.
 */
#ifndef FIRN_CORE_BASE_CURSOR_H
#define FIRN_CORE_BASE_CURSOR_H

#include "core/base/bytes.h"

struct cursor {
    const uint8_t *data;
    size_t len;
    size_t pos;
};

static inline struct cursor cursor_of(const void *data, size_t len)
{
    return (struct cursor){.data = data, .len = len, .pos = 0};
}

static inline size_t cursor_left(const struct cursor *c)
{
    return c->len - c->pos;
}

/* `n` bytes in place; they live as long as the memory behind the cursor. */
static inline UNUSED NODISCARD bool cursor_bytes(struct cursor *c, size_t n,
                                                 const uint8_t **ret)
{
    if (cursor_left(c) < n)
        return false;
    *ret = c->data + c->pos;
    c->pos += n;
    return true;
}

/* Over `n` bytes without looking at them. */
static inline UNUSED NODISCARD bool cursor_skip(struct cursor *c, size_t n)
{
    const uint8_t *ignored;

    return cursor_bytes(c, n, &ignored);
}

#define CURSOR_GETTER(suffix, type, load)                                      \
    static inline UNUSED NODISCARD bool cursor_##suffix(struct cursor *c,      \
                                                        type *ret)             \
    {                                                                          \
        const uint8_t *p;                                                      \
                                                                               \
        if (!cursor_bytes(c, sizeof(type), &p))                                \
            return false;                                                      \
        *ret = load(p);                                                        \
        return true;                                                           \
    }

static inline uint8_t load_u8(const void *p)
{
    return *(const uint8_t *)p;
}

CURSOR_GETTER(u8, uint8_t, load_u8)
CURSOR_GETTER(be16, uint16_t, load_be16)
CURSOR_GETTER(be32, uint32_t, load_be32)
CURSOR_GETTER(be64, uint64_t, load_be64)
CURSOR_GETTER(le16, uint16_t, load_le16)
CURSOR_GETTER(le32, uint32_t, load_le32)
CURSOR_GETTER(le64, uint64_t, load_le64)

/*
 * QEMU's counted string: u8 length, that many bytes. Copied to `ret` with a
 * closing NUL; false as well when a NUL is inside, so that names compare whole.
 */
static inline UNUSED NODISCARD bool cursor_str8(struct cursor *c,
                                                char ret[static 256])
{
    struct cursor at = *c;
    const uint8_t *p;
    uint8_t n;

    if (!cursor_u8(&at, &n) || !cursor_bytes(&at, n, &p))
        return false;
    if (memchr(p, '\0', n))
        return false;
    memcpy(ret, p, n);
    ret[n] = '\0';
    *c = at;
    return true;
}

#endif

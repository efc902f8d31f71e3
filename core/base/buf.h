/*
 * buf.h - a growable byte buffer. The caller owns the struct; not for threads.
 *
 * All zero is a valid empty buffer. Appending can fail with ERR_NOMEM only.
 */
#ifndef FIRN_CORE_BASE_BUF_H
#define FIRN_CORE_BASE_BUF_H

#include "core/base/cleanup.h"
#include "core/base/error.h"

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
};

#define BUF_INIT ((struct buf){0})

/* Frees the bytes and leaves an empty buffer, which may be used again. */
void buf_release(struct buf *b);

/* Forgets the content, keeps the memory. */
static inline void buf_reset(struct buf *b)
{
    b->len = 0;
}

/* Room for `extra` more bytes behind `len`. */
int buf_reserve(struct buf *b, size_t extra, struct error *err) NODISCARD;
/* Copies `len` bytes behind the content. `data` must not point into `b`:
 * growing moves what is there. */
int buf_append(struct buf *b, const void *data, size_t len,
               struct error *err) NODISCARD;
int buf_append_u8(struct buf *b, uint8_t v, struct error *err) NODISCARD;
/* One number in big-endian (be, QEMU's wire) or little-endian (le, our
 * files). */
int buf_append_be16(struct buf *b, uint16_t v, struct error *err) NODISCARD;
int buf_append_be32(struct buf *b, uint32_t v, struct error *err) NODISCARD;
int buf_append_be64(struct buf *b, uint64_t v, struct error *err) NODISCARD;
int buf_append_le16(struct buf *b, uint16_t v, struct error *err) NODISCARD;
int buf_append_le32(struct buf *b, uint32_t v, struct error *err) NODISCARD;
int buf_append_le64(struct buf *b, uint64_t v, struct error *err) NODISCARD;

/* Text, without a closing NUL; ERR_INVALID when `fmt` cannot be printed. */
int buf_printf(struct buf *b, struct error *err, const char *fmt, ...)
    PRINTF_LIKE(3, 4) NODISCARD;
/* The content as a C string, "" when empty: owned by `b`, good until it
 * changes. The NUL is not counted in `len`; it never needs memory. */
const char *buf_str(struct buf *b);

/* Removes the first `n` bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);

static inline UNUSED void cleanup_buf_fn(struct buf *b)
{
    buf_release(b);
}
#define cleanup_buf cleanup(buf)

#endif

/*
 * frame_codec.h - one-shot zstd, one context a thread; and the reading of a
 * zstd stream that somebody else writes. The only zstd.h.
 */
#ifndef FIRN_CORE_CODEC_FRAME_CODEC_H
#define FIRN_CORE_CODEC_FRAME_CODEC_H

#include <limits.h>

#include "core/base/cleanup.h"
#include "core/base/error.h"

/* The frames that it is made for: those of a repository's packs. */
#define FRAME_CODEC_USUAL_BYTES 32768u

/* A level: nothing gets smaller. */
#define FRAME_CODEC_NONE INT_MIN

struct frame_codec;

/* `level` as zstd's (negative ones are quicker), or FRAME_CODEC_NONE; used by
 * compress only. ERR_INVALID for a level zstd does not have. One thread at a
 * time, here and below; free() takes NULL. */
int frame_codec_new(int level, struct frame_codec **ret,
                    struct error *err) NODISCARD;
void frame_codec_free(struct frame_codec *c);

/* *ret_len is 0 when the result would not be smaller than `len` minus an
 * eighth, a sample of the bytes is random, or the level is none: store such a
 * frame raw. `dst` has room for `len` bytes. */
int frame_codec_compress(struct frame_codec *c, const void *src, size_t len,
                         void *dst, size_t *ret_len,
                         struct error *err) NODISCARD;
/* Exactly `raw_len` bytes must come out; else ERR_CORRUPT. */
int frame_codec_decompress(struct frame_codec *c, const void *src, size_t len,
                           void *dst, size_t raw_len,
                           struct error *err) NODISCARD;
/* ERR_CORRUPT unless the bytes begin as a zstd frame that says itself that it
 * has `raw_len` bytes of content: to be asked before room is made for them. */
int frame_codec_expect(const void *src, size_t len, uint64_t raw_len,
                       struct error *err) NODISCARD;
/* "1.5.5": the zstd that is loaded, which need not be the one we were built
 * with. */
const char *frame_codec_library_version(void);

/* A stream without an end, flushed at each packet. One thread at a time. */
struct frame_stream;

/* A stream at its beginning; ERR_NOMEM is the only error. */
int frame_stream_new(struct frame_stream **ret, struct error *err) NODISCARD;
/* Takes NULL. */
void frame_stream_free(struct frame_stream *s);
/* The stream's next `len` bytes, of which exactly `raw_len` must come; else
 * ERR_CORRUPT, and the stream cannot be read on. */
int frame_stream_read(struct frame_stream *s, const void *src, size_t len,
                      void *dst, size_t raw_len, struct error *err) NODISCARD;

DEFINE_CLEANUP(frame_codec, struct frame_codec *, frame_codec_free)

#endif

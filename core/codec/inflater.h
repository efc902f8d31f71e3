/*
 * inflater.h - a compressed stream that comes in packets and never ends.
 *
 * What a channel of multifd carries when QEMU compresses: one zlib or zstd
 * stream, flushed behind each packet, so that a packet's bytes give its pages
 * with the history of all packets before. One thread at a time.
 */
#ifndef FIRN_CORE_CODEC_INFLATER_H
#define FIRN_CORE_CODEC_INFLATER_H

#include "core/base/cleanup.h"
#include "core/base/error.h"

enum inflater_kind {
    INFLATER_ZLIB = 1,
    INFLATER_ZSTD,
};

struct inflater;

/* ERR_NOMEM is the only error; free() takes NULL. */
int inflater_new(enum inflater_kind kind, struct inflater **ret,
                 struct error *err) NODISCARD;
void inflater_free(struct inflater *s);

/* The stream's next `len` bytes, of which exactly `raw_len` must come; else
 * ERR_CORRUPT, and the stream cannot be read on. */
int inflater_read(struct inflater *s, const void *src, size_t len, void *dst,
                  size_t raw_len, struct error *err) NODISCARD;

DEFINE_CLEANUP(inflater, struct inflater *, inflater_free)

#endif

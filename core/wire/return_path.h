/*
 * return_path.h - messages from destination to source, both directions.
 *
 * `u16 type, u16 length, body`, big-endian. A capture writes PONG and SHUT; a
 * restore reads everything. Pure; the decoder is for one thread.
 */
#ifndef FIRN_CORE_WIRE_RETURN_PATH_H
#define FIRN_CORE_WIRE_RETURN_PATH_H

#include "core/base/buf.h"

/* Each appends one whole message. SHUT ends the path: `status` 0 says that all
 * was loaded, any other that it failed. */
int return_path_put_shut(struct buf *b, uint32_t status,
                         struct error *err) NODISCARD;
/* The answer to a PING, with its value. */
int return_path_put_pong(struct buf *b, uint32_t value,
                         struct error *err) NODISCARD;
/* `idstr` NULL: the block of the last request that named one. */
int return_path_put_request(struct buf *b, const char *idstr, uint64_t start,
                            uint32_t len, struct error *err) NODISCARD;
/* `words`: received bits, bit i of the little-endian bytes is page i. */
int return_path_put_bitmap(struct buf *b, const char *idstr,
                           const uint64_t *words, uint64_t n_pages,
                           struct error *err) NODISCARD;
/* The destination is ready to go on after RESUME. */
int return_path_put_resume_ack(struct buf *b, struct error *err) NODISCARD;

/* What a source hears. NULL ops (but `bitmap`) ignore their message; an error
 * of one ends the decoding. */
struct return_path_ops {
    int (*shut)(void *arg, uint32_t status, struct error *err);
    int (*pong)(void *arg, uint32_t value, struct error *err);
    /* `idstr` is resolved: always the name of the block. Bytes. */
    int (*request)(void *arg, const char *idstr, uint64_t start, uint32_t len,
                   struct error *err);
    /* `bits` are host-order words, tail bits 0; NULL op: refused. */
    int (*bitmap)(void *arg, const char *idstr, const uint64_t *words,
                  uint64_t n_pages_rounded, struct error *err);
    int (*resume_ack)(void *arg, uint32_t value, struct error *err);
};

struct return_path_decoder;

/* `ops` and `arg` must outlive the decoder. ERR_NOMEM is the only error. */
int return_path_decoder_new(const struct return_path_ops *ops, void *arg,
                            struct return_path_decoder **ret,
                            struct error *err) NODISCARD;
/* Takes NULL; not from inside an op. */
void return_path_decoder_free(struct return_path_decoder *d);
/* Bytes cut anywhere; the ops are called from inside, in the order of arrival.
 * ERR_PROTOCOL, or what an op returned, ends it: later feeds give it again. */
int return_path_decoder_feed(struct return_path_decoder *d, const void *data,
                             size_t len, struct error *err) NODISCARD;

DEFINE_CLEANUP(return_path_decoder, struct return_path_decoder *,
               return_path_decoder_free)

#endif

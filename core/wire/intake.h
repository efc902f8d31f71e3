/*
 * intake.h - feeds a decoder of items with bytes cut anywhere.
 *
 * The decoder sees the fed bytes in place; only an item that a cut went
 * through is put together in a buffer of ours, and no byte behind it. All zero
 * is a fresh intake. One thread.
 */
#ifndef FIRN_CORE_WIRE_INTAKE_H
#define FIRN_CORE_WIRE_INTAKE_H

#include "core/base/buf.h"
#include "core/vm/input.h"

struct intake {
    struct buf carry; /* the beginning of the item that is not whole yet */
    size_t need;      /* how long `carry` must get before it is tried again */
    uint64_t offset;  /* in the stream, of the next byte to be decoded */
    struct error broken; /* the error that ended it; code 0 while it works */
};

/*
 * Decodes items from `in` until one is not whole: then `in->at` stands at its
 * first byte and `in->need` is set. 0, or the error that ends the stream.
 */
typedef int (*intake_decode_fn)(void *arg, struct input *in, struct error *err);

/* Decodes what `len` more bytes make whole, and keeps the rest; `data` is not
 * needed afterwards. The first error stays: every later call gives it again. */
int intake_feed(struct intake *t, const void *data, size_t len,
                intake_decode_fn decode, void *arg,
                struct error *err) NODISCARD;

/* Frees the carry and forgets the error: a fresh intake. */
void intake_release(struct intake *t);

#endif

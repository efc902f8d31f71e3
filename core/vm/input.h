/*
 * input.h - the bytes at hand of a stream that comes in pieces.
 *
 * A decoder reads through `at`. When an item is not whole yet it leaves `at`
 * where the item begins, says in `need` how many bytes from there it must see
 * to get on, and is called again when they are there. `need` is a lower bound
 * and grows as the item shows its lengths; so nothing is read twice that an
 * item could not know. Plain data, no source.
 */
#ifndef FIRN_CORE_VM_INPUT_H
#define FIRN_CORE_VM_INPUT_H

#include "core/base/cursor.h"
#include "core/base/error.h"

struct input {
    struct cursor at;
    uint64_t base; /* stream offset of at.data[0] */
    size_t need;   /* set when an item is not whole, from at.pos */
};

/* Whether `n` bytes are at hand from here; if not, they are what is needed. */
static inline UNUSED NODISCARD bool input_have(struct input *in, size_t n)
{
    if (cursor_left(&in->at) >= n)
        return true;
    in->need = n;
    return false;
}

static inline UNUSED const uint8_t *input_here(const struct input *in)
{
    return in->at.data + in->at.pos;
}

static inline UNUSED uint64_t input_offset(const struct input *in)
{
    return in->base + in->at.pos;
}

/* Only after input_have() said yes for as much. */
static inline UNUSED void input_take(struct input *in, size_t n)
{
    assert(cursor_left(&in->at) >= n);
    in->at.pos += n;
}

/* An error with the offset of the item that is being read. */
#define fail_at(in, err, code, fmt, ...)                            \
    fail((err), (code), fmt " at stream offset %lu", ##__VA_ARGS__, \
         input_offset(in))

#endif

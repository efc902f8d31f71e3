/*
 * wire_bytes.h - what an encoder wrote, compared to the byte.
 *
 * Header only; asserts by cmocka, whose headers come first.
 */
#ifndef FIRN_TESTS_CORE_WIRE_WIRE_BYTES_H
#define FIRN_TESTS_CORE_WIRE_WIRE_BYTES_H

#include "core/base/buf.h"

struct wire_bytes {
    struct buf b;
    struct buf trace; /* what a decoder told of it, if the test has one */
    struct error err;
};

static inline UNUSED int wire_bytes_set_up(void **state)
{
    *state = calloc(1, sizeof(struct wire_bytes));
    return *state ? 0 : -1;
}

static inline UNUSED int wire_bytes_tear_down(void **state)
{
    struct wire_bytes *f = *state;

    buf_release(&f->b);
    buf_release(&f->trace);
    free(f);
    return 0;
}

/* Takes them: the next ones are compared alone. */
static inline UNUSED void assert_bytes(struct wire_bytes *f, const void *want,
                                       size_t len)
{
    assert_int_equal(f->b.len, len);
    assert_memory_equal(f->b.data, want, len);
    buf_reset(&f->b);
}

#define assert_hex(f, literal) assert_bytes((f), (literal), sizeof(literal) - 1)

#endif

/*
 * assert_error.h - cmocka in the order it wants, and what failures must say.
 *
 * Included first by the tests of core/vm and core/wire. cmocka's fail() makes
 * room for ours.
 */
#ifndef FIRN_TESTS_CORE_VM_ASSERT_ERROR_H
#define FIRN_TESTS_CORE_VM_ASSERT_ERROR_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#undef fail

#include "core/base/error.h"

static inline UNUSED bool message_says(const struct error *err,
                                       const char *piece)
{
    bool says = strstr(err->message, piece);

    if (!says)
        print_error("'%s' does not say '%.99s'\n", err->message, piece);
    return says;
}

/* The call failed with `code`, and its message holds `piece`. */
#define assert_error(rc, err, want, piece)         \
    do {                                           \
        assert_int_equal((rc), (want));            \
        assert_int_equal((err)->code, (want));     \
        assert_true(message_says((err), (piece))); \
    } while (0)

#endif

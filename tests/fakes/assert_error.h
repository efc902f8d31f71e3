/*
 * assert_error.h - cmocka and our error type together.
 *
 * Both have a macro `fail`: ours stays. Include this instead of cmocka.h.
 */
#ifndef FIRN_TESTS_FAKES_ASSERT_ERROR_H
#define FIRN_TESTS_FAKES_ASSERT_ERROR_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include "core/base/error.h"

/* The error's message holds `piece`. */
#define assert_message(err, piece)                                         \
    do {                                                                   \
        if (!strstr((err)->message, (piece))) {                            \
            print_error("'%s' is not in '%s'\n", (piece), (err)->message); \
            _fail(__FILE__, __LINE__);                                     \
        }                                                                  \
    } while (0)

/* The call failed with this code, told with these words. */
#define assert_error(call, err, wanted, piece)                  \
    do {                                                        \
        int rc_ = (call);                                       \
                                                                \
        if (rc_ != (wanted)) {                                  \
            print_error("got %d (%s) instead of %s\n", rc_,     \
                        rc_ == 0 ? "no error" : (err)->message, \
                        error_code_name(wanted));               \
            _fail(__FILE__, __LINE__);                          \
        }                                                       \
        assert_int_equal((err)->code, (wanted));                \
        assert_message((err), (piece));                         \
    } while (0)

/* The call went well; else its message is shown. */
#define assert_ok(call, err)                     \
    do {                                         \
        if ((call) < 0) {                        \
            print_error("%s\n", (err)->message); \
            _fail(__FILE__, __LINE__);           \
        }                                        \
    } while (0)

#endif

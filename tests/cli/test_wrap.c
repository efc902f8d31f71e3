#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include "cli/wrap.h"

static void expect_wrapped(const char *text, size_t column, size_t indent,
                           const char *expected)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err;

    assert_int_equal(wrap_text(&b, text, column, indent, &err), 0);
    assert_string_equal(buf_str(&b), expected);
}

#define TEN "123456789 "

static void a_full_line_has_79_columns(void **state)
{
    expect_wrapped(TEN TEN TEN TEN TEN TEN TEN "123456789 x", 0, 2,
                   TEN TEN TEN TEN TEN TEN TEN "123456789\n  x\n");
}

static void the_first_line_starts_at_its_column(void **state)
{
    expect_wrapped(TEN "x", 70, 4, "123456789\n    x\n");
    expect_wrapped(TEN "x", 68, 4, "123456789 x\n");
}

static void brackets_hold_their_words_together(void **state)
{
    expect_wrapped("[--name VM] x", 68, 4, "[--name VM]\n    x\n");
    expect_wrapped("a [--mode X|Y [Z]] x", 62, 4,
                   "a\n    [--mode X|Y [Z]] x\n");
}

static void newlines_stay_and_blank_lines_are_empty(void **state)
{
    expect_wrapped("a\nb\n\nc", 0, 2, "a\n  b\n\n  c\n");
}

static void a_word_longer_than_a_line_is_not_broken(void **state)
{
    expect_wrapped("abcdefghij", 75, 2, "abcdefghij\n");
    expect_wrapped("x abcdefghij", 75, 2, "x\n  abcdefghij\n");
}

static void an_empty_text_is_an_empty_line(void **state)
{
    expect_wrapped("", 10, 2, "\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_line_has_79_columns),
        cmocka_unit_test(the_first_line_starts_at_its_column),
        cmocka_unit_test(brackets_hold_their_words_together),
        cmocka_unit_test(newlines_stay_and_blank_lines_are_empty),
        cmocka_unit_test(a_word_longer_than_a_line_is_not_broken),
        cmocka_unit_test(an_empty_text_is_an_empty_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

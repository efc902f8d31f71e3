#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/spark.h"

static void heights_go_by_powers_of_two(void **state)
{
    const uint64_t values[] = {1 << 20, 1 << 10, 1 << 15, 1 << 10};
    char text[SPARK_BYTES];

    assert_int_equal(spark_draw(values, 4, false, text), 4);
    assert_string_equal(text, "#_:_");
    assert_int_equal(spark_draw(values, 4, true, text), 4);
    assert_string_equal(text, "\u2588\u2581\u2584\u2581");
}

static void equal_values_lie_flat(void **state)
{
    const uint64_t values[] = {5, 5, 5};
    char text[SPARK_BYTES];

    assert_int_equal(spark_draw(values, 3, false, text), 3);
    assert_string_equal(text, "___");
    assert_int_equal(spark_draw(values, 0, false, text), 0);
    assert_string_equal(text, "");
}

static void many_share_columns_and_none_is_lost(void **state)
{
    uint64_t values[1000] = {0};
    char text[SPARK_BYTES];

    values[777] = UINT64_MAX;
    assert_int_equal(spark_draw(values, 1000, false, text), SPARK_COLUMNS);
    assert_int_equal(strlen(text), SPARK_COLUMNS);
    assert_int_equal(strchr(text, '#') - text, 777 * SPARK_COLUMNS / 1000);
    assert_int_equal(spark_draw(values, 1000, true, text), SPARK_COLUMNS);
    assert_int_equal(strlen(text), 3 * SPARK_COLUMNS);
}

static void the_first_variable_that_is_set_decides(void **state)
{
    setenv("LC_ALL", "", 1);
    setenv("LC_CTYPE", "C", 1);
    setenv("LANG", "en_US.UTF-8", 1);
    assert_false(spark_utf8());
    setenv("LC_ALL", "de_DE.utf8", 1);
    assert_true(spark_utf8());
    unsetenv("LC_ALL");
    unsetenv("LC_CTYPE");
    assert_true(spark_utf8());
    unsetenv("LANG");
    assert_false(spark_utf8());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heights_go_by_powers_of_two),
        cmocka_unit_test(equal_values_lie_flat),
        cmocka_unit_test(many_share_columns_and_none_is_lost),
        cmocka_unit_test(the_first_variable_that_is_set_decides),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

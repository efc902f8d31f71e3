#include "tests/fakes/assert_error.h"

#include <unistd.h>

#include "snapshot/channel_method.h"

static void what_takes_less_time_is_chosen(void **state)
{
    struct channel_costs c = {.raw_bytes = 1000,
                              .packed_bytes = 400,
                              .copy_ns = 1000,
                              .compress_ns = 400,
                              .decompress_ns = 150};

    assert_int_equal(channel_method_choose(&c), MULTIFD_ZSTD);
    c.decompress_ns = 200;
    assert_int_equal(channel_method_choose(&c), MULTIFD_NONE);
    c.packed_bytes = 1000;
    c.compress_ns = 1;
    c.decompress_ns = 0;
    assert_int_equal(channel_method_choose(&c), MULTIFD_NONE);
}

static void a_measurement_measures_each_of_them(void **state)
{
    struct error err;
    struct channel_costs c;

    assert_ok(channel_costs_measure(&c, &err), &err);
    assert_true(c.copy_ns > 0 && c.compress_ns > 0 && c.decompress_ns > 0);
    assert_int_equal(c.raw_bytes, 1 << 20);
    /* Memory without its zero pages gets smaller, but not by much. */
    assert_true(c.packed_bytes > c.raw_bytes / 5);
    assert_true(c.packed_bytes < c.raw_bytes * 4 / 5);
    print_message("1 MiB: copied in %lu us, %lu bytes by zstd in %lu us, back "
                  "in %lu us\n",
                  c.copy_ns / 1000, c.packed_bytes, c.compress_ns / 1000,
                  c.decompress_ns / 1000);
}

static void there_is_at_least_one_channel_and_not_too_many(void **state)
{
    unsigned n = channel_count_default();

    assert_true(n >= 1 && n <= 4);
    assert_true(n == 1 || n * 2 <= (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_takes_less_time_is_chosen),
        cmocka_unit_test(a_measurement_measures_each_of_them),
        cmocka_unit_test(there_is_at_least_one_channel_and_not_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

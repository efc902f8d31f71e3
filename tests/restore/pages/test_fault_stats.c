#include "tests/fakes/assert_error.h"

#include "restore/pages/fault_stats.h"

static void without_faults_every_percentile_is_zero(void **state)
{
    struct fault_stats s = {0};

    assert_int_equal(fault_stats_percentile_us(&s, 50), 0);
    assert_int_equal(fault_stats_percentile_us(&s, 99), 0);
}

static void short_times_are_exact(void **state)
{
    struct fault_stats s = {0};

    for (uint64_t us = 1; us <= 10; us++)
        fault_stats_add(&s, us * 1000);

    assert_int_equal(s.count, 10);
    assert_int_equal(fault_stats_percentile_us(&s, 50), 5);
    assert_int_equal(fault_stats_percentile_us(&s, 100), 10);
}

static void one_slow_fault_in_a_hundred_is_the_p99_only_beyond_it(void **state)
{
    struct fault_stats s = {0};

    for (int i = 0; i < 99; i++)
        fault_stats_add(&s, 3000);
    fault_stats_add(&s, 900 * 1000);

    assert_int_equal(fault_stats_percentile_us(&s, 50), 3);
    assert_int_equal(fault_stats_percentile_us(&s, 99), 3);
    assert_true(fault_stats_percentile_us(&s, 100) >= 900);
}

static void long_times_are_exact_to_six_percent(void **state)
{
    for (uint64_t us = 16; us < (UINT64_C(1) << 50); us = us * 5 / 3) {
        struct fault_stats s = {0};
        uint64_t told;

        fault_stats_add(&s, us * 1000);
        told = fault_stats_percentile_us(&s, 50);

        assert_true(told >= us);
        assert_true(told - us <= us / 16);
    }
}

static void the_longest_time_there_is_has_a_bucket(void **state)
{
    struct fault_stats s = {0};

    fault_stats_add(&s, UINT64_MAX);

    assert_true(fault_stats_percentile_us(&s, 99) >= UINT64_MAX / 1000);
}

static void the_slowest_is_kept_and_powers_count_all(void **state)
{
    struct fault_stats s = {0};
    uint64_t powers[FAULT_STATS_POWERS];

    fault_stats_add(&s, 500);
    fault_stats_add(&s, 1000);
    fault_stats_add(&s, 70000);
    fault_stats_add(&s, 100000);
    fault_stats_add(&s, UINT64_C(5000000000));
    fault_stats_powers(&s, powers);
    assert_int_equal(s.max_us, 5000000);
    assert_int_equal(powers[0], 1);
    assert_int_equal(powers[1], 1);
    assert_int_equal(powers[7], 2);  /* 64 to 127 us */
    assert_int_equal(powers[23], 1); /* 4.2 to 8.4 s */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_faults_every_percentile_is_zero),
        cmocka_unit_test(short_times_are_exact),
        cmocka_unit_test(one_slow_fault_in_a_hundred_is_the_p99_only_beyond_it),
        cmocka_unit_test(long_times_are_exact_to_six_percent),
        cmocka_unit_test(the_longest_time_there_is_has_a_bucket),
        cmocka_unit_test(the_slowest_is_kept_and_powers_count_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

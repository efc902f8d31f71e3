#include "tests/fakes/assert_error.h"

#include "core/base/clock.h"

static void the_monotonic_clock_never_goes_back(void **state)
{
    uint64_t last = clock_monotonic_ns();

    for (unsigned i = 0; i < 10000; i++) {
        uint64_t t = clock_monotonic_ns();

        assert_true(t >= last);
        last = t;
    }
}

static void the_real_clock_counts_from_1970(void **state)
{
    uint64_t t = clock_realtime_ns() / NS_PER_SEC;
    uint64_t now = (uint64_t)time(NULL);

    assert_in_range(t, now - 1, now + 1);
}

static void assert_text(uint64_t seconds, const char *want)
{
    char text[32];

    clock_format_utc(seconds * NS_PER_SEC + 999999999, text);
    assert_string_equal(text, want);
}

static void times_are_written_in_utc(void **state)
{
    setenv("TZ", "Pacific/Auckland", 1);
    tzset();

    assert_text(0, "1970-01-01T00:00:00Z");
    assert_text(951782400, "2000-02-29T00:00:00Z");
    assert_text(1795268098, "2026-11-21T13:34:58Z");
    assert_text(4102444799, "2099-12-31T23:59:59Z");
}

static void the_last_time_there_is_can_be_written(void **state)
{
    char text[32];

    clock_format_utc(UINT64_MAX, text);
    assert_string_equal(text, "2554-07-21T23:34:33Z");
}

static void no_deadline_waits_for_ever(void **state)
{
    assert_int_equal(clock_poll_ms(0), -1);
}

static void a_deadline_that_is_over_does_not_wait(void **state)
{
    assert_int_equal(clock_poll_ms(1), 0);
    assert_int_equal(clock_poll_ms(clock_monotonic_ns()), 0);
}

static void a_wait_is_rounded_up_and_at_most_an_hour(void **state)
{
    uint64_t now = clock_monotonic_ns();

    /* Rounded down it would be 0 and the caller would spin. */
    assert_in_range(clock_poll_ms(now + NS_PER_SEC), 1, 1000);
    assert_int_equal(clock_poll_ms(UINT64_MAX), 3600 * 1000);
    assert_int_equal(clock_poll_ms(now + 7200 * NS_PER_SEC), 3600 * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_monotonic_clock_never_goes_back),
        cmocka_unit_test(the_real_clock_counts_from_1970),
        cmocka_unit_test(times_are_written_in_utc),
        cmocka_unit_test(the_last_time_there_is_can_be_written),
        cmocka_unit_test(no_deadline_waits_for_ever),
        cmocka_unit_test(a_deadline_that_is_over_does_not_wait),
        cmocka_unit_test(a_wait_is_rounded_up_and_at_most_an_hour),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

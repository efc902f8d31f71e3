#include "tests/fakes/assert_error.h"

#include "cli/run/schedule.h"
#include "core/base/clock.h"

#define HOUR_MS UINT64_C(3600000)
#define HOUR_NS (HOUR_MS * NS_PER_MS)
#define NOW     (UINT64_C(1700000000) * NS_PER_SEC)

static void without_a_last_one_or_an_interval_it_is_due(void **state)
{
    assert_true(schedule_is_due(0, NOW, HOUR_MS));
    assert_true(schedule_is_due(NOW, NOW, 0));
    assert_true(schedule_is_due(NOW - 1, NOW, 0));
}

static void it_is_due_when_nine_tenths_have_passed(void **state)
{
    assert_false(schedule_is_due(NOW, NOW, HOUR_MS));
    assert_false(
        schedule_is_due(NOW - HOUR_NS / 10 * 9 + NS_PER_MS, NOW, HOUR_MS));
    assert_true(schedule_is_due(NOW - HOUR_NS / 10 * 9, NOW, HOUR_MS));
    assert_true(schedule_is_due(NOW - HOUR_NS, NOW, HOUR_MS));
}

/* An hourly timer whose captures take a minute, each begun up to five minutes
 * late by random: no turn is lost, none is taken twice. */
static void an_hourly_timer_loses_no_turn(void **state)
{
    uint64_t last = 0;
    unsigned taken = 0;

    for (unsigned turn = 0; turn < 1000; turn++) {
        uint64_t late = (turn * UINT64_C(2654435761)) % 300;
        uint64_t now = NOW + turn * HOUR_NS + late * NS_PER_SEC;

        if (schedule_is_due(last, now, HOUR_MS)) {
            last = now + 60 * NS_PER_SEC;
            taken++;
        }
        assert_false(schedule_is_due(last, last + NS_PER_SEC, HOUR_MS));
    }
    assert_int_equal(taken, 1000);
}

/* A timer four times as often as the interval: every fourth turn. */
static void a_timer_that_fires_too_often_does_no_harm(void **state)
{
    uint64_t last = 0;
    unsigned taken = 0;

    for (unsigned turn = 0; turn < 400; turn++) {
        uint64_t now = NOW + turn * HOUR_NS / 4;

        if (schedule_is_due(last, now, HOUR_MS)) {
            last = now;
            taken++;
        }
    }
    assert_int_equal(taken, 100);
}

static void a_clock_set_back_stops_nothing(void **state)
{
    assert_true(schedule_is_due(NOW + HOUR_NS, NOW, HOUR_MS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_last_one_or_an_interval_it_is_due),
        cmocka_unit_test(it_is_due_when_nine_tenths_have_passed),
        cmocka_unit_test(an_hourly_timer_loses_no_turn),
        cmocka_unit_test(a_timer_that_fires_too_often_does_no_harm),
        cmocka_unit_test(a_clock_set_back_stops_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include "core/base/clock.h"
#include "snapshot/convergence.h"

#define MIB UINT64_C(1048576)
#define T0  (50 * NS_PER_SEC)

/* A course of rounds of so many MiB and ms each; 0 bytes ends it. */
struct course {
    const char *name;
    struct {
        unsigned mib;
        unsigned ms;
        unsigned throttle;
    } rounds[24];
    unsigned throttle_max;
    bool relaxed;
    enum convergence_verdict end;
};

static const struct course courses[] = {
    {"nothing yet", {{0, 0, 0}}, 0, false, CONVERGENCE_GOING},
    {"rounds get smaller",
     {{1000, 3000, 0},
      {100, 900, 0},
      {50, 900, 0},
      {25, 900, 0},
      {12, 900, 0},
      {6, 900, 0},
      {3, 900, 0}},
     0,
     true,
     CONVERGENCE_GOING},
    {"all alike",
     {{60, 6000, 0},
      {2, 900, 0},
      {2, 900, 0},
      {2, 900, 0},
      {2, 900, 0},
      {2, 900, 0}},
     0,
     false,
     CONVERGENCE_RELAX},
    {"alike, the limit is up already",
     {{60, 6000, 0},
      {2, 900, 0},
      {2, 900, 0},
      {2, 900, 0},
      {2, 900, 0},
      {2, 900, 0}},
     0,
     true,
     CONVERGENCE_HOPELESS},
    {"alike, but for less than two seconds",
     {{60, 600, 0},
      {2, 90, 0},
      {2, 90, 0},
      {2, 90, 0},
      {2, 90, 0},
      {2, 90, 0},
      {2, 90, 0},
      {2, 90, 0}},
     0,
     true,
     CONVERGENCE_GOING},
    {"alike for seconds, but few",
     {{60, 60000, 0}, {59, 60000, 0}, {60, 60000, 0}, {60, 60000, 0}},
     0,
     true,
     CONVERGENCE_GOING},
    {"the guest writes all its memory all the time",
     {{1000, 9000, 0},
      {1000, 9000, 0},
      {1000, 9000, 0},
      {1000, 9000, 0},
      {1000, 9000, 0}},
     0,
     true,
     CONVERGENCE_HOPELESS},
    {"up and down, never under the best",
     {{500, 900, 0},
      {20, 900, 0},
      {80, 900, 0},
      {30, 900, 0},
      {19, 900, 0},
      {90, 900, 0}},
     0,
     true,
     CONVERGENCE_HOPELESS},
    {"slower by a sixth each time",
     {{500, 900, 0},
      {400, 900, 0},
      {330, 900, 0},
      {270, 900, 0},
      {220, 900, 0},
      {180, 900, 0}},
     0,
     true,
     CONVERGENCE_GOING},
    {"alike, QEMU throttles and may do so more",
     {{60, 900, 0},
      {2, 900, 0},
      {2, 900, 20},
      {2, 900, 20},
      {2, 900, 20},
      {2, 900, 20},
      {2, 900, 20},
      {2, 900, 20}},
     99,
     true,
     CONVERGENCE_GOING},
    {"alike, throttled to the end a moment ago",
     {{60, 900, 0},
      {2, 900, 0},
      {2, 900, 50},
      {2, 900, 60},
      {2, 900, 80},
      {2, 900, 99},
      {2, 900, 99}},
     99,
     true,
     CONVERGENCE_GOING},
    {"alike, throttled to the end",
     {{60, 900, 0},
      {2, 900, 99},
      {2, 900, 99},
      {2, 900, 99},
      {2, 900, 99},
      {2, 900, 99},
      {2, 900, 99}},
     99,
     true,
     CONVERGENCE_HOPELESS},
    {"alike and throttled: the limit goes up first",
     {{60, 900, 0},
      {2, 900, 20},
      {2, 900, 20},
      {2, 900, 20},
      {2, 900, 20},
      {2, 900, 20}},
     99,
     false,
     CONVERGENCE_RELAX},
};

static void take_throttle(struct convergence *c, unsigned percent, uint64_t now)
{
    cleanup_json json_t *m =
        json_pack("{s:i}", "cpu-throttle-percentage", (int)percent);

    assert_non_null(m);
    convergence_take(c, m, now);
}

static enum convergence_verdict follow(const struct course *course)
{
    struct convergence c;
    uint64_t bytes = 0;
    uint64_t now = T0;

    convergence_init(&c, course->throttle_max);
    c.relaxed = course->relaxed;
    for (size_t i = 0; course->rounds[i].mib; i++) {
        convergence_round(&c, bytes, now);
        bytes += course->rounds[i].mib * MIB;
        now += course->rounds[i].ms * NS_PER_MS;
        if (course->rounds[i].throttle)
            take_throttle(&c, course->rounds[i].throttle, now);
    }
    convergence_round(&c, bytes, now);
    return convergence_verdict(&c, now);
}

static void test_courses_end_as_they_should(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(courses); i++) {
        if (follow(&courses[i]) != courses[i].end)
            print_error("%s\n", courses[i].name);
        assert_int_equal(follow(&courses[i]), courses[i].end);
    }
}

static void test_a_higher_limit_gets_its_time(void **state)
{
    struct convergence c;
    uint64_t now = T0;
    uint64_t bytes = 0;

    (void)state;
    convergence_init(&c, 0);
    while (convergence_verdict(&c, now) == CONVERGENCE_GOING) {
        convergence_round(&c, bytes, now);
        bytes += MIB;
        now += 600 * NS_PER_MS;
    }
    assert_int_equal(convergence_verdict(&c, now), CONVERGENCE_RELAX);
    convergence_relaxed(&c, now);
    for (unsigned i = 0; i < CONVERGENCE_STUCK_ROUNDS; i++) {
        assert_int_equal(convergence_verdict(&c, now), CONVERGENCE_GOING);
        convergence_round(&c, bytes += MIB, now += 600 * NS_PER_MS);
    }
    assert_int_equal(convergence_verdict(&c, now), CONVERGENCE_HOPELESS);
}

static void test_the_limit_leaves_room_for_what_it_does_not_bound(void **state)
{
    (void)state;
    assert_int_equal(convergence_limit_ms(300, false), 30);
    assert_int_equal(convergence_limit_ms(300, true), 150);
    assert_int_equal(convergence_limit_ms(5, false), 1);
    assert_int_equal(convergence_limit_ms(1, true), 1);
}

static void
test_dirty_rate_is_what_a_round_sends_of_the_one_before(void **state)
{
    struct convergence c;

    (void)state;
    convergence_init(&c, 0);
    assert_int_equal(c.dirty_bytes_per_s, 0);
    convergence_round(&c, 0, T0);
    convergence_round(&c, 100 * MIB, T0 + 4 * NS_PER_SEC);
    assert_int_equal(c.dirty_bytes_per_s, 0);
    convergence_round(&c, 140 * MIB, T0 + 5 * NS_PER_SEC);
    convergence_end(&c, 150 * MIB, T0 + 6 * NS_PER_SEC);
    assert_int_equal(c.n_rounds, 3);
    /* 10 MiB/s in the second round, as in the third. */
    assert_int_equal(c.dirty_bytes_per_s, 10 * MIB);
    convergence_end(&c, 999 * MIB, T0 + 9 * NS_PER_SEC);
    assert_int_equal(c.n_rounds, 3);
}

static void test_two_looks_in_a_row_are_no_round(void **state)
{
    struct convergence c;

    (void)state;
    convergence_init(&c, 0);
    convergence_round(&c, 0, T0);
    convergence_round(&c, MIB, T0 + 2 * NS_PER_SEC);
    convergence_round(&c, MIB + 4096, T0 + 2 * NS_PER_SEC + NS_PER_MS);
    convergence_end(&c, 2 * MIB, T0 + 4 * NS_PER_SEC);
    assert_int_equal(c.n_rounds, 2);
    assert_int_equal(c.dirty_bytes_per_s, MIB / 2);
}

static void test_rounds_beyond_those_kept_are_added_up(void **state)
{
    struct convergence c;
    uint64_t sum = 0;

    (void)state;
    convergence_init(&c, 0);
    for (unsigned i = 0; i <= 100; i++)
        convergence_round(&c, i * MIB, T0 + i * NS_PER_SEC);
    assert_int_equal(c.n_rounds, 100);
    assert_int_equal(c.n_kept, CONVERGENCE_ROUNDS_KEPT);
    for (unsigned i = 0; i < c.n_kept; i++)
        sum += c.rounds[i].bytes;
    assert_int_equal(sum, 100 * MIB);
}

static void test_what_qemu_tells_is_taken_and_reported(void **state)
{
    cleanup_json json_t *m = json_loads(
        "{\"expected-downtime\": 77, \"cpu-throttle-percentage\": 30,"
        " \"ram\": {\"remaining\": 4096, \"mbps\": 8.0}}",
        0, NULL);
    cleanup_json json_t *odd = json_loads(
        "{\"expected-downtime\": -4, \"cpu-throttle-percentage\": 70000,"
        " \"ram\": {\"remaining\": \"x\", \"mbps\": -1}}",
        0, NULL);
    cleanup_json json_t *told = NULL;
    struct convergence c;

    (void)state;
    convergence_init(&c, 99);
    convergence_take(&c, m, T0);
    assert_int_equal(c.last.remaining_bytes, 4096);
    assert_int_equal(c.last.bytes_per_s, 1000000);
    convergence_round(&c, 0, T0);
    convergence_round(&c, MIB, T0 + NS_PER_SEC);
    told = convergence_json(&c);
    assert_int_equal(json_path_int(told, "expected_downtime_ms", 0), 77);
    assert_int_equal(json_path_int(told, "throttle_percent", 0), 30);
    assert_int_equal(json_array_size(json_object_get(told, "rounds")), 1);
    convergence_take(&c, odd, T0);
    assert_int_equal(c.last.expected_downtime_ms, 0);
    assert_int_equal(c.last.remaining_bytes, 0);
    assert_int_equal(c.last.bytes_per_s, 0);
    assert_int_equal(c.last.throttle_percent, 100);
    convergence_take(&c, NULL, T0);
    assert_int_equal(c.last.throttle_percent, 0);
    assert_int_equal(c.throttle_peak, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_courses_end_as_they_should),
        cmocka_unit_test(test_a_higher_limit_gets_its_time),
        cmocka_unit_test(test_the_limit_leaves_room_for_what_it_does_not_bound),
        cmocka_unit_test(
            test_dirty_rate_is_what_a_round_sends_of_the_one_before),
        cmocka_unit_test(test_two_looks_in_a_row_are_no_round),
        cmocka_unit_test(test_rounds_beyond_those_kept_are_added_up),
        cmocka_unit_test(test_what_qemu_tells_is_taken_and_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include "core/base/clock.h"
#include "restore/pages/fill_pace.h"

#define MIB (UINT64_C(1) << 20)

/* Sends `left` bytes in pieces, each when it is due; when all is sent, in ns
 * from the beginning. */
static uint64_t run(struct fill_pace *p, uint64_t left, uint64_t start_ns)
{
    uint64_t now = start_ns;

    while (left > 0) {
        uint64_t piece = MIN(left, MIB / 16);

        now = MAX(now, fill_pace_due_ns(p));
        left -= piece;
        fill_pace_sent(p, piece, false, left, now);
    }
    return now - start_ns;
}

static void without_wishes_nothing_waits(void **state)
{
    struct fill_pace p;

    fill_pace_init(&p, 0);
    fill_pace_begin(&p, 0, NS_PER_SEC);
    assert_int_equal(run(&p, 100 * MIB, NS_PER_SEC), 0);
}

static void a_bandwidth_is_kept(void **state)
{
    struct fill_pace p;
    uint64_t took;

    fill_pace_init(&p, 10 * MIB);
    fill_pace_begin(&p, 0, NS_PER_SEC);
    took = run(&p, 100 * MIB, NS_PER_SEC);
    assert_true(took > 97 * NS_PER_SEC / 10 && took <= 10 * NS_PER_SEC);
}

static void a_bound_is_held_and_used(void **state)
{
    struct fill_pace p;
    uint64_t took;

    fill_pace_init(&p, 0);
    fill_pace_begin(&p, 20 * NS_PER_SEC, NS_PER_SEC);
    took = run(&p, 100 * MIB, NS_PER_SEC);
    assert_true(took <= 20 * NS_PER_SEC);
    assert_true(took >= 15 * NS_PER_SEC);
}

static void a_bound_wins_over_a_bandwidth_that_cannot_hold_it(void **state)
{
    struct fill_pace p;

    fill_pace_init(&p, MIB);
    fill_pace_begin(&p, 20 * NS_PER_SEC, NS_PER_SEC);
    assert_true(run(&p, 100 * MIB, NS_PER_SEC) <= 20 * NS_PER_SEC);
}

static void a_bandwidth_wins_over_a_bound_that_is_far(void **state)
{
    struct fill_pace p;

    fill_pace_init(&p, 10 * MIB);
    fill_pace_begin(&p, 1000 * NS_PER_SEC, NS_PER_SEC);
    assert_true(run(&p, 100 * MIB, NS_PER_SEC) <= 10 * NS_PER_SEC);
}

static void what_was_asked_for_is_taken_off_the_rest(void **state)
{
    struct fill_pace p;
    uint64_t now = NS_PER_SEC;

    fill_pace_init(&p, 10 * MIB);
    fill_pace_begin(&p, 0, now);
    fill_pace_sent(&p, 10 * MIB, true, 90 * MIB, now);
    /* It waits for nobody, and the next piece waits for it, a second at most.
     */
    fill_pace_sent(&p, MIB / 16, false, 89 * MIB, now);
    assert_true(fill_pace_due_ns(&p) > now + NS_PER_SEC / 2);
    assert_true(fill_pace_due_ns(&p) < now + 2 * NS_PER_SEC);
}

static void a_bound_that_is_over_ends_all_patience(void **state)
{
    struct fill_pace p;

    fill_pace_init(&p, 0);
    fill_pace_begin(&p, NS_PER_SEC, NS_PER_SEC);
    fill_pace_sent(&p, 100 * MIB, false, 900 * MIB, 3 * NS_PER_SEC);
    assert_true(fill_pace_due_ns(&p) <= 3 * NS_PER_SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_wishes_nothing_waits),
        cmocka_unit_test(a_bandwidth_is_kept),
        cmocka_unit_test(a_bound_is_held_and_used),
        cmocka_unit_test(a_bound_wins_over_a_bandwidth_that_cannot_hold_it),
        cmocka_unit_test(a_bandwidth_wins_over_a_bound_that_is_far),
        cmocka_unit_test(what_was_asked_for_is_taken_off_the_rest),
        cmocka_unit_test(a_bound_that_is_over_ends_all_patience),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/core/vm/assert_error.h"

#include "core/vm/migration_state.h"

/* The whole table, written a second time: rows are `from`, columns `to`. */
static const char *const table[MIGRATION__COUNT] = {
    /* none       */ ".x....x..",
    /* setup      */ "..x...xx.",
    /* active     */ "...xxxxx.",
    /* pre-switch */ "....x.xx.",
    /* device     */ ".....xxx.",
    /* completed  */ ".........",
    /* failed     */ ".........",
    /* cancelling */ "........x",
    /* cancelled  */ ".........",
};

/* Facts with which each state may be entered. */
static struct migration in_state(enum migration_state s,
                                 enum migration_state to)
{
    bool late = to >= MIGRATION_PRE_SWITCHOVER;

    return (struct migration){.state = s,
                              .vm_stopped = late,
                              .blocks_known = late,
                              .tail_proved = to == MIGRATION_COMPLETED};
}

static void exactly_the_moves_of_the_table_are_legal(void **state)
{
    for (unsigned from = 0; from < MIGRATION__COUNT; from++) {
        for (unsigned to = 0; to < MIGRATION__COUNT; to++) {
            struct migration m = in_state(from, to);
            struct error err = ERROR_INIT;
            int rc = migration_state_move(&m, from, to, &err);

            if (table[from][to] == 'x') {
                assert_int_equal(rc, 0);
                assert_int_equal(m.state, to);
            } else {
                assert_error(rc, &err, ERR_INVALID, "cannot go from");
                assert_int_equal(m.state, from);
            }
        }
    }
}

static void a_move_from_another_state_is_refused(void **state)
{
    struct migration m = {.state = MIGRATION_ACTIVE};
    struct error err;

    assert_error(migration_state_move(&m, MIGRATION_SETUP, MIGRATION_ACTIVE,
                                      &err),
                 &err, ERR_INVALID, "migration is 'active', not 'setup'");
}

static void names_are_those_that_qemu_prints(void **state)
{
    static const char *const names[] = {
        "none",      "setup",  "active",     "pre-switchover", "device",
        "completed", "failed", "cancelling", "cancelled",
    };

    for (unsigned i = 0; i < MIGRATION__COUNT; i++) {
        enum migration_state s = MIGRATION__COUNT;

        assert_string_equal(migration_state_name(i), names[i]);
        assert_true(migration_state_parse(names[i], &s));
        assert_int_equal(s, i);
    }
}

static void a_status_of_another_kind_is_no_state_and_no_error(void **state)
{
    static const char *const others[] = {
        "postcopy-active", "wait-unplug", "colo", "", "Active", "new-in-11",
    };

    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        enum migration_state s = MIGRATION_DEVICE;

        assert_false(migration_state_parse(others[i], &s));
        assert_int_equal(s, MIGRATION_DEVICE);
    }
}

static void who_polls_may_miss_states_but_never_goes_back(void **state)
{
    assert_true(migration_state_reaches(MIGRATION_NONE, MIGRATION_COMPLETED));
    assert_true(migration_state_reaches(MIGRATION_SETUP, MIGRATION_CANCELLED));
    assert_true(migration_state_reaches(MIGRATION_ACTIVE, MIGRATION_ACTIVE));
    assert_false(migration_state_reaches(MIGRATION_DEVICE, MIGRATION_ACTIVE));
    assert_false(
        migration_state_reaches(MIGRATION_COMPLETED, MIGRATION_FAILED));
    assert_false(
        migration_state_reaches(MIGRATION_CANCELLING, MIGRATION_COMPLETED));
}

static void completed_failed_and_cancelled_are_final(void **state)
{
    for (unsigned i = 0; i < MIGRATION__COUNT; i++)
        assert_int_equal(migration_state_is_final(i),
                         i == MIGRATION_COMPLETED || i == MIGRATION_FAILED ||
                             i == MIGRATION_CANCELLED);
}

static void the_check_sees_what_a_state_may_not_be(void **state)
{
    static const struct migration wrong[] = {
        {.state = MIGRATION_SETUP, .blocks_known = true},
        {.state = MIGRATION_ACTIVE, .tail_proved = true},
        {.state = MIGRATION_PRE_SWITCHOVER},
        {.state = MIGRATION_DEVICE, .blocks_known = true},
        {.state = MIGRATION_COMPLETED, .blocks_known = true},
        {.state = MIGRATION_COMPLETED, .tail_proved = true},
    };

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_false(migration_state_check(&wrong[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_the_moves_of_the_table_are_legal),
        cmocka_unit_test(a_move_from_another_state_is_refused),
        cmocka_unit_test(names_are_those_that_qemu_prints),
        cmocka_unit_test(a_status_of_another_kind_is_no_state_and_no_error),
        cmocka_unit_test(who_polls_may_miss_states_but_never_goes_back),
        cmocka_unit_test(completed_failed_and_cancelled_are_final),
        cmocka_unit_test(the_check_sees_what_a_state_may_not_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

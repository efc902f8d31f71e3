#include "tests/fakes/assert_error.h"

#include "snapshot/run_state.h"

static enum settle_step step(const char *found, const char *state,
                             const char *status, uint64_t waited_ms)
{
    struct settle_view v = {
        .found = found, .waited_ms = waited_ms, .may_cancel = true};

    snprintf(v.state, sizeof(v.state), "%s", state);
    snprintf(v.status, sizeof(v.status), "%s", status);
    return settle_next(&v);
}

static void a_vm_that_runs_again_is_settled(void **state)
{
    assert_int_equal(step("running", "running", "failed", 0), SETTLE_DONE);
    assert_int_equal(step("running", "running", "completed", 0), SETTLE_DONE);
    assert_int_equal(step("running", "running", "", 0), SETTLE_DONE);
}

static void qemu_is_given_time_to_resume_by_itself(void **state)
{
    assert_int_equal(step("running", "finish-migrate", "failed", 0),
                     SETTLE_WAIT);
    assert_int_equal(step("running", "paused", "failed", 1000), SETTLE_WAIT);
}

static void a_vm_that_stands_still_for_long_is_started(void **state)
{
    assert_int_equal(step("running", "paused", "failed", 1500), SETTLE_CONT);
    assert_int_equal(step("running", "postmigrate", "completed", 1500),
                     SETTLE_CONT);
    assert_int_equal(step("running", "finish-migrate", "failed", 1500),
                     SETTLE_CONT);
}

static void a_migration_that_goes_on_is_cancelled_in_the_end(void **state)
{
    struct settle_view v = {.found = "running",
                            .state = "finish-migrate",
                            .status = "active",
                            .waited_ms = 5000,
                            .may_cancel = true};

    assert_int_equal(step("running", "running", "active", 4999), SETTLE_WAIT);
    assert_int_equal(settle_next(&v), SETTLE_CANCEL);
    v.cancelled = true;
    assert_int_equal(settle_next(&v), SETTLE_WAIT);
}

static void a_save_that_must_not_be_cancelled_is_waited_for(void **state)
{
    struct settle_view v = {.found = "running",
                            .state = "running",
                            .status = "active",
                            .waited_ms = 3600 * 1000};

    assert_int_equal(settle_next(&v), SETTLE_WAIT);
}

static void a_vm_found_stopped_is_never_started(void **state)
{
    static const char *const states[] = {"paused",         "prelaunch",
                                         "postmigrate",    "finish-migrate",
                                         "guest-panicked", "running"};
    static const char *const statuses[] = {"", "active", "failed", "completed"};

    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        for (size_t k = 0; k < ARRAY_LEN(statuses); k++)
            assert_int_not_equal(step("paused", states[i], statuses[k],
                                      3600 * 1000),
                                 SETTLE_CONT);
    }
}

static void a_stopped_vm_called_postmigrate_is_told_apart(void **state)
{
    assert_int_equal(step("paused", "postmigrate", "failed", 0),
                     SETTLE_DONE_POSTMIGRATE);
    assert_int_equal(step("paused", "paused", "failed", 0), SETTLE_DONE);
    assert_int_equal(step("prelaunch", "prelaunch", "cancelled", 0),
                     SETTLE_DONE);
    assert_int_equal(step("paused", "finish-migrate", "failed", 0),
                     SETTLE_WAIT);
}

static void a_guest_that_went_off_meanwhile_is_left_alone(void **state)
{
    assert_int_equal(step("running", "shutdown", "failed", 9999), SETTLE_DONE);
    assert_int_equal(step("running", "guest-panicked", "failed", 9999),
                     SETTLE_DONE);
}

static void a_capture_starts_from_states_that_can_migrate(void **state)
{
    static const char *const good[] = {"running",   "paused",   "prelaunch",
                                       "suspended", "io-error", "shutdown"};
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_ok(run_state_check_start(good[i], &err), &err);
    assert_error(run_state_check_start("postmigrate", &err), &err,
                 ERR_UNSUPPORTED, "postmigrate");
    assert_non_null(strstr(err.hint, "cont"));
    assert_error(run_state_check_start("inmigrate", &err), &err,
                 ERR_UNSUPPORTED, "incoming migration");
    assert_error(run_state_check_start("finish-migrate", &err), &err,
                 ERR_UNSUPPORTED, "by somebody else");
    assert_error(run_state_check_start("save-vm", &err), &err, ERR_UNSUPPORTED,
                 "save-vm");
}

static void unknown_words_of_a_migration_are_no_activity(void **state)
{
    assert_true(migration_is_active("setup"));
    assert_true(migration_is_active("device"));
    assert_true(migration_is_active("cancelling"));
    assert_true(migration_is_active("postcopy-paused"));
    assert_false(migration_is_active(""));
    assert_false(migration_is_active("none"));
    assert_false(migration_is_active("failed"));
    assert_false(migration_is_active("completed"));
    assert_false(migration_is_active("something-new"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vm_that_runs_again_is_settled),
        cmocka_unit_test(qemu_is_given_time_to_resume_by_itself),
        cmocka_unit_test(a_vm_that_stands_still_for_long_is_started),
        cmocka_unit_test(a_migration_that_goes_on_is_cancelled_in_the_end),
        cmocka_unit_test(a_save_that_must_not_be_cancelled_is_waited_for),
        cmocka_unit_test(a_vm_found_stopped_is_never_started),
        cmocka_unit_test(a_stopped_vm_called_postmigrate_is_told_apart),
        cmocka_unit_test(a_guest_that_went_off_meanwhile_is_left_alone),
        cmocka_unit_test(a_capture_starts_from_states_that_can_migrate),
        cmocka_unit_test(unknown_words_of_a_migration_are_no_activity),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

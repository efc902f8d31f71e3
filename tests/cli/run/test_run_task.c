#include "tests/fakes/assert_error.h"

#include "cli/run/run_task.h"
#include "core/base/clock.h"

/* What wait(2) gives for exit(n), and for death by a signal. */
#define EXITED(n) ((n) << 8)
#define KILLED(n) (n)

#define NOW (UINT64_C(1700000000) * NS_PER_SEC) /* 2023-11-14T22:13:20Z */

static const struct config_vm vm = {.name = "web", .every_ms = 3600000};

static struct run_task a_task(void)
{
    return (struct run_task){
        .vm = &vm, .repository = "/r", .forgets = true, .now_ns = NOW};
}

static void tell(struct run_task *t, const char *text)
{
    struct error err;
    json_t *line;

    assert_ok(json_parse(text, strlen(text), &line, &err), &err);
    run_task_told(t, line);
    json_decref(line);
}

/* Up to the state in which `list` runs. */
static struct run_task looking(void)
{
    struct run_task t = a_task();

    run_task_advance(&t);
    assert_int_equal(t.state, RUN_LOCKING);
    run_task_advance(&t);
    assert_int_equal(t.state, RUN_LOOKING);
    return t;
}

static struct run_task taking(void)
{
    struct run_task t = looking();

    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.state, RUN_TAKING);
    return t;
}

static void a_vm_is_looked_at_taken_and_its_old_ones_forgotten(void **state)
{
    struct run_task t = taking();

    tell(&t, "{\"type\":\"snapshot\",\"id\":\"0123456789abcdef\","
             "\"time\":\"2023-11-14T22:13:21Z\",\"downtime_ms\":12,"
             "\"duration_ms\":345,\"stored_bytes\":678,\"qemu_faults\":9}");
    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.state, RUN_FORGETTING);
    tell(&t, "{\"type\":\"snapshot\",\"id\":\"ffffffffffffffff\","
             "\"time\":\"2029-11-14T22:13:21Z\",\"action\":\"remove\"}");
    tell(&t, "{\"type\":\"forget\",\"kept\":2,\"removed\":3}");
    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.state, RUN_DONE);
    assert_int_equal(t.result, RUN_OK);
    assert_string_equal(t.id, "0123456789abcdef");
    assert_int_equal(t.downtime_ms, 12);
    assert_int_equal(t.duration_ms, 345);
    assert_int_equal(t.stored_bytes, 678);
    assert_int_equal(t.qemu_faults, 9);
    assert_int_equal(t.forgotten, 3);
    assert_true(t.last_ns == NOW + NS_PER_SEC);
}

static void one_that_is_not_due_is_left_alone(void **state)
{
    struct run_task t = looking();

    tell(&t, "{\"type\":\"snapshot\",\"time\":\"2023-11-14T22:00:00Z\"}");
    tell(&t, "{\"type\":\"snapshot\",\"time\":\"2023-11-14T20:00:00Z\"}");
    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.state, RUN_DONE);
    assert_int_equal(t.result, RUN_NOT_DUE);
    t = looking();
    t.always_due = true;
    tell(&t, "{\"type\":\"snapshot\",\"time\":\"2023-11-14T22:00:00Z\"}");
    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.state, RUN_TAKING);
}

static void a_dry_run_takes_nothing(void **state)
{
    struct run_task t = looking();

    t.dry_run = true;
    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.state, RUN_FORGETTING);
    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.result, RUN_OK);
    t = looking();
    t.dry_run = true;
    t.forgets = false;
    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.state, RUN_DONE);
}

static void the_error_told_is_the_tasks(void **state)
{
    struct run_task t = taking();

    tell(&t, "{\"type\":\"error\",\"code\":\"no_space\",\"message\":\"full\","
             "\"hint\":\"prune\"}");
    run_task_ended(&t, EXITED(15));
    assert_int_equal(t.state, RUN_DONE);
    assert_int_equal(t.result, RUN_FAILED);
    assert_int_equal(t.why.code, ERR_NOSPC);
    assert_string_equal(t.why.message, "full");
    assert_string_equal(t.why.hint, "prune");
}

static void a_silent_death_is_told_as_one(void **state)
{
    struct run_task t = taking();

    run_task_ended(&t, KILLED(11));
    assert_int_equal(t.result, RUN_FAILED);
    assert_string_equal(t.why.message,
                        "'firn snapshot' was killed by signal 11");
    t = looking();
    run_task_ended(&t, EXITED(10));
    assert_int_equal(t.why.code, ERR_NOREPO);
    assert_string_equal(t.why.message, "'firn list' ended with status 10");
}

static void a_snapshot_that_is_there_is_followed_by_its_forget(void **state)
{
    struct run_task t = taking();

    tell(&t, "{\"type\":\"snapshot\",\"id\":\"0123456789abcdef\","
             "\"downtime_ms\":900}");
    run_task_ended(&t, EXITED(3));
    assert_int_equal(t.state, RUN_FORGETTING);
    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.result, RUN_FAILED);
    assert_int_equal(t.why.code, ERR_PARTIAL);
    assert_message(&t.why, "0123456789abcdef is complete, but the guest stood "
                           "still for 900 ms");
}

static void a_damaged_old_one_stops_no_new_one(void **state)
{
    struct run_task t = looking();

    tell(&t, "{\"type\":\"error\",\"code\":\"damaged\",\"message\":\"bit\","
             "\"hint\":\"\"}");
    run_task_ended(&t, EXITED(13));
    assert_int_equal(t.state, RUN_TAKING);
    run_task_ended(&t, EXITED(0));
    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.result, RUN_FAILED);
    assert_string_equal(t.why.message, "list: bit");
}

static struct run_task a_repository(void)
{
    return (struct run_task){
        .repository = "/r", .prunes = true, .checks = true, .now_ns = NOW};
}

static void a_repository_is_pruned_and_checked(void **state)
{
    struct run_task t = a_repository();

    run_task_advance(&t);
    assert_int_equal(t.state, RUN_PRUNING);
    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.state, RUN_CHECKING);
    tell(&t, "{\"type\":\"check\",\"errors\":0,\"finished\":true}");
    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.result, RUN_OK);
    assert_true(t.checked_ns == NOW);
    t = a_repository();
    t.prunes = false;
    run_task_advance(&t);
    tell(&t, "{\"type\":\"check\",\"errors\":0,\"finished\":false}");
    run_task_ended(&t, EXITED(0));
    assert_true(t.checked_ns == 0);
    t = a_repository();
    t.prunes = t.checks = false;
    run_task_advance(&t);
    assert_int_equal(t.state, RUN_DONE);
}

static void what_a_check_finds_is_named(void **state)
{
    struct run_task t = a_repository();

    t.prunes = false;
    run_task_advance(&t);
    tell(&t, "{\"type\":\"finding\",\"severity\":\"information\","
             "\"object\":\"pack 'b'\",\"code\":\"ok\",\"message\":\"old\"}");
    tell(&t, "{\"type\":\"finding\",\"severity\":\"error\","
             "\"object\":\"pack 'a'\",\"code\":\"damaged\","
             "\"message\":\"bit\"}");
    tell(&t, "{\"type\":\"check\",\"errors\":1,\"finished\":true}");
    run_task_ended(&t, EXITED(13));
    assert_int_equal(t.result, RUN_FAILED);
    assert_int_equal(t.why.code, ERR_CORRUPT);
    assert_string_equal(t.why.message, "check: pack 'a': bit");
    assert_true(t.checked_ns == 0);
}

static void another_prune_at_work_is_no_failure(void **state)
{
    struct run_task t = a_repository();

    run_task_advance(&t);
    tell(&t, "{\"type\":\"error\",\"code\":\"locked\",\"message\":\"x\"}");
    run_task_ended(&t, EXITED(11));
    assert_int_equal(t.state, RUN_CHECKING);
    run_task_ended(&t, EXITED(0));
    assert_int_equal(t.result, RUN_OK);
}

static void the_first_failure_is_the_one_that_stays(void **state)
{
    struct run_task t = taking();
    struct error why;

    fail(&why, ERR_TIMEOUT, "over");
    error_copy(&t.why, &why);
    tell(&t, "{\"type\":\"error\",\"code\":\"terminated\",\"message\":\"x\"}");
    run_task_ended(&t, EXITED(143));
    assert_int_equal(t.why.code, ERR_TIMEOUT);
}

static void what_makes_no_sense_is_passed_over(void **state)
{
    struct run_task t = taking();

    tell(&t, "[1]");
    tell(&t, "{\"type\":7}");
    tell(&t, "{\"type\":\"snapshot\",\"id\":5,\"time\":\"yesterday\"}");
    assert_string_equal(t.id, "");
    assert_true(t.last_ns == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_vm_is_looked_at_taken_and_its_old_ones_forgotten),
        cmocka_unit_test(one_that_is_not_due_is_left_alone),
        cmocka_unit_test(a_dry_run_takes_nothing),
        cmocka_unit_test(the_error_told_is_the_tasks),
        cmocka_unit_test(a_silent_death_is_told_as_one),
        cmocka_unit_test(a_snapshot_that_is_there_is_followed_by_its_forget),
        cmocka_unit_test(a_damaged_old_one_stops_no_new_one),
        cmocka_unit_test(a_repository_is_pruned_and_checked),
        cmocka_unit_test(what_a_check_finds_is_named),
        cmocka_unit_test(another_prune_at_work_is_no_failure),
        cmocka_unit_test(the_first_failure_is_the_one_that_stays),
        cmocka_unit_test(what_makes_no_sense_is_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

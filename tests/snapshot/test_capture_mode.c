#include "tests/fakes/assert_error.h"

#include "snapshot/capture_mode.h"

static struct capture_vm vm(int version, bool tcg, bool running)
{
    return (struct capture_vm){.version = version,
                               .tcg = tcg,
                               .running = running,
                               .can_background = true};
}

static void assert_mode(enum snapshot_mode asked, struct capture_vm v,
                        enum snapshot_mode wanted, const char *note)
{
    struct error err = ERROR_INIT;
    struct capture_choice choice = {0};

    assert_ok(capture_mode_choose(asked, &v, &choice, &err), &err);
    assert_int_equal(choice.mode, wanted);
    assert_int_equal(choice.unusual, note != NULL);
    assert_non_null(choice.reason);
    if (note)
        assert_non_null(strstr(choice.reason, note));
}

static void refuse(enum snapshot_mode asked, struct capture_vm v,
                   const char *words, const char *hint)
{
    struct error err = ERROR_INIT;
    struct capture_choice choice;

    assert_error(capture_mode_choose(asked, &v, &choice, &err), &err,
                 ERR_UNSUPPORTED, words);
    assert_non_null(strstr(err.hint, hint));
}

static void a_running_vm_is_streamed_where_precopy_is_right(void **state)
{
    assert_mode(SNAPSHOT_AUTO, vm(1000, true, true), SNAPSHOT_STREAM, NULL);
    assert_mode(SNAPSHOT_AUTO, vm(900, true, true), SNAPSHOT_STREAM, NULL);
    assert_mode(SNAPSHOT_AUTO, vm(702, false, true), SNAPSHOT_STREAM, NULL);
}

static void a_running_vm_under_old_tcg_is_saved_in_background(void **state)
{
    assert_mode(SNAPSHOT_AUTO, vm(702, true, true), SNAPSHOT_BACKGROUND,
                "does not see all writes");
    assert_mode(SNAPSHOT_AUTO, vm(802, true, true), SNAPSHOT_BACKGROUND,
                "does not see all writes");
}

static struct capture_vm with_backends(struct capture_vm v, size_t n)
{
    v.n_backends = n;
    return v;
}

/* Of QEMU 9.0 and later TCG is told wrong addresses for all but one. */
static void several_backends_under_tcg_are_as_old_tcg(void **state)
{
    struct capture_vm numa = with_backends(vm(1000, true, true), 2);

    assert_mode(SNAPSHOT_AUTO, numa, SNAPSHOT_BACKGROUND, "several backends");
    assert_true(capture_mode_needs_standstill(&numa));
    refuse(SNAPSHOT_STREAM, numa, "several backends", "pause the VM");
    numa.running = false;
    assert_mode(SNAPSHOT_AUTO, numa, SNAPSHOT_STREAM, NULL);
    assert_true(capture_mode_needs_standstill(&numa));
    numa = with_backends(vm(1000, true, true), 1);
    assert_mode(SNAPSHOT_AUTO, numa, SNAPSHOT_STREAM, NULL);
    assert_false(capture_mode_needs_standstill(&numa));
    numa = with_backends(vm(1000, false, true), 2);
    assert_mode(SNAPSHOT_STREAM, numa, SNAPSHOT_STREAM, NULL);
    assert_false(capture_mode_needs_standstill(&numa));
    /* The older fault is the one that is named. */
    assert_mode(SNAPSHOT_AUTO, with_backends(vm(702, true, true), 2),
                SNAPSHOT_BACKGROUND, "before 9.0");
}

static void a_paused_vm_is_streamed_everywhere(void **state)
{
    assert_mode(SNAPSHOT_AUTO, vm(702, true, false), SNAPSHOT_STREAM, NULL);
    assert_mode(SNAPSHOT_STREAM, vm(702, true, false), SNAPSHOT_STREAM, NULL);
    assert_mode(SNAPSHOT_AUTO, vm(1000, true, false), SNAPSHOT_STREAM, NULL);
}

static void a_stream_that_would_be_wrong_is_refused(void **state)
{
    refuse(SNAPSHOT_STREAM, vm(702, true, true), "silently wrong",
           "--mode background");
    refuse(SNAPSHOT_STREAM, vm(899, true, true), "silently wrong",
           "--mode background");
}

static void a_background_save_that_would_start_the_vm_is_refused(void **state)
{
    refuse(SNAPSHOT_BACKGROUND, vm(702, true, false), "would start",
           "--mode stream");
    refuse(SNAPSHOT_BACKGROUND, vm(902, false, false), "would start",
           "--mode stream");
    assert_mode(SNAPSHOT_BACKGROUND, vm(1000, false, false),
                SNAPSHOT_BACKGROUND, NULL);
}

static void background_needs_the_capability(void **state)
{
    struct capture_vm old = vm(502, true, true);

    old.can_background = false;
    refuse(SNAPSHOT_BACKGROUND, old, "no background snapshots",
           "--mode stream");
    refuse(SNAPSHOT_AUTO, old, "no background snapshots", "pause the VM");
}

static void what_does_not_converge_is_saved_in_background(void **state)
{
    struct capture_vm v = vm(702, false, true);
    struct capture_choice choice;
    struct error err = ERROR_INIT;

    assert_ok(capture_mode_choose_again(&v, &choice, &err), &err);
    assert_int_equal(choice.mode, SNAPSHOT_BACKGROUND);
    assert_true(choice.unusual);
    assert_non_null(strstr(choice.reason, "did not converge"));
    v.can_background = false;
    assert_error(capture_mode_choose_again(&v, &choice, &err), &err,
                 ERR_UNSUPPORTED, "no background snapshots");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_running_vm_is_streamed_where_precopy_is_right),
        cmocka_unit_test(a_running_vm_under_old_tcg_is_saved_in_background),
        cmocka_unit_test(several_backends_under_tcg_are_as_old_tcg),
        cmocka_unit_test(a_paused_vm_is_streamed_everywhere),
        cmocka_unit_test(a_stream_that_would_be_wrong_is_refused),
        cmocka_unit_test(a_background_save_that_would_start_the_vm_is_refused),
        cmocka_unit_test(background_needs_the_capability),
        cmocka_unit_test(what_does_not_converge_is_saved_in_background),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include "snapshot/plan_job.h"
#include "tests/fakes/fake_qemu.h"
#include "tests/fakes/temp_folder.h"

struct fixture {
    struct temp_folder folder;
    struct repository *repository;
    struct stopper stop;
    struct fake_qemu qemu;
    struct fake_qemu_args q;
    struct plan_args args;
    struct plan_report report;
    char told[4096]; /* "blocker: ...\n-> ...\n" */
    struct error err;
};

static void on_blocker(void *arg, const struct plan_blocker *b)
{
    struct fixture *f = arg;
    size_t used = strlen(f->told);

    snprintf(f->told + used, sizeof(f->told) - used, "%s: %s\n-> %s\n",
             b->warning ? "warning" : "blocker", b->why->message, b->why->hint);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char path[160];

    temp_folder_init(&f->folder);
    setenv("XDG_RUNTIME_DIR", f->folder.path, 1);
    snprintf(path, sizeof(path), "%s/repo", f->folder.path);
    assert_ok(repository_create(path, &f->err), &f->err);
    assert_ok(repository_open(path, &f->repository, &f->err), &f->err);
    assert_ok(stopper_init(&f->stop, &f->err), &f->err);
    f->q = (struct fake_qemu_args){
        .major = 10, .name = "vm", .dirty_mib_per_s = 3};
    f->args = (struct plan_args){
        .repository = f->repository,
        .qmp_path = f->qemu.path,
        .reserve_bytes = 1,
        .stop = &f->stop,
        .blocker = on_blocker,
        .arg = f,
    };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    repository_close(f->repository);
    stopper_release(&f->stop);
    fake_qemu_release(&f->qemu);
    unsetenv("XDG_RUNTIME_DIR");
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

static int run(struct fixture *f)
{
    int rc;

    fake_qemu_start(&f->qemu, &f->q);
    rc = plan_job_run(&f->args, &f->report, &f->err);
    fake_qemu_stop(&f->qemu);
    /* Whatever it found: nothing was begun, nothing stays changed. */
    assert_false(fake_qemu_was_asked(&f->qemu, "migrate"));
    assert_false(fake_qemu_capability(&f->qemu, "background-snapshot"));
    assert_true(fake_qemu_capability(&f->qemu, "xbzrle"));
    assert_int_equal(json_path_int(f->qemu.parameters, "downtime-limit", 0),
                     300);
    return rc;
}

static void assert_blocker(struct fixture *f, int code, const char *words,
                           const char *hint)
{
    assert_ok(run(f), &f->err);
    if (!strstr(f->told, words) || !strstr(f->told, hint))
        print_error("told: %s", f->told);
    assert_non_null(strstr(f->told, words));
    assert_non_null(strstr(f->told, hint));
    assert_true(f->report.n_blockers >= 1);
    assert_int_equal(f->report.first_code, code);
}

static void a_vm_without_blockers_is_foretold(void **state)
{
    struct fixture *f = *state;

    assert_ok(run(f), &f->err);
    assert_string_equal(f->told, "");
    assert_int_equal(f->report.n_blockers, 0);
    assert_true(f->report.predicted);
    assert_string_equal(f->report.vm, "vm");
    assert_int_equal(f->report.mode, SNAPSHOT_STREAM);
    assert_non_null(f->report.mode_reason);
    assert_int_equal(f->report.ram_bytes, 0x28000);
    assert_int_equal(f->report.question.dirty_bytes_per_s, 3 << 20);
    assert_true(f->report.question.bytes_per_s > 1 << 20);
    assert_true(f->report.answer.converges);
    assert_false(f->report.from_history);
    assert_false(fake_qemu_was_asked(&f->qemu, "migrate-set-capabilities"));
}

static void a_bandwidth_bounds_the_pace(void **state)
{
    struct fixture *f = *state;

    f->args.max_bandwidth_bytes_per_s = 12345;
    assert_ok(run(f), &f->err);
    assert_int_equal(f->report.question.bytes_per_s, 12345);
}

static void devices_that_cannot_migrate_are_named(void **state)
{
    struct fixture *f = *state;

    f->q.blocked_reason = "0000:00:05.0: VFIO migration is not supported";
    assert_blocker(f, ERR_UNSUPPORTED, "VFIO", "remove that device");
    assert_true(f->report.predicted);
}

static void a_migration_under_way_is_named(void **state)
{
    struct fixture *f = *state;

    f->q.orphan_status = "active";
    f->q.orphan_asks = 100;
    assert_blocker(f, ERR_UNSUPPORTED, "under way (active)", "migrate_cancel");
}

static void tls_is_named(void **state)
{
    struct fixture *f = *state;

    f->q.tls_creds = "tls0";
    assert_blocker(f, ERR_UNSUPPORTED, "tls0", "clear it");
}

static void a_run_state_without_a_way_out_is_named(void **state)
{
    struct fixture *f = *state;

    f->q.run_state = "inmigrate";
    assert_blocker(f, ERR_UNSUPPORTED, "waits for an incoming migration",
                   "when it runs");
}

static void a_vm_without_a_name_is_told_to_need_one(void **state)
{
    struct fixture *f = *state;

    f->q.name = NULL;
    assert_blocker(f, ERR_USAGE, "neither a name", "--name");
}

static void a_block_job_is_a_warning(void **state)
{
    struct fixture *f = *state;

    f->q.block_job = "disk7";
    assert_ok(run(f), &f->err);
    assert_non_null(strstr(f->told, "warning: a block job is at work: mirror "
                                    "of 'disk7'"));
    assert_int_equal(f->report.n_blockers, 0);
}

static void a_mode_that_is_wrong_is_named(void **state)
{
    struct fixture *f = *state;

    f->q.major = 7;
    f->q.minor = 2;
    f->args.mode = SNAPSHOT_STREAM;
    assert_blocker(f, ERR_UNSUPPORTED, "silently wrong", "--mode background");
    assert_false(f->report.predicted);
}

static void a_stream_of_several_backends_is_named(void **state)
{
    struct fixture *f = *state;

    f->q.two_backends = true;
    f->args.mode = SNAPSHOT_STREAM;
    assert_blocker(f, ERR_UNSUPPORTED, "several backends", "pause the VM");
}

static void background_is_tried_where_it_is_the_mode(void **state)
{
    struct fixture *f = *state;

    f->q.major = 7;
    f->q.minor = 2;
    assert_ok(run(f), &f->err);
    assert_int_equal(f->report.mode, SNAPSHOT_BACKGROUND);
    assert_string_equal(f->told, "");
    assert_true(fake_qemu_was_asked(&f->qemu, "migrate-set-capabilities"));
}

static void a_kernel_without_userfaultfd_is_named(void **state)
{
    struct fixture *f = *state;

    f->args.mode = SNAPSHOT_BACKGROUND;
    f->q.refused_command = "migrate-set-capabilities";
    f->q.refusal = "Background-snapshot is not supported by host kernel";
    assert_blocker(f, ERR_UNSUPPORTED, "mode background is not possible",
                   "vm.unprivileged_userfaultfd=1");
}

static void memory_that_cannot_be_protected_is_named(void **state)
{
    struct fixture *f = *state;

    f->args.mode = SNAPSHOT_BACKGROUND;
    f->q.refused_command = "migrate-set-capabilities";
    f->q.refusal = "Background-snapshot is not compatible with guest memory "
                   "configuration";
    assert_blocker(f, ERR_UNSUPPORTED, "mode background is not possible",
                   "the shared memory 'ram0': give the VM private memory");
}

static void a_full_disk_is_named_with_what_helps(void **state)
{
    struct fixture *f = *state;

    f->args.reserve_bytes = UINT64_MAX;
    assert_blocker(f, ERR_NOSPC, "kept in reserve", "larger one");
    assert_true(f->report.predicted);
}

static void what_will_not_converge_goes_to_background(void **state)
{
    struct fixture *f = *state;

    f->q.dirty_mib_per_s = 1 << 20;
    f->args.max_bandwidth_bytes_per_s = 1000;
    assert_ok(run(f), &f->err);
    assert_true(f->report.falls_back);
    assert_int_equal(f->report.mode, SNAPSHOT_BACKGROUND);
    assert_non_null(strstr(f->report.mode_reason, "did not converge"));
}

static void a_stream_that_will_not_converge_is_a_blocker(void **state)
{
    struct fixture *f = *state;

    f->q.dirty_mib_per_s = 1 << 20;
    f->args.max_bandwidth_bytes_per_s = 1000;
    f->args.mode = SNAPSHOT_STREAM;
    assert_blocker(f, ERR_BUDGET, "would not converge", "--auto-converge");
}

static void a_qemu_that_does_not_sample_is_told(void **state)
{
    struct fixture *f = *state;

    f->q.refused_command = "calc-dirty-rate";
    assert_ok(run(f), &f->err);
    assert_non_null(strstr(f->told, "warning: the guest's rate of writing"));
    assert_true(f->report.predicted);
}

static void a_vm_that_stands_still_is_not_sampled(void **state)
{
    struct fixture *f = *state;

    f->q.run_state = "paused";
    assert_ok(run(f), &f->err);
    assert_false(fake_qemu_was_asked(&f->qemu, "calc-dirty-rate"));
    assert_int_equal(f->report.answer.downtime_ms, 0);
}

static void a_socket_without_qemu_is_an_error(void **state)
{
    struct fixture *f = *state;

    f->args.qmp_path = "/nowhere/qmp";
    assert_error(run(f), &f->err, ERR_PEER, "/nowhere/qmp");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(a_vm_without_blockers_is_foretold),
        TEST(a_bandwidth_bounds_the_pace),
        TEST(devices_that_cannot_migrate_are_named),
        TEST(a_migration_under_way_is_named),
        TEST(tls_is_named),
        TEST(a_run_state_without_a_way_out_is_named),
        TEST(a_vm_without_a_name_is_told_to_need_one),
        TEST(a_block_job_is_a_warning),
        TEST(a_mode_that_is_wrong_is_named),
        TEST(background_is_tried_where_it_is_the_mode),
        TEST(a_kernel_without_userfaultfd_is_named),
        TEST(memory_that_cannot_be_protected_is_named),
        TEST(a_full_disk_is_named_with_what_helps),
        TEST(what_will_not_converge_goes_to_background),
        TEST(a_stream_of_several_backends_is_named),
        TEST(a_stream_that_will_not_converge_is_a_blocker),
        TEST(a_qemu_that_does_not_sample_is_told),
        TEST(a_vm_that_stands_still_is_not_sampled),
        TEST(a_socket_without_qemu_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/storage/repo_fixture.h"

#include "storage/forget.h"
#include "storage/lease.h"
#include "storage/prune.h"
#include "storage/verify.h"

static void forget(struct fixture *f, const char *id)
{
    struct forget_report report;
    struct forget_args args = {
        .repository = f->repository, .ids = &id, .n_ids = 1};
    struct error err;

    assert_ok(forget_run(&args, &report, &err), &err);
    assert_int_equal(report.removed, 1);
}

static struct prune_report prune(struct fixture *f, struct prune_args args)
{
    struct prune_report report;
    struct error err;

    args.repository = f->repository;
    assert_ok(prune_run(&args, &report, &err), &err);
    return report;
}

static void check_clean(struct fixture *f)
{
    struct verify_args args = {.read_data_percent = 100};
    struct verify_report report;
    struct error err;

    assert_ok(verify_run(f->repository, &args, &report, &err), &err);
    assert_int_equal(report.errors, 0);
    assert_int_equal(report.unreferenced_packs, 0);
    fixture_account(f);
}

static void an_empty_repository_has_nothing_to_give(void **state)
{
    struct fixture *f = *state;
    struct prune_report report = prune(f, (struct prune_args){0});

    assert_int_equal(report.packs + report.removed_packs, 0);
    assert_true(report.finished);
    check_clean(f);
}

static void packs_of_what_was_forgotten_go(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first = fixture_capture(f);
    struct prune_report report;

    forget(f, first.id);
    report = prune(f, (struct prune_args){.dry_run = true});
    assert_int_equal(report.removed_packs, 2);
    assert_int_equal(fixture_files(f, "packs/", NULL), 2);
    report = prune(f, (struct prune_args){0});
    assert_int_equal(report.removed_packs, 2);
    assert_true(report.removed_bytes > 0);
    assert_int_equal(fixture_files(f, "packs/", NULL), 0);
    assert_int_equal(fixture_files(f, "condemned/", NULL), 0);
    assert_int_equal(fixture_files(f, "locks/", NULL), 0);
}

static void shared_packs_stay(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first = fixture_capture(f);
    struct snapshot_summary second = fixture_capture(f);
    struct prune_report report;
    struct error err;

    forget(f, first.id);
    report = prune(f, (struct prune_args){0});
    assert_int_equal(report.removed_packs, 0);
    assert_ok(sample_vm_compare(&f->vm, f->repository, second.id, &err), &err);
    check_clean(f);
}

static void who_was_there_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first = fixture_capture(f);
    struct prune_report report;
    struct lease *l, *later;
    struct error err;

    assert_ok(lease_acquire(f->repository, "check", NULL, &l, &err), &err);
    forget(f, first.id);
    report = prune(f, (struct prune_args){0});
    assert_int_equal(report.removed_packs, 0);
    assert_int_equal(report.condemned_packs, 2);
    assert_non_null(strstr(report.waits_for, "check on host"));
    assert_int_equal(fixture_files(f, "condemned/", NULL), 1);

    /* One that came later is not waited for, one that changes still is. */
    assert_ok(lease_acquire(f->repository, "check", NULL, &later, &err), &err);
    assert_ok(lease_renew(l, &err), &err);
    report = prune(f, (struct prune_args){0});
    assert_int_equal(report.removed_packs, 0);
    lease_release(l);
    report = prune(f, (struct prune_args){0});
    assert_int_equal(report.removed_packs, 2);
    assert_int_equal(fixture_files(f, "condemned/", NULL), 0);
    lease_release(later);
}

static void a_capture_that_was_there_saves_what_it_uses(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first = fixture_capture(f), second;
    struct snapshot_writer *w = fixture_writer(f, 1);
    struct prune_report report;
    struct error err;

    forget(f, first.id);
    report = prune(f, (struct prune_args){0});
    assert_int_equal(report.condemned_packs, 2);
    assert_ok(sample_vm_put(&f->vm, w, 0, 1, &err), &err);
    assert_ok(sample_vm_commit(&f->vm, w, false, &second, &err), &err);
    snapshot_writer_free(w);
    assert_int_equal(second.pages_stored, 0);

    report = prune(f, (struct prune_args){0});
    assert_int_equal(report.removed_packs, 0);
    assert_int_equal(report.condemned_packs, 0);
    assert_ok(sample_vm_compare(&f->vm, f->repository, second.id, &err), &err);
    check_clean(f);
}

static void a_later_capture_does_not_begin_to_use_them(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first = fixture_capture(f), saved, second;
    struct snapshot_writer *w = fixture_writer(f, 1);
    struct prune_report report;
    struct error err;

    forget(f, first.id);
    prune(f, (struct prune_args){0});
    assert_ok(sample_vm_put(&f->vm, w, 0, 1, &err), &err);
    assert_ok(sample_vm_commit(&f->vm, w, false, &saved, &err), &err);
    snapshot_writer_free(w);
    /* Listed again, but on the list of condemned packs still. */
    second = fixture_capture(f);
    assert_true(second.pages_stored > 0);
    forget(f, saved.id);
    report = prune(f, (struct prune_args){0});
    assert_int_equal(report.removed_packs, 2);
    assert_ok(sample_vm_compare(&f->vm, f->repository, second.id, &err), &err);
    check_clean(f);
}

static void packs_on_their_way_are_left_alone(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first = fixture_capture(f);
    struct prune_report report;
    struct lease *l;
    struct error err;
    char name[128];
    const char *id = name + strlen("packs/ab/");

    forget(f, first.id);
    assert_int_equal(fixture_files(f, "packs/", name), 2);
    assert_ok(lease_acquire(f->repository, "capture", NULL, &l, &err), &err);
    assert_ok(lease_intend(l, &id, 1, &err), &err);
    report = prune(f, (struct prune_args){0});
    assert_int_equal(report.condemned_packs, 1);
    lease_release(l);
    report = prune(f, (struct prune_args){0});
    assert_int_equal(report.removed_packs, 2);
}

static void one_prune_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct prune_args args = {.repository = f->repository};
    struct prune_report report;
    struct lease *l;
    struct error err;

    assert_ok(lease_acquire(f->repository, "prune", NULL, &l, &err), &err);
    assert_error(prune_run(&args, &report, &err), &err, ERR_LOCKED,
                 "another prune");
    lease_release(l);
    prune(f, (struct prune_args){0});
}

static void an_unreadable_snapshot_stops_it(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first = fixture_capture(f);
    struct prune_args args = {.repository = f->repository};
    struct prune_report report;
    struct error err;

    forget(f, first.id);
    scratch_write(f->scratch.repo, "snapshots/0123456789abcdef", "no", 2);
    assert_error(prune_run(&args, &report, &err), &err, ERR_CORRUPT,
                 "0123456789abcdef");
    assert_non_null(strstr(err.hint, "forget 0123456789abcdef"));
    assert_int_equal(fixture_files(f, "packs/", NULL), 2);
}

static void a_damaged_list_is_written_anew(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first = fixture_capture(f);
    struct prune_report report;

    forget(f, first.id);
    prune(f, (struct prune_args){0});
    scratch_write(f->scratch.repo, "condemned/0123456789abcdef", "{}", 2);
    report = prune(f, (struct prune_args){0});
    assert_int_equal(report.condemned_packs, 0);
    assert_int_equal(fixture_files(f, "condemned/", NULL), 0);
}

static void hints_of_nobody_go(void **state)
{
    struct fixture *f = *state;

    scratch_write(f->scratch.repo, "hints/0123456789abcdef", "", 0);
    prune(f, (struct prune_args){0});
    assert_int_equal(fixture_files(f, "hints/", NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(an_empty_repository_has_nothing_to_give),
        FIXTURE_TEST(packs_of_what_was_forgotten_go),
        FIXTURE_TEST(shared_packs_stay),
        FIXTURE_TEST(who_was_there_is_waited_for),
        FIXTURE_TEST(a_capture_that_was_there_saves_what_it_uses),
        FIXTURE_TEST(a_later_capture_does_not_begin_to_use_them),
        FIXTURE_TEST(packs_on_their_way_are_left_alone),
        FIXTURE_TEST(one_prune_at_a_time),
        FIXTURE_TEST(an_unreadable_snapshot_stops_it),
        FIXTURE_TEST(a_damaged_list_is_written_anew),
        FIXTURE_TEST(hints_of_nobody_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

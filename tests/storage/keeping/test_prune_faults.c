/*
 * test_prune_faults.c - a prune, a forget, a check that fail or die at every
 * single step.
 *
 * Each time the repository holds two kept snapshots, packs that nobody needs
 * and packs that are mostly dead. Whatever happens to a prune, both snapshots
 * are listed and whole, and the next prune leaves no file without a reason.
 */
#include "tests/storage/repo_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "storage/keeping/forget.h"
#include "storage/keeping/prune.h"
#include "storage/keeping/verify.h"
#include "tests/storage/fault_calls.h"

#define PAGES 160u

struct scene {
    struct fixture f;
    struct sample_vm old;
    char ids[2][SNAPSHOT_ID_LEN + 1];
};

static void forget(struct fixture *f, const char *id)
{
    struct forget_report report;
    struct forget_args args = {
        .repository = f->repository, .ids = &id, .n_ids = 1};
    struct error err;

    assert_ok(forget_run(&args, &report, &err), &err);
}

/* Of `old` every tenth page is left in the kept snapshots. */
static void scene_make(struct scene *s)
{
    struct snapshot_summary first, second, third;
    struct fixture *f = &s->f;
    struct error err;

    memset(s, 0, sizeof(*s));
    scratch_make(&f->scratch);
    assert_ok(repository_create(f->scratch.repo, &err), &err);
    assert_ok(repository_open(f->scratch.repo, &f->repository, &err), &err);
    sample_vm_make(&f->vm, PAGES);
    sample_vm_fill(&f->vm, 1);
    first = fixture_capture(f);
    sample_vm_make(&s->old, PAGES);
    sample_vm_fill(&s->old, 1);
    for (pgno_t i = 0; i < PAGES; i++) {
        if (i % 10 == 0)
            continue;
        sample_page_fill(s->old.memory[0] + i * PAGE_BYTES, 5000 + i);
        sample_page_fill(f->vm.memory[0] + i * PAGE_BYTES,
                         (i % 3 ? 5000 : 7000) + i);
    }
    s->old.time_ns = f->vm.time_ns + 1000;
    f->vm.time_ns += 2000;
    assert_ok(sample_vm_capture(&s->old, f->repository, &second, &err), &err);
    assert_ok(sample_vm_capture(&f->vm, f->repository, &third, &err), &err);
    memcpy(s->ids[0], second.id, sizeof(s->ids[0]));
    memcpy(s->ids[1], third.id, sizeof(s->ids[1]));
    forget(f, first.id);
}

static void scene_release(struct scene *s)
{
    repository_close(s->f.repository);
    sample_vm_release(&s->f.vm);
    sample_vm_release(&s->old);
    scratch_remove(&s->f.scratch);
}

static void tell(void *arg, const char *object, const struct error *what)
{
    if (what->code)
        print_error("%s: %s\n", object, what->message);
}

static void check_whole(struct scene *s)
{
    struct verify_args args = {.read_data_percent = 100, .finding = tell};
    struct verify_report report;
    struct error err;

    assert_ok(verify_run(s->f.repository, &args, &report, &err), &err);
    assert_int_equal(report.errors, 0);
    assert_int_equal(report.snapshots, 2);
    assert_ok(sample_vm_compare(&s->old, s->f.repository, s->ids[0], &err),
              &err);
    assert_ok(sample_vm_compare(&s->f.vm, s->f.repository, s->ids[1], &err),
              &err);
}

/* What holds after whatever happened: now, and after the next prune. */
static void check_scene(struct scene *s)
{
    struct prune_args args = {.repository = s->f.repository,
                              .max_unused_percent = 10};
    struct prune_report report;
    struct error err;

    check_whole(s);
    assert_ok(prune_run(&args, &report, &err), &err);
    assert_int_equal(report.condemned_packs, 0);
    assert_true(report.finished);
    check_whole(s);
    assert_int_equal(fixture_account(&s->f), 2);
}

static void the_scene_has_all_kinds_of_work(void **state)
{
    struct prune_report report;
    struct scene s;
    struct prune_args args = {.max_unused_percent = 10};
    struct error err;

    scene_make(&s);
    args.repository = s.f.repository;
    assert_ok(prune_run(&args, &report, &err), &err);
    assert_true(report.rewritten_packs > 0);
    assert_true(report.removed_packs > report.rewritten_packs);
    check_scene(&s);
    scene_release(&s);
}

static int open_and_prune(struct scene *s)
{
    struct prune_args args = {.max_unused_percent = 10};
    struct prune_report report;
    struct repository *r;
    struct error err;
    int rc = repository_open(s->f.scratch.repo, &r, &err);

    if (rc < 0)
        return rc;
    args.repository = r;
    rc = prune_run(&args, &report, &err);
    repository_close(r);
    return rc;
}

static int open_and_forget(struct scene *s)
{
    const char *id = s->ids[0];
    struct forget_args args = {.ids = &id, .n_ids = 1};
    struct forget_report report;
    struct repository *r;
    struct error err;
    int rc = repository_open(s->f.scratch.repo, &r, &err);

    if (rc < 0)
        return rc;
    args.repository = r;
    rc = forget_run(&args, &report, &err);
    repository_close(r);
    return rc;
}

static int open_and_check(struct scene *s)
{
    struct verify_args args = {.read_data_percent = 50};
    struct verify_report report;
    struct repository *r;
    struct error err;
    int rc = repository_open(s->f.scratch.repo, &r, &err);

    if (rc < 0)
        return rc;
    rc = verify_run(r, &args, &report, &err);
    repository_close(r);
    return rc;
}

static bool is_killed(struct scene *s, int (*work)(struct scene *s), unsigned n)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        fault_arm(CALL_IO | CALL_REMOVE, n, 0);
        _exit(work(s) < 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void a_prune_killed_at_any_call_is_finished_by_the_next(void **state)
{
    bool killed = true;
    unsigned n;

    for (n = 1; killed; n++) {
        struct scene s;

        scene_make(&s);
        killed = is_killed(&s, open_and_prune, n);
        fixture_reopen(&s.f);
        check_scene(&s);
        scene_release(&s);
    }
    print_message("killed %u times\n", n - 2);
    assert_true(n > 100);
}

/* Gone or there, and the other one whole in any case. */
static void a_forget_killed_at_any_call_removes_or_does_not(void **state)
{
    unsigned there = 0, gone = 0;
    bool killed = true;

    for (unsigned n = 1; killed; n++) {
        struct prune_args args = {.max_unused_percent = 10};
        struct prune_report report;
        struct scene s;
        struct error err;
        size_t left;

        scene_make(&s);
        killed = is_killed(&s, open_and_forget, n);
        fixture_reopen(&s.f);
        args.repository = s.f.repository;
        left = fixture_files(&s.f, "snapshots/", NULL);
        assert_true(left == 1 || left == 2);
        *(left == 1 ? &gone : &there) += 1;
        assert_ok(prune_run(&args, &report, &err), &err);
        assert_int_equal(report.condemned_packs, 0);
        assert_ok(sample_vm_compare(&s.f.vm, s.f.repository, s.ids[1], &err),
                  &err);
        if (left == 2)
            check_whole(&s);
        assert_int_equal(fixture_account(&s.f), left);
        scene_release(&s);
    }
    assert_true(there > 3 && gone > 1);
}

static void a_check_killed_at_any_call_leaves_no_file(void **state)
{
    bool killed = true;

    for (unsigned n = 1; killed; n += 3) {
        struct scene s;

        scene_make(&s);
        killed = is_killed(&s, open_and_check, n);
        fixture_reopen(&s.f);
        check_scene(&s);
        assert_int_equal(fixture_files(&s.f, "checks/", NULL), 1);
        scene_release(&s);
    }
}

/* From the n-th call on nothing can be done any more, removing included. */
static bool disk_dies(struct scene *s, unsigned n)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        fault_arm(CALL_IO | CALL_REMOVE, n, EIO);
        fault.for_good = true;
        open_and_prune(s);
        _exit(fault.reached ? 2 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 2;
}

static void a_disk_that_dies_at_any_call_harms_nothing(void **state)
{
    bool reached = true;

    for (unsigned n = 1; reached; n += 5) {
        struct scene s;

        scene_make(&s);
        reached = disk_dies(&s, n);
        fixture_reopen(&s.f);
        check_scene(&s);
        scene_release(&s);
    }
}

/* In this process, so that a lease of ours is no dead one: what a prune leaves
 * that failed is for the next open after the end of its process. */
static void fail_everywhere(unsigned which, int sys_errno, unsigned stride)
{
    bool reached = true;

    for (unsigned n = 1; reached; n += n < 20 ? 1 : stride) {
        struct scene s;
        pid_t pid;
        int status;

        scene_make(&s);
        pid = fork();
        if (pid == 0) {
            struct prune_args args = {.repository = s.f.repository,
                                      .max_unused_percent = 10};
            struct prune_report report;
            struct error err;

            fault_arm(which, n, sys_errno);
            (void)!prune_run(&args, &report, &err);
            _exit(fault.reached ? 2 : 0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        reached = WEXITSTATUS(status) == 2;
        fixture_reopen(&s.f);
        check_scene(&s);
        scene_release(&s);
    }
}

static void a_full_disk_at_any_call_harms_nothing(void **state)
{
    fail_everywhere(CALL_IO, ENOSPC, 7);
}

static void no_memory_at_any_point_does_no_harm(void **state)
{
    fail_everywhere(CALL_MEMORY, ENOMEM, 61);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scene_has_all_kinds_of_work),
        cmocka_unit_test(a_prune_killed_at_any_call_is_finished_by_the_next),
        cmocka_unit_test(a_forget_killed_at_any_call_removes_or_does_not),
        cmocka_unit_test(a_check_killed_at_any_call_leaves_no_file),
        cmocka_unit_test(a_disk_that_dies_at_any_call_harms_nothing),
        cmocka_unit_test(a_full_disk_at_any_call_harms_nothing),
        cmocka_unit_test(no_memory_at_any_point_does_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

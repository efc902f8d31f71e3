/*
 * test_snapshot_faults.c - a capture that fails or dies at every single step.
 *
 * The calls below are wrapped by the linker: the n-th one kills the process, or
 * fails with an errno, for n = 1, 2, ... until a capture needs fewer calls.
 * After each the repository opens, lists whole snapshots only, has no file that
 * is there for no reason, checks clean with all data, and takes the next
 * capture.
 */
#include "tests/storage/repo_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "storage/keeping/verify.h"
#include "tests/storage/fault_calls.h"

#define PAGES 80u

/* A repository with one snapshot of `old`; the next is of `vm`. */
struct scene {
    struct fixture f;
    struct sample_vm old;
    char old_id[SNAPSHOT_ID_LEN + 1];
};

static void scene_make(struct scene *s)
{
    struct snapshot_summary first;
    struct error err;

    memset(s, 0, sizeof(*s));
    scratch_make(&s->f.scratch);
    assert_ok(repository_create(s->f.scratch.repo, &err), &err);
    assert_ok(repository_open(s->f.scratch.repo, &s->f.repository, &err), &err);
    sample_vm_make(&s->old, PAGES);
    sample_vm_fill(&s->old, 1);
    assert_ok(sample_vm_capture(&s->old, s->f.repository, &first, &err), &err);
    memcpy(s->old_id, first.id, sizeof(s->old_id));
    /* Half of the pages are new, so both kinds of packs are shared and made. */
    sample_vm_make(&s->f.vm, PAGES);
    sample_vm_fill(&s->f.vm, 1);
    s->f.vm.time_ns = s->old.time_ns;
    s->f.vm.churns = true; /* so that a pack is written again */
    for (pgno_t i = 0; i < PAGES; i += 2)
        sample_page_fill(s->f.vm.memory[0] + i * PAGE_BYTES, 5000 + i);
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

/* The facts that hold after whatever happened. Returns how many snapshots
 * there are. */
static size_t check_scene(struct scene *s)
{
    struct verify_args args = {.read_data_percent = 100, .finding = tell};
    struct verify_report report;
    struct error err;
    size_t n = fixture_account(&s->f);

    assert_true(n == 1 || n == 2);
    assert_ok(verify_run(s->f.repository, &args, &report, &err), &err);
    assert_int_equal(report.errors, 0);
    assert_int_equal(report.unreferenced_packs, 0);
    assert_ok(sample_vm_compare(&s->old, s->f.repository, s->old_id, &err),
              &err);
    if (n == 2) {
        char id[SNAPSHOT_ID_LEN + 1];

        assert_ok(repository_resolve(s->f.repository, "latest", id, &err),
                  &err);
        assert_ok(sample_vm_compare(&s->f.vm, s->f.repository, id, &err), &err);
    }
    return n;
}

static void check_next_capture(struct scene *s)
{
    struct snapshot_summary next;
    struct error err;

    s->f.vm.time_ns += 1000;
    assert_ok(sample_vm_capture(&s->f.vm, s->f.repository, &next, &err), &err);
    assert_ok(sample_vm_compare(&s->f.vm, s->f.repository, next.id, &err),
              &err);
    fixture_account(&s->f);
}

/* In a process of its own: opening, the capture, closing. */
static bool capture_is_killed(struct scene *s, unsigned n)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct repository *r;
        struct snapshot_summary ignored;
        struct error err;

        fault_arm(CALL_IO | CALL_REMOVE, n, 0);
        if (repository_open(s->f.scratch.repo, &r, &err) < 0 ||
            sample_vm_capture(&s->f.vm, r, &ignored, &err) < 0)
            _exit(1);
        repository_close(r);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void a_capture_killed_at_any_call_leaves_nothing(void **state)
{
    unsigned before = 0, after = 0;
    bool killed = true;

    for (unsigned n = 1; killed; n++) {
        struct scene s;

        scene_make(&s);
        killed = capture_is_killed(&s, n);
        fixture_reopen(&s.f);
        if (check_scene(&s) == 1)
            before++;
        else
            after++;
        check_next_capture(&s);
        scene_release(&s);
    }
    print_message("killed %u times before the commit, %u times behind it\n",
                  before, after - 1);
    assert_true(before > 60);
    assert_true(after > 1);
}

/* From the n-th call on nothing can be done any more, removing included. */
static bool disk_dies(struct scene *s, unsigned n, int *ret_rc)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct repository *r;
        struct snapshot_summary ignored;
        struct error err;
        int rc;

        fault_arm(CALL_IO | CALL_REMOVE, n, EIO);
        fault.for_good = true;
        rc = repository_open(s->f.scratch.repo, &r, &err);
        if (rc == 0) {
            rc = sample_vm_capture(&s->f.vm, r, &ignored, &err);
            repository_close(r);
        }
        _exit((rc < 0 ? 1 : 0) | (fault.reached ? 2 : 0));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    *ret_rc = WEXITSTATUS(status) & 1;
    return WEXITSTATUS(status) & 2;
}

static void a_disk_that_dies_at_any_call_leaves_nothing_behind(void **state)
{
    unsigned failed = 0;
    bool reached = true;

    for (unsigned n = 1; reached; n++) {
        struct scene s;
        size_t there;
        int rc;

        scene_make(&s);
        reached = disk_dies(&s, n, &rc);
        fixture_reopen(&s.f);
        there = check_scene(&s);
        failed += rc != 0;
        /* One that was told to have failed may be there, and whole, only if
         * its name could not be taken away. */
        assert_true(rc || there == 2);
        check_next_capture(&s);
        scene_release(&s);
    }
    assert_true(failed > 60);
}

/* Every n-th call fails; answers with the code of `sys_errno` are the rule,
 * success is right where the call did not matter. */
static void fail_everywhere(unsigned which, int sys_errno, int code,
                            unsigned stride)
{
    unsigned failed = 0;
    bool reached = true;

    for (unsigned n = 1; reached; n += n < 100 ? 1 : stride) {
        struct snapshot_summary ignored;
        struct scene s;
        struct error err = ERROR_INIT;
        int rc;

        scene_make(&s);
        fault_arm(which, n, sys_errno);
        rc = sample_vm_capture(&s.f.vm, s.f.repository, &ignored, &err);
        fault.which = 0;
        reached = fault.reached;
        if (rc < 0) {
            failed++;
            assert_true(reached);
            assert_true(err.message[0]);
            if (code && rc != code)
                print_error("call %u: %s\n", n, err.message);
            assert_true(!code || rc == code);
        }
        assert_int_equal(check_scene(&s), rc < 0 ? 1 : 2);
        check_next_capture(&s);
        scene_release(&s);
    }
    assert_true(failed > 20);
}

static void a_call_that_fails_undoes_everything(void **state)
{
    fail_everywhere(CALL_IO, EIO, 0, 1);
}

static void a_full_disk_at_any_call_is_told_as_such(void **state)
{
    fail_everywhere(CALL_IO, ENOSPC, ERR_NOSPC, 1);
}

static void no_memory_at_any_point_does_no_harm(void **state)
{
    fail_everywhere(CALL_MEMORY, ENOMEM, ERR_NOMEM, 23);
}

static void a_repository_is_made_whole_or_not_at_all(void **state)
{
    bool reached = true;

    for (unsigned n = 1; reached; n++) {
        struct repository *r;
        struct scratch s;
        struct error err;
        int rc;

        scratch_make(&s);
        fault_arm(CALL_IO, n, EIO);
        rc = repository_create(s.repo, &err);
        fault.which = 0;
        reached = fault.reached;
        assert_int_equal(rc < 0, reached);
        assert_int_equal(access(s.repo, F_OK), reached ? -1 : 0);
        if (rc < 0)
            assert_ok(repository_create(s.repo, &err), &err);
        assert_ok(repository_open(s.repo, &r, &err), &err);
        repository_close(r);
        scratch_remove(&s);
    }
}

static void a_create_that_is_killed_can_be_done_again(void **state)
{
    unsigned without = 0;
    bool killed = true;

    for (unsigned n = 1; killed; n++) {
        struct repository *r;
        struct scratch s;
        struct error err;
        int rc, status;
        pid_t pid;

        scratch_make(&s);
        pid = fork();
        if (pid == 0) {
            fault_arm(CALL_IO, n, 0);
            _exit(repository_create(s.repo, &err) < 0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        killed = WIFSIGNALED(status);
        rc = repository_open(s.repo, &r, &err);
        if (rc < 0) {
            assert_error(rc, &err, ERR_NOREPO, "config");
            assert_ok(repository_create(s.repo, &err), &err);
            assert_ok(repository_open(s.repo, &r, &err), &err);
            without++;
        }
        repository_close(r);
        scratch_remove(&s);
    }
    assert_true(without > 5);
}

/* A file system of its own, that holds so much. */
static bool mount_small(struct scratch *s, const char *options)
{
    snprintf(s->path, sizeof(s->path), "/tmp/firn-test-XXXXXX");
    assert_non_null(mkdtemp(s->path));
    snprintf(s->repo, sizeof(s->repo), "%s/repo", s->path);
    if (mount("none", s->path, "tmpfs", 0, options) == 0)
        return true;
    rmdir(s->path);
    return false;
}

static uint64_t blocks_in_use(const struct scratch *s)
{
    struct statvfs v;

    assert_int_equal(statvfs(s->path, &v), 0);
    return v.f_blocks - v.f_bfree;
}

/* True when the capture fit. */
static bool capture_into(struct fixture *f)
{
    struct snapshot_summary ignored, *all;
    struct error err;
    uint64_t used;
    size_t n;
    int rc = repository_create(f->scratch.repo, &err);

    if (rc < 0) {
        assert_error(rc, &err, ERR_NOSPC, "repo");
        assert_int_equal(access(f->scratch.repo, F_OK), -1);
        return false;
    }
    assert_ok(repository_open(f->scratch.repo, &f->repository, &err), &err);
    /* The catalog, once it is there, takes its place as well. */
    assert_ok(repository_list(f->repository, NULL, NULL, &all, &n, &err), &err);
    free(all);
    used = blocks_in_use(&f->scratch);
    rc = sample_vm_capture(&f->vm, f->repository, &ignored, &err);
    if (rc < 0) {
        assert_int_equal(rc, ERR_NOSPC);
        assert_message(&err, "No space left");
        assert_int_equal(fixture_account(f), 0);
        assert_int_equal(fixture_files(f, "snapshots/", NULL), 0);
        assert_int_equal(fixture_files(f, "packs/", NULL), 0);
        assert_true(blocks_in_use(&f->scratch) <= used + 1);
    } else {
        assert_int_equal(fixture_account(f), 1);
        assert_ok(sample_vm_compare(&f->vm, f->repository, ignored.id, &err),
                  &err);
    }
    repository_close(f->repository);
    return rc == 0;
}

static unsigned fill_up(const char *format, unsigned from, unsigned step)
{
    unsigned failed = 0;
    bool fits = false;

    for (unsigned size = from; !fits; size += step, failed += !fits) {
        struct fixture f = {0};
        char options[64];

        snprintf(options, sizeof(options), format, size);
        if (!mount_small(&f.scratch, options)) {
            print_message("cannot mount a tmpfs here\n");
            skip();
        }
        sample_vm_make(&f.vm, PAGES);
        sample_vm_fill(&f.vm, 1);
        fits = capture_into(&f);
        sample_vm_release(&f.vm);
        assert_int_equal(umount(f.scratch.path), 0);
        rmdir(f.scratch.path);
    }
    return failed;
}

static void a_full_tmpfs_of_any_size_stays_clean(void **state)
{
    assert_true(fill_up("mode=0700,size=%uk", 8, 16) > 10);
}

static void a_tmpfs_without_inodes_stays_clean(void **state)
{
    assert_true(fill_up("mode=0700,size=64m,nr_inodes=%u", 3, 1) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_capture_killed_at_any_call_leaves_nothing),
        cmocka_unit_test(a_disk_that_dies_at_any_call_leaves_nothing_behind),
        cmocka_unit_test(a_call_that_fails_undoes_everything),
        cmocka_unit_test(a_full_disk_at_any_call_is_told_as_such),
        cmocka_unit_test(no_memory_at_any_point_does_no_harm),
        cmocka_unit_test(a_repository_is_made_whole_or_not_at_all),
        cmocka_unit_test(a_create_that_is_killed_can_be_done_again),
        cmocka_unit_test(a_full_tmpfs_of_any_size_stays_clean),
        cmocka_unit_test(a_tmpfs_without_inodes_stays_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

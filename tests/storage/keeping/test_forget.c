#include "tests/storage/repo_fixture.h"

#include "storage/hints.h"
#include "storage/keeping/forget.h"
#include "storage/lease.h"

#define N 4u

struct heard {
    size_t n;
    size_t kept;
    char in_use[192];
    char removed[N][SNAPSHOT_ID_LEN + 1];
    size_t n_removed;
};

static void hear(void *arg, const struct forget_decision *d)
{
    struct heard *h = arg;

    h->n++;
    h->kept += d->why.keep;
    if (d->in_use[0])
        snprintf(h->in_use, sizeof(h->in_use), "%s", d->in_use);
    if (!d->why.keep)
        memcpy(h->removed[h->n_removed++], d->snapshot->id,
               SNAPSHOT_ID_LEN + 1);
}

static void capture_some(struct fixture *f, struct snapshot_summary *ret)
{
    for (size_t i = 0; i < N; i++) {
        sample_vm_fill(&f->vm, 1000 + i * 7);
        ret[i] = fixture_capture(f);
    }
}

static int forget(struct fixture *f, struct forget_args args,
                  struct heard *heard, struct forget_report *ret,
                  struct error *err)
{
    *heard = (struct heard){0};
    args.repository = f->repository;
    args.decided = hear;
    args.arg = heard;
    return forget_run(&args, ret, err);
}

static size_t snapshots(struct fixture *f)
{
    return fixture_files(f, "snapshots/", NULL);
}

static void the_named_ones_go(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary all[N];
    struct forget_report report;
    struct heard heard;
    struct hints none = {0};
    struct error err;

    capture_some(f, all);
    assert_ok(hints_store(f->repository, all[1].id, &none, &err), &err);
    assert_ok(hints_store(f->repository, all[0].id, &none, &err), &err);
    assert_ok(forget(f,
                     (struct forget_args){.ids = (const char *[]){all[1].id,
                                                                  all[3].id,
                                                                  all[1].id},
                                          .n_ids = 3},
                     &heard, &report, &err),
              &err);
    assert_int_equal(report.removed, 2);
    assert_int_equal(report.kept, 0);
    assert_int_equal(snapshots(f), 2);
    assert_int_equal(fixture_files(f, "hints/", NULL), 1);
    assert_int_equal(fixture_files(f, "locks/", NULL), 0);
}

static void one_that_is_not_there_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct forget_report report;
    struct heard heard;
    struct error err;

    assert_error(
        forget(f,
               (struct forget_args){.ids = (const char *[]){"0123456789abcdef"},
                                    .n_ids = 1},
               &heard, &report, &err),
        &err, ERR_NOTFOUND, "0123456789abcdef");
}

static void a_damaged_one_can_be_named(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct forget_report report;
    struct heard heard;
    struct error err;
    char name[64];

    snprintf(name, sizeof(name), "snapshots/%s", s.id);
    scratch_write(f->scratch.repo, name, "x", 1);
    assert_ok(
        forget(f,
               (struct forget_args){.ids = (const char *[]){s.id}, .n_ids = 1},
               &heard, &report, &err),
        &err);
    assert_int_equal(snapshots(f), 0);
}

static void a_policy_keeps_and_removes(void **state)
{
    struct fixture *f = *state;
    struct retention_policy policy = {.keep = {[RETENTION_LAST] = 1}};
    struct snapshot_summary all[N];
    struct forget_report report;
    struct heard heard;
    struct error err;

    capture_some(f, all);
    assert_ok(forget(f,
                     (struct forget_args){.policy = &policy, .dry_run = true},
                     &heard, &report, &err),
              &err);
    assert_int_equal(report.removed, N - 1);
    assert_int_equal(snapshots(f), N);
    assert_ok(forget(f, (struct forget_args){.policy = &policy, .vm = "other"},
                     &heard, &report, &err),
              &err);
    assert_int_equal(heard.n, 0);
    assert_int_equal(snapshots(f), N);
    assert_ok(forget(f, (struct forget_args){.policy = &policy}, &heard,
                     &report, &err),
              &err);
    assert_int_equal(heard.n, N);
    assert_int_equal(heard.kept, 1);
    assert_string_equal(heard.removed[0], all[0].id);
    assert_int_equal(snapshots(f), 1);
}

static void a_policy_that_keeps_nothing_is_refused(void **state)
{
    struct fixture *f = *state;
    cleanup_json json_t *tags = json_pack("{s:s}", "no", "such");
    struct retention_policy policy = {.tags = tags};
    struct snapshot_summary all[N];
    struct forget_report report;
    struct heard heard;
    struct error err;

    capture_some(f, all);
    assert_error(forget(f, (struct forget_args){.policy = &policy}, &heard,
                        &report, &err),
                 &err, ERR_INVALID, "keeps no snapshot of VM");
    policy.tags = NULL;
    assert_error(forget(f, (struct forget_args){.policy = &policy}, &heard,
                        &report, &err),
                 &err, ERR_INVALID, "keeps nothing");
    assert_int_equal(snapshots(f), N);
}

static void one_in_use_stays(void **state)
{
    struct fixture *f = *state;
    struct retention_policy policy = {.keep = {[RETENTION_LAST] = 1}};
    struct snapshot_summary all[N];
    struct forget_report report;
    struct heard heard;
    struct lease *l;
    struct error err;

    capture_some(f, all);
    assert_ok(lease_acquire(f->repository, "restore", all[1].id, &l, &err),
              &err);
    assert_ok(forget(f, (struct forget_args){.policy = &policy}, &heard,
                     &report, &err),
              &err);
    assert_int_equal(report.removed, N - 2);
    assert_int_equal(report.in_use, 1);
    assert_non_null(strstr(heard.in_use, "restore on host"));
    assert_int_equal(snapshots(f), 2);
    lease_release(l);
    assert_ok(forget(f, (struct forget_args){.policy = &policy}, &heard,
                     &report, &err),
              &err);
    assert_int_equal(snapshots(f), 1);
}

static void a_claimed_snapshot_is_waited_for_and_gone(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct lease *claim, *l;
    struct error err;
    const char *id = s.id;
    pid_t pid;

    assert_ok(lease_acquire(f->repository, "forget", NULL, &claim, &err), &err);
    assert_ok(lease_claim(claim, &id, 1, &err), &err);
    pid = fork();
    if (pid == 0) {
        char path[256];

        usleep(100000);
        snprintf(path, sizeof(path), "%s/snapshots/%s", f->scratch.repo, id);
        unlink(path);
        lease_release(claim);
        _exit(0);
    }
    assert_error(lease_acquire(f->repository, "restore", id, &l, &err), &err,
                 ERR_NOTFOUND, id);
    lease_forget(claim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(the_named_ones_go),
        FIXTURE_TEST(one_that_is_not_there_is_an_error),
        FIXTURE_TEST(a_damaged_one_can_be_named),
        FIXTURE_TEST(a_policy_keeps_and_removes),
        FIXTURE_TEST(a_policy_that_keeps_nothing_is_refused),
        FIXTURE_TEST(one_in_use_stays),
        FIXTURE_TEST(a_claimed_snapshot_is_waited_for_and_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

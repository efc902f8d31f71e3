#include "tests/storage/repo_fixture.h"

#include <sys/stat.h>

#include "storage/keeping/check_state.h"
#include "storage/keeping/verify.h"

static struct verify_report verify(struct fixture *f, struct verify_args args)
{
    struct verify_report report;
    struct error err;

    assert_ok(verify_run(f->repository, &args, &report, &err), &err);
    return report;
}

static struct checked_snapshot checked(struct fixture *f, const char *id)
{
    cleanup(check_state) struct check_state *s = NULL;
    struct error err;

    assert_ok(check_state_load(f->repository, &s, &err), &err);
    return check_state_snapshot(s, id);
}

static void nothing_was_checked_before_the_first_check(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);

    assert_int_equal(checked(f, s.id).structure_ns, 0);
    assert_int_equal(fixture_files(f, "checks/", NULL), 0);
}

static void structure_and_data_have_times_of_their_own(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct checked_snapshot first;

    verify(f, (struct verify_args){0});
    first = checked(f, s.id);
    assert_true(first.structure_ns > 0);
    assert_int_equal(first.data_ns, 0);
    verify(f, (struct verify_args){.read_data_percent = 100});
    assert_true(checked(f, s.id).structure_ns > first.structure_ns);
    assert_true(checked(f, s.id).data_ns > first.structure_ns);
    assert_int_equal(fixture_files(f, "checks/", NULL), 1);
}

static void shares_follow_one_another_until_all_is_read(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    uint64_t hashed = 0, all;
    unsigned n = 0;

    for (; checked(f, s.id).data_ns == 0; n++) {
        assert_true(n < 20);
        hashed += verify(f, (struct verify_args){.read_data_percent = 10})
                      .frames_read;
    }
    all = verify(f, (struct verify_args){.read_data_percent = 100}).frames_read;
    assert_true(all > 100);
    /* Every frame once, and nothing twice before that. */
    assert_true(hashed >= all && hashed < all + all / 8);
    assert_true(n >= 9 && n <= 11);
}

static void time_that_is_up_is_gone_on_with(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct verify_report report;
    unsigned n = 0;

    do {
        report = verify(f, (struct verify_args){.read_data_percent = 100,
                                                /* Sanitized, a step is long. */
                                                .max_duration_ms = 2 + n / 8});
        assert_int_equal(report.errors, 0);
        assert_true(n++ < 5000);
    } while (checked(f, s.id).data_ns == 0);
    report = verify(f, (struct verify_args){.read_data_percent = 100,
                                            .max_duration_ms = 600000});
    assert_true(report.finished);
}

static void one_that_is_damaged_counts_as_never_checked(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct scratch_files files;

    verify(f, (struct verify_args){.read_data_percent = 100});
    assert_true(checked(f, s.id).data_ns > 0);
    scratch_files_list(f->scratch.repo, &files);
    for (size_t i = 0; i < files.n; i++) {
        struct buf text = BUF_INIT;

        if (strncmp(files.names[i], "packs/", 6) != 0)
            continue;
        scratch_read(f->scratch.repo, files.names[i], &text);
        text.data[70] ^= 1;
        scratch_write(f->scratch.repo, files.names[i], text.data, text.len);
        buf_release(&text);
    }
    scratch_files_release(&files);
    assert_true(
        verify(f, (struct verify_args){.read_data_percent = 100}).errors > 0);
    assert_int_equal(checked(f, s.id).structure_ns, 0);
    /* The share begins with what is damaged, and so it is told again. */
    assert_true(verify(f, (struct verify_args){.read_data_percent = 1}).errors >
                0);
}

static void a_damaged_record_is_none(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    char name[128];

    verify(f, (struct verify_args){0});
    assert_int_equal(fixture_files(f, "checks/", name), 1);
    scratch_write(f->scratch.repo, name, "{\"version\":1}", 13);
    assert_int_equal(checked(f, s.id).structure_ns, 0);
    verify(f, (struct verify_args){0});
    assert_true(checked(f, s.id).structure_ns > 0);
    assert_int_equal(fixture_files(f, "checks/", NULL), 1);
}

static void what_is_gone_is_left_out(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f), t = fixture_capture(f);
    char path[256];

    verify(f, (struct verify_args){0});
    snprintf(path, sizeof(path), "%s/snapshots/%s", f->scratch.repo, s.id);
    unlink(path);
    verify(f, (struct verify_args){0});
    assert_int_equal(checked(f, s.id).structure_ns, 0);
    assert_true(checked(f, t.id).structure_ns > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(nothing_was_checked_before_the_first_check),
        FIXTURE_TEST(structure_and_data_have_times_of_their_own),
        FIXTURE_TEST(shares_follow_one_another_until_all_is_read),
        FIXTURE_TEST(time_that_is_up_is_gone_on_with),
        FIXTURE_TEST(one_that_is_damaged_counts_as_never_checked),
        FIXTURE_TEST(a_damaged_record_is_none),
        FIXTURE_TEST(what_is_gone_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

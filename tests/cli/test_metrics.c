#include "tests/fakes/assert_error.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "cli/metrics.h"
#include "core/base/path.h"
#include "tests/fakes/temp_folder.h"

struct fixture {
    struct temp_folder folder;
    char path[160];
    struct metrics m;
    struct error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->folder);
    snprintf(f->path, sizeof(f->path), "%s/firn.prom", f->folder.path);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    metrics_release(&f->m);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

static void set(struct fixture *f, enum metric metric, const char *vm,
                double value)
{
    assert_ok(metrics_set(&f->m, metric, vm, value, &f->err), &f->err);
}

static void expect_file(struct fixture *f, const char *expected)
{
    struct buf text = BUF_INIT;

    assert_ok(path_read_file(AT_FDCWD, f->path, 65536, &text, &f->err),
              &f->err);
    assert_string_equal(buf_str(&text), expected);
    buf_release(&text);
}

static void put(struct fixture *f, const char *text)
{
    FILE *file = fopen(f->path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void figures_of_a_name_stand_together_behind_their_help(void **state)
{
    struct fixture *f = *state;

    set(f, METRIC_RUN_STATUS, "", 15);
    set(f, METRIC_DOWNTIME, "b", 0.25);
    set(f, METRIC_LAST_SUCCESS, "a", 1700000000);
    set(f, METRIC_DOWNTIME, "a", 0.3);
    set(f, METRIC_DOWNTIME, "b", 0.125);
    assert_ok(metrics_write(&f->m, f->path, &f->err), &f->err);
    expect_file(
        f,
        "# HELP firn_last_success_timestamp_seconds When the newest snapshot "
        "was captured.\n"
        "# TYPE firn_last_success_timestamp_seconds gauge\n"
        "firn_last_success_timestamp_seconds{vm=\"a\"} 1700000000\n"
        "# HELP firn_snapshot_downtime_seconds How long the guest stood still "
        "for the last capture.\n"
        "# TYPE firn_snapshot_downtime_seconds gauge\n"
        "firn_snapshot_downtime_seconds{vm=\"b\"} 0.125\n"
        "firn_snapshot_downtime_seconds{vm=\"a\"} 0.3\n"
        "# HELP firn_run_exit_status Exit status of the last run: that of its "
        "worst failure.\n"
        "# TYPE firn_run_exit_status gauge\n"
        "firn_run_exit_status 15\n");
}

static void what_was_written_is_read_again(void **state)
{
    static const char *const names[] = {"a", "with \"quotes\"", "back\\slash",
                                        "two\nlines", "n}\\", "a\\nb",
                                        "\xc3\xa4"};
    struct fixture *f = *state;
    struct metrics again;

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        set(f, METRIC_BYTES, names[i], (double)i * 1e12 + 1);
    set(f, METRIC_RUN_DURATION, "", 1.5);
    assert_ok(metrics_write(&f->m, f->path, &f->err), &f->err);
    assert_ok(metrics_load(f->path, &again, &f->err), &f->err);
    assert_int_equal(again.n, f->m.n);
    for (size_t i = 0; i < again.n; i++) {
        assert_int_equal(again.values[i].metric, f->m.values[i].metric);
        assert_string_equal(again.values[i].vm, f->m.values[i].vm);
        assert_true(again.values[i].value == f->m.values[i].value);
    }
    metrics_release(&again);
}

static void what_is_not_known_now_stays(void **state)
{
    struct fixture *f = *state;
    struct metrics_of_vm v = {.vm = "a",
                              .success = true,
                              .runs = true,
                              .last_ns = UINT64_C(1700000000) * 1000000000,
                              .taken = true,
                              .duration_ms = 1500,
                              .stored_bytes = 7};

    assert_ok(metrics_set_vm(&f->m, &v, &f->err), &f->err);
    v = (struct metrics_of_vm){.vm = "a"};
    assert_ok(metrics_set_vm(&f->m, &v, &f->err), &f->err);
    for (size_t i = 0; i < f->m.n; i++) {
        enum metric metric = f->m.values[i].metric;
        double expected = metric == METRIC_LAST_SUCCESS ? 1700000000
                          : metric == METRIC_DURATION   ? 1.5
                          : metric == METRIC_BYTES      ? 7
                                                        : 0;

        assert_true(f->m.values[i].value == expected);
    }
    assert_int_equal(f->m.n, 7);
}

static void lines_of_others_are_passed_over(void **state)
{
    struct fixture *f = *state;

    put(f, "# HELP x y\n\nnode_load1 3\nfirn_success{vm=\"a\"} 1\n"
           "firn_success{vm=\"b} 1\nfirn_success{vm=\"c\"} x\n"
           "firn_success{vm=\"d\"}\nfirn_success{vm=\"e\"} NaN\n"
           "firn_success{host=\"f\"} 1\nfirn_successful{vm=\"g\"} 1\n"
           "firn_success{vm=\"h\\");
    assert_ok(metrics_load(f->path, &f->m, &f->err), &f->err);
    assert_int_equal(f->m.n, 1);
    assert_string_equal(f->m.values[0].vm, "a");
}

static void a_file_that_is_not_there_holds_nothing(void **state)
{
    struct fixture *f = *state;

    assert_ok(metrics_load(f->path, &f->m, &f->err), &f->err);
    assert_int_equal(f->m.n, 0);
}

static bool is_a(void *arg, const char *vm)
{
    return strcmp(vm, "a") == 0;
}

static void vms_that_are_gone_are_dropped_runs_are_not(void **state)
{
    struct fixture *f = *state;

    set(f, METRIC_SUCCESS, "b", 1);
    set(f, METRIC_SUCCESS, "a", 1);
    set(f, METRIC_RUN_STATUS, "", 0);
    metrics_retain(&f->m, is_a, NULL);
    assert_int_equal(f->m.n, 2);
    assert_string_equal(f->m.values[0].vm, "a");
    assert_int_equal(f->m.values[1].metric, METRIC_RUN_STATUS);
}

static unsigned count_files(const char *folder)
{
    DIR *dir = opendir(folder);
    unsigned n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

static void it_is_replaced_whole_and_can_be_read_by_all(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    int old;
    char byte;

    put(f, "x");
    old = open(f->path, O_RDONLY);
    set(f, METRIC_RUN_STATUS, "", 0);
    assert_ok(metrics_write(&f->m, f->path, &f->err), &f->err);
    /* Who had it open still reads the old one to its end. */
    assert_int_equal(read(old, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    close(old);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    assert_int_equal(count_files(f->folder.path), 1);
}

static void a_failure_leaves_nothing_beside_it(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_error(metrics_write(&f->m, f->path, &f->err), &f->err, ERR_IO,
                 "cannot put");
    assert_int_equal(count_files(f->folder.path), 1);
    assert_error(metrics_write(&f->m, "/nowhere/x.prom", &f->err), &f->err,
                 ERR_IO, "cannot write beside '/nowhere/x.prom'");
    assert_int_equal(rmdir(f->path), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(figures_of_a_name_stand_together_behind_their_help),
        TEST(what_was_written_is_read_again),
        TEST(what_is_not_known_now_stays),
        TEST(lines_of_others_are_passed_over),
        TEST(a_file_that_is_not_there_holds_nothing),
        TEST(vms_that_are_gone_are_dropped_runs_are_not),
        TEST(it_is_replaced_whole_and_can_be_read_by_all),
        TEST(a_failure_leaves_nothing_beside_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

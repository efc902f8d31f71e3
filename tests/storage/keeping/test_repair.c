#include "tests/storage/repo_fixture.h"

#include <sys/stat.h>

#include "storage/keeping/repair.h"

struct heard {
    unsigned n;
    char text[1024];
};

static void hear(void *arg, const char *name, const struct error *what)
{
    struct heard *h = arg;
    size_t used = strlen(h->text);

    h->n++;
    snprintf(h->text + used, sizeof(h->text) - used, "%s|", name);
}

static struct repair_report repair(struct fixture *f, struct heard *heard)
{
    struct repair_report report;
    struct repair_args args = {
        .repository = f->repository, .finding = hear, .arg = heard};
    struct error err;

    *heard = (struct heard){0};
    assert_ok(repair_index(&args, &report, &err), &err);
    return report;
}

static void the_catalog_is_there_again(void **state)
{
    struct fixture *f = *state;
    struct repair_report report;
    struct heard heard;

    fixture_capture(f);
    fixture_capture(f);
    scratch_write(f->scratch.repo, "catalog.db", "no database", 11);
    report = repair(f, &heard);
    assert_int_equal(heard.n, 0);
    assert_int_equal(report.snapshots, 2);
    assert_int_equal(report.packs, 2);
    assert_int_equal(fixture_files(f, "catalog.db", NULL), 1);
    fixture_account(f);
}

static void what_is_strange_is_told(void **state)
{
    struct fixture *f = *state;
    struct repair_report report;
    struct heard heard;
    char path[128];

    fixture_capture(f);
    snprintf(path, sizeof(path), "%s/packs/00", f->scratch.repo);
    mkdir(path, 0700);
    scratch_write(f->scratch.repo, "packs/00/notes", "x", 1);
    scratch_write(f->scratch.repo, "packs/README", "x", 1);
    scratch_write(f->scratch.repo, "snapshots/old.bak", "x", 1);
    scratch_write(f->scratch.repo, "todo", "x", 1);
    report = repair(f, &heard);
    assert_int_equal(report.strange, 4);
    assert_int_equal(report.damaged, 0);
    assert_non_null(strstr(heard.text, "packs/00/notes|"));
    assert_non_null(strstr(heard.text, "packs/README|"));
    assert_non_null(strstr(heard.text, "snapshots/old.bak|"));
    assert_non_null(strstr(heard.text, "todo|"));
}

static void what_nobody_needs_is_told(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct repair_report report;
    struct heard heard;
    char path[256];

    snprintf(path, sizeof(path), "%s/snapshots/%s", f->scratch.repo, s.id);
    unlink(path);
    report = repair(f, &heard);
    assert_int_equal(report.snapshots, 0);
    assert_int_equal(report.packs, 2);
    assert_int_equal(report.strange, 2);
}

static void what_is_damaged_is_told(void **state)
{
    struct fixture *f = *state;
    struct repair_report report;
    struct buf text = BUF_INIT;
    struct heard heard;
    char name[128];

    fixture_capture(f);
    assert_true(fixture_files(f, "packs/", name) > 0);
    scratch_read(f->scratch.repo, name, &text);
    text.data[text.len - 70] ^= 1; /* in the item table */
    scratch_write(f->scratch.repo, name, text.data, text.len);
    buf_release(&text);
    report = repair(f, &heard);
    assert_int_equal(report.damaged, 1);
    assert_non_null(strstr(heard.text, name));
    assert_int_equal(report.packs, 1);

    scratch_write(f->scratch.repo, "snapshots/0123456789abcdef", "no", 2);
    report = repair(f, &heard);
    assert_non_null(strstr(heard.text, "snapshots/0123456789abcdef|"));
    assert_int_equal(report.snapshots, 1);
    assert_int_equal(report.strange, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(the_catalog_is_there_again),
        FIXTURE_TEST(what_is_strange_is_told),
        FIXTURE_TEST(what_nobody_needs_is_told),
        FIXTURE_TEST(what_is_damaged_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

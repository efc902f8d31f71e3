#include "tests/storage/repo_fixture.h"

#include <sys/stat.h>

#include "storage/keeping/verify.h"

#define PACK "00112233445566778899aabbccddeeff"

struct heard {
    unsigned errors;
    unsigned mentions;
    char object[64]; /* of the first error */
    struct error first;
    char mentioned[128];
    uint64_t done;
    uint64_t total;
};

static void hear(void *arg, const char *object, const struct error *what)
{
    struct heard *h = arg;

    if (what->code == 0) {
        h->mentions++;
        snprintf(h->mentioned, sizeof(h->mentioned), "%s: %.50s", object,
                 what->message);
    } else if (h->errors++ == 0) {
        snprintf(h->object, sizeof(h->object), "%s", object);
        error_copy(&h->first, what);
    }
}

static void progress(void *arg, uint64_t done, uint64_t total)
{
    struct heard *h = arg;

    assert_true(done >= h->done && done <= total);
    h->done = done;
    h->total = total;
}

static struct verify_report verify(struct fixture *f, unsigned percent,
                                   struct heard *ret)
{
    struct verify_report report;
    struct verify_args args = {
        .read_data_percent = percent,
        .finding = hear,
        .progress = progress,
        .arg = ret,
    };
    struct error err;

    *ret = (struct heard){0};
    assert_ok(verify_run(f->repository, &args, &report, &err), &err);
    return report;
}

/* The first file whose name begins so; its path below the repository. */
static void flip_in(struct fixture *f, const char *prefix, size_t from_end)
{
    struct buf text = BUF_INIT;
    char name[128];

    assert_true(fixture_files(f, prefix, name) > 0);
    scratch_read(f->scratch.repo, name, &text);
    text.data[text.len - 1 - from_end] ^= 4;
    scratch_write(f->scratch.repo, name, text.data, text.len);
    buf_release(&text);
}

static void a_sound_repository_has_no_findings(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct verify_report report;
    struct heard heard;

    fixture_capture(f);
    report = verify(f, 0, &heard);
    assert_int_equal(heard.errors + heard.mentions, 0);
    assert_int_equal(report.snapshots, 2);
    assert_int_equal(report.packs, 2);
    assert_int_equal(report.frames_read, 0);
    assert_int_equal(heard.done, heard.total);

    report = verify(f, 100, &heard);
    assert_int_equal(heard.errors + heard.mentions, 0);
    assert_int_equal(report.errors, 0);
    assert_int_equal(report.pages_hashed, s.pages_stored);
    assert_true(report.frames_read > s.pages_stored / 8);
}

static void an_empty_repository_is_sound(void **state)
{
    struct fixture *f = *state;
    struct heard heard;
    struct verify_report report = verify(f, 100, &heard);

    assert_int_equal(heard.errors + heard.mentions, 0);
    assert_int_equal(report.snapshots + report.packs, 0);
}

static void part_of_the_data_is_a_part_of_the_frames(void **state)
{
    struct fixture *f = *state;
    struct verify_report all, some;
    struct heard heard;

    fixture_capture(f);
    all = verify(f, 100, &heard);
    some = verify(f, 30, &heard);

    assert_true(some.frames_read > all.frames_read / 6);
    assert_true(some.frames_read < all.frames_read / 2);
}

static void a_pack_nobody_refers_to_is_mentioned(void **state)
{
    struct fixture *f = *state;
    struct verify_report report;
    struct heard heard;
    char path[128];

    fixture_capture(f);
    snprintf(path, sizeof(path), "%s/packs/00", f->scratch.repo);
    mkdir(path, 0700);
    scratch_write(path, PACK, "x", 1);
    report = verify(f, 100, &heard);

    assert_int_equal(report.errors, 0);
    assert_int_equal(report.unreferenced_packs, 1);
    assert_string_equal(heard.mentioned,
                        "pack " PACK ": no snapshot refers to it");
}

static void a_missing_pack_is_named_once_by_itself(void **state)
{
    struct fixture *f = *state;
    cleanup(snapshot_reader) struct snapshot_reader *r = NULL;
    struct snapshot_summary s = fixture_capture(f);
    const struct snapshot_pack *packs;
    struct verify_report report;
    struct heard heard;
    struct error err;
    char path[256];
    size_t n;

    assert_ok(snapshot_reader_open(f->repository, s.id, &r, &err), &err);
    packs = snapshot_reader_packs(r, &n);
    for (size_t i = 0; i < n; i++) {
        if (packs[i].index)
            continue;
        snprintf(path, sizeof(path), "%s/packs/%.2s/%s", f->scratch.repo,
                 packs[i].id, packs[i].id);
        assert_int_equal(unlink(path), 0);
        snprintf(path, sizeof(path), "pack %s", packs[i].id);
    }
    report = verify(f, 0, &heard);

    assert_int_equal(report.errors, 1);
    assert_string_equal(heard.object, path);
    assert_message(&heard.first, "it is missing");
    assert_int_equal(heard.first.code, ERR_CORRUPT);
}

static void a_missing_index_pack_does_not_flood(void **state)
{
    struct fixture *f = *state;
    cleanup(snapshot_reader) struct snapshot_reader *r = NULL;
    const struct snapshot_pack *packs;
    struct snapshot_summary s;
    struct verify_report report;
    struct heard heard;
    struct error err;
    char path[256];
    size_t n;

    sample_vm_release(&f->vm);
    sample_vm_make(&f->vm, 20000);
    sample_vm_fill(&f->vm, 1);
    s = fixture_capture(f);
    assert_ok(snapshot_reader_open(f->repository, s.id, &r, &err), &err);
    packs = snapshot_reader_packs(r, &n);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s/packs/%.2s/%s", f->scratch.repo,
                 packs[i].id, packs[i].id);
        if (packs[i].index)
            assert_int_equal(unlink(path), 0);
    }
    report = verify(f, 0, &heard);

    assert_int_equal(report.errors, 40 + 1 + 1); /* segments, ROM, the pack */
    assert_int_equal(heard.errors, 16 + 1);
    assert_non_null(strstr(heard.mentioned, "and 25 more findings"));
}

static void damage_is_named_with_its_object(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct heard heard;
    char object[64];

    snprintf(object, sizeof(object), "snapshot %s", s.id);
    flip_in(f, "snapshots/", 300);
    verify(f, 0, &heard);
    assert_string_equal(heard.object, object);
    assert_message(&heard.first, "checksum");
    flip_in(f, "snapshots/", 300);
    verify(f, 0, &heard);
    assert_int_equal(heard.errors, 0);

    flip_in(f, "config", 40);
    verify(f, 0, &heard);
    assert_string_equal(heard.object, "config");
    flip_in(f, "config", 40);
}

/* A flipped bit in data is found only when data is read. */
static void data_is_read_only_if_asked_for(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    cleanup(snapshot_reader) struct snapshot_reader *r = NULL;
    const struct snapshot_pack *packs;
    struct heard heard;
    struct error err;
    char name[128], object[64];
    size_t n;

    assert_ok(snapshot_reader_open(f->repository, s.id, &r, &err), &err);
    packs = snapshot_reader_packs(r, &n);
    for (size_t i = 0; i < n; i++) {
        if (packs[i].index)
            continue;
        snprintf(name, sizeof(name), "packs/%.2s/%s", packs[i].id, packs[i].id);
        snprintf(object, sizeof(object), "pack %s", packs[i].id);
        flip_in(f, name, (size_t)packs[i].bytes - 100);
    }
    verify(f, 0, &heard);
    assert_int_equal(heard.errors, 0);

    verify(f, 100, &heard);
    assert_int_equal(heard.errors, 1);
    assert_string_equal(heard.object, object);
    assert_message(&heard.first, "frame 0");
}

static void only_the_snapshots_asked_for_are_checked(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary a = fixture_capture(f), b;
    struct heard heard = {0};
    struct verify_report report;
    const char *id = a.id;
    struct verify_args args = {
        .ids = &id, .n_ids = 1, .finding = hear, .arg = &heard};
    struct error err;
    char name[64];

    sample_vm_fill(&f->vm, 900000);
    b = fixture_capture(f);
    snprintf(name, sizeof(name), "snapshots/%s", b.id);
    flip_in(f, name, 500);
    assert_ok(verify_run(f->repository, &args, &report, &err), &err);
    assert_int_equal(report.errors, 0);
    assert_int_equal(report.snapshots, 1);
    assert_int_equal(report.unreferenced_packs, 0);

    id = "0123456789abcdef";
    assert_ok(verify_run(f->repository, &args, &report, &err), &err);
    assert_int_equal(report.errors, 1);
    assert_string_equal(heard.object, "snapshot 0123456789abcdef");
}

static void a_stopper_ends_it(void **state)
{
    struct fixture *f = *state;
    struct stopper stop;
    struct verify_args args = {.read_data_percent = 100, .stop = &stop};
    struct verify_report report;
    struct error err;

    fixture_capture(f);
    assert_ok(stopper_init(&stop, &err), &err);
    stopper_pull(&stop, ERR_INTERRUPTED);

    assert_int_equal(verify_run(f->repository, &args, &report, &err),
                     ERR_INTERRUPTED);
    stopper_release(&stop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_sound_repository_has_no_findings),
        FIXTURE_TEST(an_empty_repository_is_sound),
        FIXTURE_TEST(part_of_the_data_is_a_part_of_the_frames),
        FIXTURE_TEST(a_pack_nobody_refers_to_is_mentioned),
        FIXTURE_TEST(a_missing_pack_is_named_once_by_itself),
        FIXTURE_TEST(a_missing_index_pack_does_not_flood),
        FIXTURE_TEST(damage_is_named_with_its_object),
        FIXTURE_TEST(data_is_read_only_if_asked_for),
        FIXTURE_TEST(only_the_snapshots_asked_for_are_checked),
        FIXTURE_TEST(a_stopper_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

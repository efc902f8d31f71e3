#include "tests/storage/repo_fixture.h"

#include "core/base/bytes.h"
#include "storage/keeping/forget.h"
#include "storage/keeping/prune.h"
#include "storage/keeping/verify.h"
#include "storage/lease.h"
#include "storage/packs/pack_writer.h"

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

static uint64_t stored_bytes(struct fixture *f)
{
    struct scratch_files files;
    uint64_t bytes = 0;

    scratch_files_list(f->scratch.repo, &files);
    for (size_t i = 0; i < files.n; i++) {
        struct buf text = BUF_INIT;

        if (strncmp(files.names[i], "packs/", 6) == 0) {
            scratch_read(f->scratch.repo, files.names[i], &text);
            bytes += text.len;
        }
        buf_release(&text);
    }
    scratch_files_release(&files);
    return bytes;
}

/* Seven snapshots, each with a tenth of the pages new, the last two kept. */
static void make_thin(struct fixture *f, struct snapshot_summary *ret)
{
    struct snapshot_summary all[7];

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        for (pgno_t p = 0; p < FIXTURE_PAGES / 3; p++)
            sample_page_fill(f->vm.memory[0] + (p * 3 + i % 3) * PAGE_BYTES,
                             20000 * (i + 1) + p);
        all[i] = fixture_capture(f);
    }
    for (size_t i = 0; i + 1 < ARRAY_LEN(all); i++)
        forget(f, all[i].id);
    *ret = all[ARRAY_LEN(all) - 1];
}

static void thin_packs_are_written_again(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary last;
    struct snapshot_summary *all;
    struct prune_report plan, report;
    struct error err;
    uint64_t before, after;
    size_t n;

    make_thin(f, &last);
    before = stored_bytes(f);
    plan = prune(f, (struct prune_args){.dry_run = true,
                                        .max_unused_percent = 10});
    assert_int_equal(stored_bytes(f), before);
    report = prune(f, (struct prune_args){.max_unused_percent = 10});
    after = stored_bytes(f);
    assert_true(report.rewritten_packs > 0);
    assert_int_equal(plan.rewritten_packs, report.rewritten_packs);
    assert_int_equal(before + report.written_bytes,
                     after + report.removed_bytes);
    assert_ok(sample_vm_compare(&f->vm, f->repository, last.id, &err), &err);
    check_clean(f);

    /* Everything but the places is as it was. */
    assert_ok(repository_list(f->repository, NULL, NULL, &all, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_string_equal(all[0].id, last.id);
    assert_int_equal(all[0].time_ns, last.time_ns);
    assert_int_equal(all[0].pages_stored, last.pages_stored);
    snapshot_summary_release(&all[0]);
    free(all);

    /* There is nothing left to do, and a capture finds what was moved. */
    report = prune(f, (struct prune_args){.max_unused_percent = 10});
    assert_int_equal(report.removed_packs + report.rewritten_packs, 0);
    last = fixture_capture(f);
    assert_int_equal(last.pages_stored, 0);
    assert_int_equal(stored_bytes(f), after);
}

static void many_packs_are_written_again_in_batches(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary one[80];
    struct prune_report report;
    struct error err;

    for (size_t i = 0; i < ARRAY_LEN(one); i++) {
        for (pgno_t p = 0; p < 20; p++)
            sample_page_fill(f->vm.memory[0] +
                                 (i % 4 * 512 + i / 4 * 10 + p) * PAGE_BYTES,
                             30000 * (i + 1) + p);
        one[i] = fixture_capture(f);
    }
    for (size_t i = 0; i + 1 < ARRAY_LEN(one); i++) {
        if (i != 40)
            forget(f, one[i].id);
    }
    report = prune(f, (struct prune_args){.max_unused_percent = 1});
    assert_true(report.rewritten_packs > 64);
    assert_ok(sample_vm_compare(&f->vm, f->repository, one[79].id, &err), &err);
    check_clean(f);
    assert_int_equal(
        prune(f, (struct prune_args){.max_unused_percent = 1}).removed_packs,
        0);
}

static void a_snapshot_in_use_keeps_its_packs(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary last;
    struct prune_report report;
    struct lease *l;
    struct error err;

    make_thin(f, &last);
    assert_ok(lease_acquire(f->repository, "restore", last.id, &l, &err), &err);
    report = prune(f, (struct prune_args){.max_unused_percent = 10});
    assert_int_equal(report.rewritten_packs, 0);
    lease_release(l);
    report = prune(f, (struct prune_args){.max_unused_percent = 10});
    assert_true(report.rewritten_packs > 0);
    check_clean(f);
}

static void a_reader_goes_on_while_its_packs_are_replaced(void **state)
{
    struct fixture *f = *state;
    cleanup(snapshot_reader) struct snapshot_reader *r = NULL;
    struct snapshot_summary last;
    struct prune_report report;
    const uint8_t *page;
    struct lease *l;
    struct error err;

    make_thin(f, &last);
    assert_ok(lease_acquire(f->repository, "read", NULL, &l, &err), &err);
    assert_ok(snapshot_reader_open(f->repository, last.id, &r, &err), &err);
    report = prune(f, (struct prune_args){.max_unused_percent = 10});
    assert_true(report.rewritten_packs > 0);
    assert_true(report.condemned_packs >= report.rewritten_packs);
    for (pgno_t p = 0; p < FIXTURE_PAGES; p++) {
        assert_ok(snapshot_reader_page(r, 0, p, &page, &err), &err);
        assert_true(!page || memcmp(page, f->vm.memory[0] + p * PAGE_BYTES,
                                    PAGE_BYTES) == 0);
    }
    lease_release(l);
    report = prune(f, (struct prune_args){.max_unused_percent = 10});
    assert_true(report.removed_packs > 0);
    check_clean(f);
}

static void hear_note(void *arg, const char *text)
{
    snprintf(arg, 512, "%s", text);
}

static void a_damaged_pack_is_not_written_again(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary last;
    struct scratch_files files;
    struct prune_report report;
    char note[512] = "";
    struct verify_args args = {.read_data_percent = 100};
    struct verify_report found;
    struct error err;

    make_thin(f, &last);
    prune(f, (struct prune_args){.no_rewrite = true});
    scratch_files_list(f->scratch.repo, &files);
    for (size_t i = 0; i < files.n; i++) {
        struct buf text = BUF_INIT;

        if (strncmp(files.names[i], "packs/", 6) != 0)
            continue;
        scratch_read(f->scratch.repo, files.names[i], &text);
        /* Page packs only: without its index nothing is known. */
        if (load_le32(text.data + 12) == PACK_PAGES) {
            text.data[70] ^= 1;
            scratch_write(f->scratch.repo, files.names[i], text.data, text.len);
        }
        buf_release(&text);
    }
    scratch_files_release(&files);
    report = prune(f, (struct prune_args){.max_unused_percent = 10,
                                          .note = hear_note,
                                          .arg = note});
    assert_non_null(strstr(note, "is damaged and stays"));
    assert_true(report.rewritten_packs <= 2); /* those of the index */
    assert_ok(verify_run(f->repository, &args, &found, &err), &err);
    assert_true(found.errors > 0);
}

static void a_pulled_stopper_ends_it_and_nothing_is_lost(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary last;
    struct prune_args args = {.repository = f->repository,
                              .max_unused_percent = 10};
    struct prune_report report;
    struct stopper stop;
    struct error err;

    make_thin(f, &last);
    assert_ok(stopper_init(&stop, &err), &err);
    stopper_pull(&stop, ERR_INTERRUPTED);
    args.stop = &stop;
    assert_int_equal(prune_run(&args, &report, &err), ERR_INTERRUPTED);
    stopper_release(&stop);
    assert_ok(sample_vm_compare(&f->vm, f->repository, last.id, &err), &err);
    prune(f, (struct prune_args){.max_unused_percent = 10});
    check_clean(f);
}

static void time_that_is_up_leaves_the_rest_to_the_next(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary last;
    struct prune_report report;

    make_thin(f, &last);
    report = prune(f, (struct prune_args){.max_unused_percent = 10,
                                          .max_duration_ms = 1});
    assert_false(report.finished);
    assert_int_equal(report.rewritten_packs, 0);
    report = prune(f, (struct prune_args){.max_unused_percent = 10,
                                          .max_duration_ms = 600000});
    assert_true(report.finished);
    assert_true(report.rewritten_packs > 0);
    check_clean(f);
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
        FIXTURE_TEST(thin_packs_are_written_again),
        FIXTURE_TEST(many_packs_are_written_again_in_batches),
        FIXTURE_TEST(a_snapshot_in_use_keeps_its_packs),
        FIXTURE_TEST(a_reader_goes_on_while_its_packs_are_replaced),
        FIXTURE_TEST(a_damaged_pack_is_not_written_again),
        FIXTURE_TEST(a_pulled_stopper_ends_it_and_nothing_is_lost),
        FIXTURE_TEST(time_that_is_up_leaves_the_rest_to_the_next),
        FIXTURE_TEST(hints_of_nobody_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/storage/repo_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "core/base/bytes.h"
#include "storage/packs/pack_writer.h"
#include "storage/snapshot_cost.h"

static struct page_batch *new_batch(uint64_t seq, uint32_t block, uint32_t n,
                                    pgno_t first)
{
    struct page_batch *b = calloc(1, sizeof(*b));

    b->seq = seq;
    b->block = block;
    b->n = n;
    for (uint32_t i = 0; i < n; i++)
        b->pgno[i] = first + i;
    return b;
}

/* `n` pages from `first`, filled with numbers from `number` on. */
static int put(struct snapshot_writer *w, unsigned lane, uint64_t seq,
               pgno_t first, uint32_t n, uint64_t number, struct error *err)
{
    static uint8_t data[PAGE_BATCH_MAX * PAGE_BYTES];
    struct page_batch *b = new_batch(seq, 0, n, first);
    int rc;

    for (uint32_t i = 0; i < n; i++)
        sample_page_fill(data + (size_t)i * PAGE_BYTES,
                         number ? number + i : 0);
    b->data = data;
    rc = snapshot_writer_put(w, lane, b, err);
    free(b);
    return rc;
}

static void what_was_put_comes_back(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct error err;

    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
    assert_int_equal(s.pages_total, FIXTURE_PAGES + 601);
    assert_int_equal(s.pages_zero, FIXTURE_PAGES / 5 + 600);
    assert_int_equal(s.pages_stored, FIXTURE_PAGES / 5 * 4 + 1);
    assert_int_equal(s.pages_duplicate, 0);
    assert_int_equal(s.pages_superseded, 0);
    assert_int_equal(s.pages_unseen, 0);
    assert_int_equal(s.ram_bytes, (FIXTURE_PAGES + 601) * PAGE_BYTES);
    assert_string_equal(s.vm, "sample");
    assert_string_equal(s.mode, "stream");
    assert_null(s.tags);
}

static void a_second_capture_of_the_same_stores_nearly_nothing(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first = fixture_capture(f);
    size_t packs = fixture_files(f, "packs/", NULL);
    struct snapshot_summary second = fixture_capture(f);
    struct error err;

    assert_int_equal(second.pages_stored, 0);
    assert_int_equal(second.pages_duplicate, first.pages_stored);
    assert_true(second.stored_bytes * 100 < first.stored_bytes * 3);
    assert_int_equal(fixture_files(f, "packs/", NULL), packs);
    assert_ok(sample_vm_compare(&f->vm, f->repository, second.id, &err), &err);
}

static void a_changed_page_costs_one_page_and_one_segment(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s;
    struct error err;

    fixture_capture(f);
    sample_page_fill(f->vm.memory[0] + 700 * PAGE_BYTES, 4711);
    s = fixture_capture(f);

    assert_int_equal(s.pages_stored, 1);
    assert_true(s.stored_bytes < 64 << 10);
    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
}

static void one_content_is_stored_once(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w = fixture_writer(f, 2);
    struct snapshot_writer_stats stats;
    struct snapshot_summary s;
    struct error err;

    /* Twice within a batch, once more by another lane. */
    for (pgno_t i = 0; i < FIXTURE_PAGES; i++)
        sample_page_fill(f->vm.memory[0] + i * PAGE_BYTES, 5 + i % 2);
    assert_ok(sample_vm_put(&f->vm, w, 0, 1, &err), &err);
    assert_ok(sample_vm_put(&f->vm, w, 1, 1000, &err), &err);
    snapshot_writer_stats(w, &stats);
    assert_ok(sample_vm_commit(&f->vm, w, false, &s, &err), &err);

    assert_int_equal(stats.stored, 3);
    assert_int_equal(stats.pages, 2 * (FIXTURE_PAGES + 601));
    assert_int_equal(s.pages_stored, 3);
    assert_int_equal(s.pages_duplicate, FIXTURE_PAGES - 2);
    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
    snapshot_writer_free(w);
}

static void another_vm_shares_nothing(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary a = fixture_capture(f), b;

    f->vm.uuid = "8a2b0c54-0000-4000-8000-000000000002";
    b = fixture_capture(f);
    assert_int_equal(b.pages_stored, a.pages_stored);
    assert_int_equal(b.pages_duplicate, 0);

    f->vm.uuid = "";
    b = fixture_capture(f);
    assert_int_equal(b.pages_duplicate, 0);
    b = fixture_capture(f); /* by its name alone */
    assert_int_equal(b.pages_stored, 0);
}

static void the_higher_batch_counts_and_the_other_is_superseded(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w = fixture_writer(f, 1);
    struct snapshot_summary s;
    struct error err;

    assert_ok(sample_vm_put(&f->vm, w, 0, 1000, &err), &err);
    assert_ok(put(w, 0, 5000, 3, 2, 99990, &err), &err);
    assert_ok(put(w, 0, 1, 10, 1, 88880, &err), &err); /* comes late */
    sample_page_fill(f->vm.memory[0] + 3 * PAGE_BYTES, 99990);
    sample_page_fill(f->vm.memory[0] + 4 * PAGE_BYTES, 99991);
    assert_ok(sample_vm_commit(&f->vm, w, false, &s, &err), &err);

    assert_int_equal(s.pages_stored, FIXTURE_PAGES / 5 * 4 + 1 + 3);
    assert_int_equal(s.pages_superseded, 2); /* page 4 was zero before */
    assert_int_equal(s.pages_total, s.pages_zero + s.pages_unseen +
                                        s.pages_duplicate + s.pages_stored -
                                        s.pages_superseded);
    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
    snapshot_writer_free(w);
}

static void a_pack_of_superseded_pages_is_not_kept(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w = fixture_writer(f, 2);
    struct snapshot_summary s;
    struct error err;

    assert_ok(put(w, 1, 1, 0, 100, 555000, &err), &err);
    assert_ok(sample_vm_put(&f->vm, w, 0, 10, &err), &err);
    assert_ok(sample_vm_commit(&f->vm, w, false, &s, &err), &err);

    /* Pages, those that came again, index. */
    assert_int_equal(fixture_files(f, "packs/", NULL), 3);
    assert_int_equal(s.pages_superseded, 0);
    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
    snapshot_writer_free(w);
}

/* Ten rounds of the same few pages: what dies lies together, apart from the
 * pages that came once, and is given back. */
static void pages_sent_again_have_a_pack_of_their_own(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w = fixture_writer(f, 1);
    struct snapshot_summary s;
    struct error err;

    assert_ok(sample_vm_put(&f->vm, w, 0, 1, &err), &err);
    for (unsigned round = 1; round <= 10; round++)
        assert_ok(put(w, 0, round * 1000, 5, 4, round * 100000, &err), &err);
    for (pgno_t i = 0; i < 4; i++)
        sample_page_fill(f->vm.memory[0] + (5 + i) * PAGE_BYTES, 1000000 + i);
    assert_ok(sample_vm_commit(&f->vm, w, false, &s, &err), &err);
    snapshot_writer_free(w);

    /* Those of the first round: its pack is mostly alive. */
    assert_int_equal(s.pages_superseded, 4);
    assert_int_equal(s.pages_stored, FIXTURE_PAGES / 5 * 4 + 1 + 4);
    assert_int_equal(fixture_files(f, "packs/", NULL), 3);
    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
}

/* Rounds that replace most of what was stored before. */
static void a_pack_that_is_mostly_dead_is_written_again(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w = fixture_writer(f, 2);
    struct snapshot_summary s, again;
    struct error err;

    for (unsigned round = 0; round < 4; round++) {
        for (pgno_t i = 300; i < FIXTURE_PAGES; i++)
            sample_page_fill(f->vm.memory[0] + i * PAGE_BYTES,
                             round * 100000 + i);
        assert_ok(sample_vm_put(&f->vm, w, 0, 1 + round * 1000, &err), &err);
    }
    assert_ok(sample_vm_commit(&f->vm, w, false, &s, &err), &err);
    snapshot_writer_free(w);

    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
    assert_int_equal(s.pages_superseded, 0);
    assert_int_equal(s.pages_stored, 240 + FIXTURE_PAGES - 300 + 1);
    assert_int_equal(fixture_account(f), 1);
    again = fixture_capture(f);
    assert_int_equal(again.pages_stored, 0);
}

static void a_page_never_sent_forbids_the_commit(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w = fixture_writer(f, 1);
    struct snapshot_summary s;
    struct error err;

    assert_ok(put(w, 0, 1, 0, 128, 1, &err), &err);
    assert_error(sample_vm_commit(&f->vm, w, false, &s, &err), &err,
                 ERR_PROTOCOL, "page 128 of block 'pc.ram' was never sent");
    assert_int_equal(sample_vm_commit(&f->vm, w, true, &s, &err), ERR_PROTOCOL);
    snapshot_writer_free(w);
    assert_int_equal(fixture_account(f), 0);
}

static void unseen_pages_are_zero_where_that_is_said(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w = fixture_writer(f, 1);
    struct snapshot_summary s;
    struct error err;

    memset(f->vm.memory[0], 0, FIXTURE_PAGES * PAGE_BYTES);
    memset(f->vm.memory[2], 0, PAGE_BYTES);
    for (uint32_t i = 0; i < 10; i++)
        sample_page_fill(f->vm.memory[0] + i * PAGE_BYTES, 1 + i);
    assert_ok(put(w, 0, 1, 0, 10, 1, &err), &err);
    assert_ok(put(w, 0, 2, 10, 5, 0, &err), &err);
    assert_ok(sample_vm_commit(&f->vm, w, true, &s, &err), &err);

    assert_int_equal(s.pages_zero, 5);
    assert_int_equal(s.pages_unseen, FIXTURE_PAGES + 601 - 15);
    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
    snapshot_writer_free(w);
}

static void a_block_left_out_needs_no_pages(void **state)
{
    struct fixture *f = *state;
    struct page_batch *b = new_batch(1, 0, 1, 0);
    cleanup(snapshot_reader) struct snapshot_reader *r = NULL;
    struct snapshot_writer *w;
    struct snapshot_summary s;
    struct page_place place;
    struct error err;
    pgno_t next;

    f->vm.blocks.blocks[0].left_out = true;
    w = fixture_writer(f, 1);
    assert_error(snapshot_writer_put(w, 0, b, &err), &err, ERR_INVALID,
                 "'pc.ram' is left out");
    b->block = 2;
    assert_ok(snapshot_writer_put(w, 0, b, &err), &err);
    b->block = 1;
    for (pgno_t i = 0; i < 600; i++) {
        b->pgno[0] = i;
        assert_ok(snapshot_writer_put(w, 0, b, &err), &err);
    }
    assert_ok(sample_vm_commit(&f->vm, w, false, &s, &err), &err);

    assert_int_equal(s.pages_total, 601);
    assert_ok(snapshot_reader_open(f->repository, s.id, &r, &err), &err);
    assert_true(snapshot_reader_blocks(r)->blocks[0].left_out);
    assert_error(snapshot_reader_locate(r, 0, 0, &place, &err), &err,
                 ERR_INVALID, "not in the snapshot");
    assert_ok(snapshot_reader_next_data(r, 0, 0, &next, &err), &err);
    assert_int_equal(next, FIXTURE_PAGES);
    snapshot_writer_free(w);
    free(b);
}

static void what_is_not_committed_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w = fixture_writer(f, 1);
    struct error err;

    assert_ok(sample_vm_put(&f->vm, w, 0, 1, &err), &err);
    assert_int_equal(fixture_files(f, "packs/", NULL), 0);
    assert_int_equal(fixture_files(f, "locks/", NULL), 1);
    snapshot_writer_free(w);
    snapshot_writer_free(NULL);

    assert_int_equal(fixture_account(f), 0);
}

static void pages_that_do_not_exist_are_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w = fixture_writer(f, 1);
    struct page_batch *b = new_batch(1, 3, 1, 0);
    uint8_t page[PAGE_BYTES];
    struct error err;

    assert_error(snapshot_writer_put(w, 0, b, &err), &err, ERR_INVALID,
                 "block 3");
    b->block = 2;
    b->pgno[0] = 1;
    assert_error(snapshot_writer_put(w, 0, b, &err), &err, ERR_INVALID,
                 "'/rom@etc/acpi/tables' has no page 1");
    b->n = PAGE_BATCH_MAX + 1;
    assert_int_equal(snapshot_writer_put(w, 0, b, &err), ERR_INVALID);
    assert_int_equal(snapshot_writer_get(w, 9, 0, page, &err), ERR_INVALID);
    assert_int_equal(snapshot_writer_get(w, 2, 1, page, &err), ERR_INVALID);
    snapshot_writer_free(w);
    free(b);
}

static void assert_page(struct snapshot_writer *w, pgno_t pgno, uint64_t number)
{
    uint8_t page[PAGE_BYTES], expected[PAGE_BYTES];
    struct error err;

    sample_page_fill(expected, number);
    assert_ok(snapshot_writer_get(w, 0, pgno, page, &err), &err);
    assert_memory_equal(page, expected, PAGE_BYTES);
}

static void the_content_put_last_is_given_back(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w;
    uint8_t page[PAGE_BYTES];
    struct error err;

    fixture_capture(f);
    w = fixture_writer(f, 1);
    assert_error(snapshot_writer_get(w, 0, 5, page, &err), &err, ERR_NOTFOUND,
                 "page 5 of block 'pc.ram' was never sent");
    assert_ok(put(w, 0, 1, 0, 4, 1000, &err), &err);    /* an earlier pack's */
    assert_ok(put(w, 0, 2, 4, 100, 70000, &err), &err); /* frames in the ring */
    assert_ok(put(w, 0, 3, 104, 1, 80000, &err), &err); /* not a frame yet */
    assert_ok(put(w, 0, 4, 5, 1, 0, &err), &err);

    assert_page(w, 0, 1000);
    assert_page(w, 3, 1003);
    assert_page(w, 4, 70000);
    assert_page(w, 5, 0);
    assert_page(w, 103, 70099);
    assert_page(w, 104, 80000);
    snapshot_writer_free(w);
}

static void packs_are_sealed_at_their_size(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[PAGE_BATCH_MAX * PAGE_BYTES];
    struct page_batch *b;
    cleanup(snapshot_reader) struct snapshot_reader *r = NULL;
    const struct snapshot_pack *packs;
    struct snapshot_summary s;
    struct snapshot_writer *w;
    struct error err;
    uint64_t x = 7;
    size_t n;

    sample_vm_release(&f->vm);
    sample_vm_make(&f->vm, 40000);
    w = fixture_writer(f, 1);
    for (pgno_t at = 0; at < 40000; at += 125) {
        b = new_batch(at, 0, 125, at);
        for (size_t i = 0; i < 125 * PAGE_BYTES; i += 8) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            store_le64(data + i, x);
        }
        b->data = data;
        assert_ok(snapshot_writer_put(w, 0, b, &err), &err);
        free(b);
    }
    assert_ok(sample_vm_commit(&f->vm, w, true, &s, &err), &err);
    snapshot_writer_free(w);

    assert_ok(snapshot_reader_open(f->repository, s.id, &r, &err), &err);
    packs = snapshot_reader_packs(r, &n);
    assert_int_equal(n, 4); /* 160 MB in 64 MiB each, and the index */
    for (size_t i = 0; i < n; i++)
        assert_true(packs[i].bytes <= PACK_TARGET_BYTES);
}

static void an_all_zero_guest_needs_no_pack(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s;
    struct error err;

    memset(f->vm.memory[0], 0, FIXTURE_PAGES * PAGE_BYTES);
    memset(f->vm.memory[2], 0, PAGE_BYTES);
    s = fixture_capture(f);

    assert_int_equal(s.pages_zero, s.pages_total);
    assert_int_equal(fixture_files(f, "packs/", NULL), 0);
    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
}

/* Nothing may dangle: what the history promised must be there at the end. */
static void a_pack_that_went_away_meanwhile_fails_the_commit(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w;
    struct snapshot_summary s;
    struct error err;
    char name[128], path[256];
    size_t packs;

    fixture_capture(f);
    packs = fixture_files(f, "packs/", NULL);
    sample_page_fill(f->vm.memory[0], 31337);
    w = fixture_writer(f, 1);
    assert_ok(sample_vm_put(&f->vm, w, 0, 1, &err), &err);
    fixture_files(f, "packs/", name);
    snprintf(path, sizeof(path), "%s/%s", f->scratch.repo, name);
    assert_int_equal(unlink(path), 0);

    assert_error(sample_vm_commit(&f->vm, w, false, &s, &err), &err,
                 ERR_CORRUPT, "is gone or cut");
    snapshot_writer_free(w);
    assert_int_equal(fixture_files(f, "packs/", NULL), packs - 1);
    assert_int_equal(fixture_files(f, "snapshots/", NULL), 1);
    assert_int_equal(fixture_files(f, "locks/", NULL), 0);
}

static void damaged_history_only_saves_nothing(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s;
    struct error err;
    char name[128];

    s = fixture_capture(f);
    assert_true(fixture_files(f, "snapshots/", name) == 1);
    scratch_write(f->scratch.repo, name, "x", 1);
    s = fixture_capture(f);

    assert_int_equal(s.pages_stored, FIXTURE_PAGES / 5 * 4 + 1);
    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
}

static void a_verified_commit_notices_damage_that_others_do_not(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first = fixture_capture(f);
    struct snapshot_writer *w;
    struct snapshot_summary s;
    char pack[128];
    cleanup_buf struct buf b = BUF_INIT;
    struct error err;

    assert_true(first.pages_stored > 0);
    f->vm.verifies = true;
    fixture_capture(f);

    /* In the middle of the frames, where only reading the data looks. */
    assert_true(fixture_files(f, "packs/", pack) > 0);
    scratch_read(f->scratch.repo, pack, &b);
    b.data[200] ^= 1;
    scratch_write(f->scratch.repo, pack, b.data, b.len);
    f->vm.verifies = false;
    fixture_capture(f);
    f->vm.verifies = true;
    w = fixture_writer(f, 1);
    assert_ok(sample_vm_put(&f->vm, w, 0, 1, &err), &err);
    assert_error(sample_vm_commit(&f->vm, w, false, &s, &err), &err,
                 ERR_CORRUPT, "reads back damaged");
    snapshot_writer_free(w);

    assert_int_equal(fixture_files(f, "snapshots/", NULL), 3);
}

static void lanes_are_one_to_sixteen(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer_args args = {
        .repository = f->repository, .vm = "x", .vm_uuid = ""};
    struct snapshot_writer *w = NULL;
    struct error err;

    assert_error(snapshot_writer_new(&args, &w, &err), &err, ERR_INVALID,
                 "0 lanes");
    args.lanes = 17;
    assert_error(snapshot_writer_new(&args, &w, &err), &err, ERR_INVALID,
                 "17 lanes");
    assert_null(w);
}

static void what_a_capture_cost_is_kept_with_it(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    cleanup(snapshot_reader) struct snapshot_reader *reader = NULL;
    struct snapshot_cost kept;
    struct error err;

    assert_true(s.cost.cpu.ns[CPU_ZERO] > 0);
    assert_true(s.cost.cpu.ns[CPU_HASH] > 0);
    assert_true(s.cost.cpu.ns[CPU_COMPRESS] > 0);
    assert_true(s.cost.cpu.ns[CPU_WRITE] > 0);
    assert_true(s.cost.cpu.ns[CPU_INDEX] > 0);
    assert_int_equal(s.cost.cpu.ns[CPU_RECEIVE], 0);
    assert_true(s.cost.peak_bytes > 1000000);

    assert_ok(snapshot_reader_open(f->repository, s.id, &reader, &err), &err);
    snapshot_cost_parse(json_object_get(snapshot_reader_facts(reader), "cost"),
                        &kept);
    for (unsigned i = 0; i < CPU_STAGES; i++)
        assert_int_equal(kept.cpu.ns[i] / 1000, s.cost.cpu.ns[i] / 1000);
    assert_int_equal(kept.peak_bytes, s.cost.peak_bytes);
    /* What the capture found out is there as before. */
    assert_string_equal(
        json_path_str(snapshot_reader_facts(reader), "note", ""), "made up");
}

static void a_cost_that_is_none_is_zero(void **state)
{
    cleanup_json json_t *odd =
        json_pack("{s:{s:s, s:i}, s:b}", "cpu_us", "hash", "much", "write", -4,
                  "peak_bytes", 1);
    struct snapshot_cost cost;

    snapshot_cost_parse(NULL, &cost);
    assert_int_equal(cpu_stages_total(&cost.cpu), 0);
    snapshot_cost_parse(odd, &cost);
    assert_int_equal(cpu_stages_total(&cost.cpu), 0);
    assert_int_equal(cost.peak_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(what_was_put_comes_back),
        FIXTURE_TEST(a_second_capture_of_the_same_stores_nearly_nothing),
        FIXTURE_TEST(a_changed_page_costs_one_page_and_one_segment),
        FIXTURE_TEST(one_content_is_stored_once),
        FIXTURE_TEST(another_vm_shares_nothing),
        FIXTURE_TEST(the_higher_batch_counts_and_the_other_is_superseded),
        FIXTURE_TEST(a_pack_of_superseded_pages_is_not_kept),
        FIXTURE_TEST(pages_sent_again_have_a_pack_of_their_own),
        FIXTURE_TEST(a_pack_that_is_mostly_dead_is_written_again),
        FIXTURE_TEST(a_page_never_sent_forbids_the_commit),
        FIXTURE_TEST(unseen_pages_are_zero_where_that_is_said),
        FIXTURE_TEST(a_block_left_out_needs_no_pages),
        FIXTURE_TEST(what_is_not_committed_leaves_nothing),
        FIXTURE_TEST(pages_that_do_not_exist_are_refused),
        FIXTURE_TEST(the_content_put_last_is_given_back),
        FIXTURE_TEST(packs_are_sealed_at_their_size),
        FIXTURE_TEST(an_all_zero_guest_needs_no_pack),
        FIXTURE_TEST(a_pack_that_went_away_meanwhile_fails_the_commit),
        FIXTURE_TEST(damaged_history_only_saves_nothing),
        FIXTURE_TEST(a_verified_commit_notices_damage_that_others_do_not),
        FIXTURE_TEST(lanes_are_one_to_sixteen),
        FIXTURE_TEST(what_a_capture_cost_is_kept_with_it),
        cmocka_unit_test(a_cost_that_is_none_is_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

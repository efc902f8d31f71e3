#include "tests/storage/repo_fixture.h"

#include "storage/snapshot_diff.h"

static struct snapshot_reader *open_reader(struct fixture *f,
                                           const struct snapshot_summary *s)
{
    struct snapshot_reader *r;
    struct error err;

    assert_ok(snapshot_reader_open(f->repository, s->id, &r, &err), &err);
    return r;
}

/* The sum of one block's differences between two snapshots. */
static struct block_diff diff(struct fixture *f,
                              const struct snapshot_summary *a,
                              const struct snapshot_summary *b, uint32_t block)
{
    struct snapshot_reader *in_a = open_reader(f, a);
    struct snapshot_reader *in_b = open_reader(f, b);
    struct block_diff d;
    struct stopper stop;
    struct error err;

    assert_ok(stopper_init(&stop, &err), &err);
    assert_ok(block_diff_init(&d, in_a, block, in_b, block, &stop, &err), &err);
    stopper_release(&stop);
    snapshot_reader_close(in_a);
    snapshot_reader_close(in_b);
    return d;
}

static uint8_t *page_of(struct fixture *f, pgno_t pgno)
{
    return f->vm.memory[0] + pgno * PAGE_BYTES;
}

static void a_snapshot_does_not_differ_from_itself(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct block_diff d = diff(f, &s, &s, 0);

    assert_int_equal(d.same, FIXTURE_PAGES);
    assert_int_equal(block_diff_pages(&d), 0);
    assert_int_equal(d.n_ranges, 0);
    block_diff_release(&d);
}

static void each_kind_of_difference_is_counted_and_placed(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary a = fixture_capture(f), b;
    struct block_diff d, back;

    sample_page_fill(page_of(f, 10), 900001); /* changed, three in a row */
    sample_page_fill(page_of(f, 11), 900002);
    sample_page_fill(page_of(f, 12), 900003);
    sample_page_fill(page_of(f, 14), 900004); /* was zero: filled */
    sample_page_fill(page_of(f, 1600), 0);    /* cleared, another segment */
    b = fixture_capture(f);

    d = diff(f, &a, &b, 0);
    assert_int_equal(d.changed, 3);
    assert_int_equal(d.filled, 1);
    assert_int_equal(d.cleared, 1);
    assert_int_equal(d.same, FIXTURE_PAGES - 5);
    assert_int_equal(d.n_ranges, 3);
    assert_int_equal(d.ranges[0].first, 10);
    assert_int_equal(d.ranges[0].pages, 3);
    assert_int_equal(d.ranges[1].first, 14);
    assert_int_equal(d.ranges[2].first, 1600);

    back = diff(f, &b, &a, 0);
    assert_int_equal(back.changed, 3);
    assert_int_equal(back.filled, 1);
    assert_int_equal(back.cleared, 1);
    block_diff_release(&d);
    block_diff_release(&back);

    d = diff(f, &a, &b, 1);
    assert_int_equal(block_diff_pages(&d), 0);
    block_diff_release(&d);
}

/* The same content in packs of another VM: places differ, hashes do not. */
static void equal_content_elsewhere_is_the_same(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary a = fixture_capture(f), b;
    struct block_diff d;

    f->vm.name = "other";
    f->vm.uuid = "8a2b0c54-0000-4000-8000-000000000002";
    b = fixture_capture(f);
    assert_true(b.pages_stored >= FIXTURE_PAGES / 2); /* nothing shared */

    d = diff(f, &a, &b, 0);
    assert_int_equal(block_diff_pages(&d), 0);
    assert_int_equal(d.same, FIXTURE_PAGES);
    block_diff_release(&d);
}

static void what_the_shorter_block_lacks_counts_as_zero(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary a = fixture_capture(f), b;
    struct block_diff d;

    sample_vm_release(&f->vm);
    sample_vm_make(&f->vm, FIXTURE_PAGES + 1000);
    sample_vm_fill(&f->vm, 1000);
    b = fixture_capture(f);

    d = diff(f, &a, &b, 0);
    assert_int_equal(d.changed, 0);
    assert_int_equal(d.filled, 800); /* every fifth is zero */
    assert_int_equal(d.same, FIXTURE_PAGES + 200);
    assert_int_equal(d.ranges[0].first, FIXTURE_PAGES);
    block_diff_release(&d);
    d = diff(f, &b, &a, 0);
    assert_int_equal(d.cleared, 800);
    block_diff_release(&d);
}

static void a_pulled_stopper_ends_the_walk(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct snapshot_reader *r = open_reader(f, &s);
    struct block_diff d;
    struct stopper stop;
    struct error err;

    assert_ok(stopper_init(&stop, &err), &err);
    stopper_pull(&stop, ERR_INTERRUPTED);
    assert_error(block_diff_init(&d, r, 0, r, 0, &stop, &err), &err,
                 ERR_INTERRUPTED, "");
    block_diff_release(&d);
    stopper_release(&stop);
    snapshot_reader_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_snapshot_does_not_differ_from_itself),
        FIXTURE_TEST(each_kind_of_difference_is_counted_and_placed),
        FIXTURE_TEST(equal_content_elsewhere_is_the_same),
        FIXTURE_TEST(what_the_shorter_block_lacks_counts_as_zero),
        FIXTURE_TEST(a_pulled_stopper_ends_the_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

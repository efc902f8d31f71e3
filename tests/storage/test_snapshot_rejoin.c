#include "tests/storage/repo_fixture.h"

#include "storage/snapshot_cost.h"

/* Each capture writes two neighbours of the first segment, far from those of
 * the others: one place more. */
static struct snapshot_summary capture_after_writing(struct fixture *f,
                                                     unsigned k)
{
    for (pgno_t i = 0; i < 2; i++)
        sample_page_fill(f->vm.memory[0] + (10 * k + i) * PAGE_BYTES,
                         1000000 + 10 * k + i);
    return fixture_capture(f);
}

static void assert_whole(struct fixture *f, const struct snapshot_summary *s)
{
    struct error err;

    assert_ok(sample_vm_compare(&f->vm, f->repository, s->id, &err), &err);
    assert_int_equal(s->pages_total, s->pages_zero + s->pages_unseen +
                                         s->pages_duplicate + s->pages_stored -
                                         s->pages_superseded);
}

static void a_segment_comes_from_no_more_places_than_its_budget(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    uint64_t least = s.cost.places, rejoined = 0;

    assert_true(s.cost.segments > 1);
    for (unsigned k = 0; k < 50; k++) {
        s = capture_after_writing(f, k);
        assert_whole(f, &s);
        /* 32 of the first segment, and one for each of the others. */
        assert_true(s.cost.places <= 33 + least);
        if (rejoined == 0 && s.cost.rejoined_pages == 0) {
            assert_int_equal(s.pages_stored, 2);
            assert_true(s.cost.places <= least + k + 1);
        }
        rejoined += s.cost.rejoined_pages;
    }
    /* The small places only, and few times. */
    assert_in_range(rejoined, 16, 200);
}

/* What was brought together stays so: its old copies are still in packs that
 * the snapshot refers to, but the new ones are found first. */
static void the_new_places_win_from_then_on(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    uint64_t places;

    for (unsigned k = 0; k < 50 && s.cost.rejoined_pages == 0; k++)
        s = capture_after_writing(f, k);
    assert_true(s.cost.rejoined_pages > 0);
    places = s.cost.places;
    for (unsigned i = 0; i < 3; i++) {
        s = fixture_capture(f);
        assert_whole(f, &s);
        assert_int_equal(s.pages_stored, 0);
        assert_int_equal(s.cost.rejoined_pages, 0);
        assert_true(s.cost.places <= places - 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_segment_comes_from_no_more_places_than_its_budget),
        FIXTURE_TEST(the_new_places_win_from_then_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

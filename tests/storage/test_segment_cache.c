#include "tests/fakes/assert_error.h"

#include "storage/segment_cache.h"

static void put_segment(struct segment_cache *c, uint32_t block, uint64_t segno)
{
    static struct segment s;
    const struct cached_segment *ret;
    uint8_t id[16] = {1};
    struct error err;

    segment_init(&s);
    segment_add(&s, 3, id, (uint32_t)segno);
    assert_ok(segment_cache_put(c, block, segno, &s, &ret, &err), &err);
    assert_int_equal(ret->runs[0].item, segno);
}

static void a_segment_is_kept_until_another_takes_its_slot(void **state)
{
    const struct cached_segment *found;
    struct segment_cache *c;
    struct error err;

    assert_ok(segment_cache_new(&c, &err), &err);
    assert_null(segment_cache_find(c, 0, 0));
    put_segment(c, 0, 5);
    put_segment(c, 1, 5);
    found = segment_cache_find(c, 0, 5);
    assert_non_null(found);
    assert_int_equal(found->block, 0);
    assert_int_equal(found->n_runs, 1);
    assert_non_null(segment_cache_find(c, 1, 5));

    put_segment(c, 0, 5 + 4096);
    assert_null(segment_cache_find(c, 0, 5));
    assert_non_null(segment_cache_find(c, 0, 5 + 4096));
    segment_cache_free(c);
}

static void a_segment_of_the_same_place_replaces_the_older(void **state)
{
    const struct cached_segment *found;
    struct segment_cache *c;
    struct segment empty;
    struct error err;

    assert_ok(segment_cache_new(&c, &err), &err);
    put_segment(c, 2, 9);
    segment_init(&empty);
    assert_ok(segment_cache_put(c, 2, 9, &empty, &found, &err), &err);
    /* All zero, and known to be. */
    assert_ptr_equal(segment_cache_find(c, 2, 9), found);
    assert_int_equal(found->n_runs, 0);
    segment_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_is_kept_until_another_takes_its_slot),
        cmocka_unit_test(a_segment_of_the_same_place_replaces_the_older),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

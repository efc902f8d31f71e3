#include "tests/fakes/assert_error.h"

#include "storage/dedup.h"

static struct page_hash hash_of(uint64_t n)
{
    return (struct page_hash){.low = n * UINT64_C(0x9e3779b97f4a7c15),
                              .high = ~n};
}

static void what_was_added_is_found(void **state)
{
    struct dedup_place place;
    struct dedup d;

    dedup_init(&d, 1u << 20);
    assert_false(dedup_find(&d, hash_of(1), &place));
    for (uint32_t i = 0; i < 50000; i++)
        assert_true(dedup_add(&d, hash_of(i), (struct dedup_place){i % 7, i}));

    for (uint32_t i = 0; i < 50000; i++) {
        assert_true(dedup_find(&d, hash_of(i), &place));
        assert_int_equal(place.pack, i % 7);
        assert_int_equal(place.item, i);
    }
    assert_false(dedup_find(&d, hash_of(50000), &place));
    assert_int_equal(d.n, 50000);
    dedup_release(&d);
}

static void the_first_place_of_a_content_stays(void **state)
{
    struct dedup_place place;
    struct dedup d;

    dedup_init(&d, 100);
    assert_true(dedup_add(&d, hash_of(5), (struct dedup_place){1, 2}));
    assert_true(dedup_add(&d, hash_of(5), (struct dedup_place){3, 4}));

    assert_true(dedup_find(&d, hash_of(5), &place));
    assert_int_equal(place.pack, 1);
    assert_int_equal(d.n, 1);
    dedup_release(&d);
}

static void all_bits_of_the_hash_count(void **state)
{
    struct page_hash a = {.low = 1, .high = 1}, b = {.low = 1, .high = 2};
    struct dedup_place place;
    struct dedup d;

    dedup_init(&d, 100);
    assert_true(dedup_add(&d, a, (struct dedup_place){1, 2}));

    assert_false(dedup_find(&d, b, &place));
    dedup_release(&d);
}

static void a_full_table_forgets_and_goes_on(void **state)
{
    struct dedup_place place;
    struct dedup d;

    dedup_init(&d, 2000);
    for (uint32_t i = 0; i < 2000; i++)
        assert_true(dedup_add(&d, hash_of(i), (struct dedup_place){0, i}));

    assert_false(dedup_add(&d, hash_of(2000), (struct dedup_place){0, 2000}));
    assert_false(dedup_find(&d, hash_of(2000), &place));
    assert_true(dedup_find(&d, hash_of(1999), &place));
    dedup_release(&d);
}

static void memory_is_as_stated(void **state)
{
    struct dedup d;

    assert_int_equal(sizeof(struct dedup_slot), 24);
    dedup_init(&d, DEDUP_MAX_ENTRIES);
    dedup_reserve(&d, 98304);
    assert_int_equal(d.n_slots, 131072);
    for (uint32_t i = 0; i < 98304; i++)
        assert_true(dedup_add(&d, hash_of(i), (struct dedup_place){0, i}));
    assert_int_equal(d.n_slots, 131072);
    assert_true(dedup_add(&d, hash_of(98304), (struct dedup_place){0, 1}));
    assert_int_equal(d.n_slots, 262144);
    dedup_release(&d);
    assert_null(d.slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_found),
        cmocka_unit_test(the_first_place_of_a_content_stays),
        cmocka_unit_test(all_bits_of_the_hash_count),
        cmocka_unit_test(a_full_table_forgets_and_goes_on),
        cmocka_unit_test(memory_is_as_stated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

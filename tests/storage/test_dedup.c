#include "tests/fakes/assert_error.h"

#include "storage/dedup.h"

static struct page_hash hash_of(uint64_t n)
{
    return (struct page_hash){.low = n * UINT64_C(0x9e3779b97f4a7c15),
                              .high = (n + 1) * UINT64_C(0xd6e8feb86659fd93)};
}

static void what_was_added_is_found(void **state)
{
    struct dedup_place place;
    struct place_book book = {0};
    struct dedup d;

    dedup_init(&d, &book, 1u << 20);
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
    place_book_release(&book);
}

static void the_first_place_of_a_content_stays(void **state)
{
    struct dedup_place place;
    struct place_book book = {0};
    struct dedup d;

    dedup_init(&d, &book, 100);
    assert_true(dedup_add(&d, hash_of(5), (struct dedup_place){1, 2}));
    assert_true(dedup_add(&d, hash_of(5), (struct dedup_place){3, 4}));

    assert_true(dedup_find(&d, hash_of(5), &place));
    assert_int_equal(place.pack, 1);
    assert_int_equal(d.n, 1);
    dedup_release(&d);
    place_book_release(&book);
}

static void a_full_table_forgets_and_goes_on(void **state)
{
    struct dedup_place place;
    struct place_book book = {0};
    struct dedup d;

    dedup_init(&d, &book, 2000);
    for (uint32_t i = 0; i < 2000; i++)
        assert_true(dedup_add(&d, hash_of(i), (struct dedup_place){0, i}));

    assert_false(dedup_add(&d, hash_of(2000), (struct dedup_place){0, 2000}));
    assert_false(dedup_find(&d, hash_of(2000), &place));
    assert_true(dedup_find(&d, hash_of(1999), &place));
    dedup_release(&d);
    place_book_release(&book);
}

/* Whatever their number, just grown or just before it. */
static void memory_is_as_stated(void **state)
{
    const uint32_t loose = DEDUP_LOOSE_ENTRIES;
    struct place_book book = {0};
    struct dedup d;

    dedup_init(&d, &book, DEDUP_MAX_ENTRIES);
    for (uint32_t i = 0; i < 2 * loose; i++) {
        uint64_t bytes;

        assert_true(dedup_add(&d, hash_of(i), (struct dedup_place){0, i}));
        if (i < loose / 8 || i % 10000 != 0)
            continue;
        bytes = dedup_bytes(&d);
        assert_true(bytes >= (uint64_t)i * 29 / 2);
        /* At the limit shards are on either side of it. */
        if (i < loose / 10 * 9)
            assert_in_range(bytes, (uint64_t)i * 20, (uint64_t)i * 33);
        assert_true(bytes <= MAX((uint64_t)loose * 33, (uint64_t)i * 17));
    }
    assert_in_range(dedup_bytes(&d), (uint64_t)loose * 29,
                    (uint64_t)loose * 34);
    dedup_release(&d);
    assert_null(d.shards);
    place_book_release(&book);
}

static void reserve_and_fill(uint32_t n, uint32_t least, uint32_t most)
{
    struct place_book book = {0};
    struct dedup d;
    uint64_t bytes;

    dedup_init(&d, &book, DEDUP_MAX_ENTRIES);
    dedup_reserve(&d, n);
    bytes = dedup_bytes(&d);
    assert_in_range(bytes, (uint64_t)n * least, (uint64_t)n * most);
    for (uint32_t i = 0; i < n; i++)
        assert_true(dedup_add(&d, hash_of(i), (struct dedup_place){0, i}));
    /* Only the shards that got more than their part grew. */
    assert_in_range(dedup_bytes(&d), bytes, bytes / 10 * 14);
    dedup_release(&d);
    place_book_release(&book);
}

static void reserved_room_is_taken_at_once_and_not_twice(void **state)
{
    reserve_and_fill(500000, 20, 24);
    reserve_and_fill(DEDUP_LOOSE_ENTRIES / 2 * 3, 14, 17);
}

/* 88 of them; each of these is one. */
static void the_bits_that_are_said_to_count_do(void **state)
{
    static const unsigned bits[] = {0,  17, 31,  32,  63, 64,
                                    70, 79, 120, 121, 127};

    for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
        struct place_book book = {0};
        struct page_hash a = hash_of(77), b = a;
        struct dedup_place place;
        struct dedup d;

        if (bits[i] < 64)
            b.low ^= UINT64_C(1) << bits[i];
        else
            b.high ^= UINT64_C(1) << (bits[i] - 64);
        dedup_init(&d, &book, 100);
        assert_true(dedup_add(&d, a, (struct dedup_place){1, 2}));
        assert_false(dedup_find(&d, b, &place));
        assert_true(dedup_add(&d, b, (struct dedup_place){3, 4}));
        assert_true(dedup_find(&d, a, &place));
        assert_int_equal(place.pack, 1);
        assert_true(dedup_find(&d, b, &place));
        assert_int_equal(place.pack, 3);
        dedup_release(&d);
        place_book_release(&book);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_found),
        cmocka_unit_test(the_first_place_of_a_content_stays),
        cmocka_unit_test(a_full_table_forgets_and_goes_on),
        cmocka_unit_test(memory_is_as_stated),
        cmocka_unit_test(reserved_room_is_taken_at_once_and_not_twice),
        cmocka_unit_test(the_bits_that_are_said_to_count_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include "storage/packs/page_hash.h"

static void known_checksums_come_out(void **state)
{
    /* Of the empty string, as `xxhsum -H3` and `-H2` print them. */
    assert_true(checksum64("", 0, 0) == UINT64_C(0x2d06800538d394c2));
    assert_true(checksum128("", 0, 0).high == UINT64_C(0x99aa06d3014798d8));
    assert_true(checksum128("", 0, 0).low == UINT64_C(0x6001c324468d497f));
}

static void a_seed_changes_a_checksum(void **state)
{
    assert_true(checksum64("firn", 4, 0) != checksum64("firn", 4, 1));
    assert_false(
        page_hash_equal(checksum128("firn", 4, 0), checksum128("firn", 4, 1)));
}

static void a_stored_hash_has_its_high_half_first(void **state)
{
    static const uint8_t want[] = {0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47,
                                   0x98, 0xd8, 0x60, 0x01, 0xc3, 0x24,
                                   0x46, 0x8d, 0x49, 0x7f};
    uint8_t stored[PAGE_HASH_BYTES];

    page_hash_store(stored, checksum128("", 0, 0));

    assert_memory_equal(stored, want, sizeof(want));
    assert_true(page_hash_equal(page_hash_load(stored), checksum128("", 0, 0)));
}

static void each_byte_of_the_secret_changes_the_hash_of_a_page(void **state)
{
    struct hash_key key = {.id = 1};
    uint8_t page[4096] = {0};
    struct page_hash plain;

    for (size_t i = 0; i < sizeof(key.secret); i++)
        key.secret[i] = (uint8_t)(i * 73 + 5);
    plain = page_hash_of(&key, page, sizeof(page));
    for (size_t i = 0; i < sizeof(key.secret); i++) {
        key.secret[i] ^= 0x10;
        assert_false(
            page_hash_equal(page_hash_of(&key, page, sizeof(page)), plain));
        key.secret[i] ^= 0x10;
    }
    assert_true(page_hash_equal(page_hash_of(&key, page, sizeof(page)), plain));
}

static void each_byte_of_a_page_changes_its_hash(void **state)
{
    const struct hash_key key = {.secret = {1, 2, 3}};
    uint8_t page[4096] = {0};
    struct page_hash plain = page_hash_of(&key, page, sizeof(page));

    for (size_t i = 0; i < sizeof(page); i++) {
        page[i] = 1;
        assert_false(
            page_hash_equal(page_hash_of(&key, page, sizeof(page)), plain));
        page[i] = 0;
    }
}

static void both_halves_count_when_hashes_are_compared(void **state)
{
    const struct page_hash a = {.low = 1, .high = 2};

    assert_true(page_hash_equal(a, a));
    assert_false(page_hash_equal(a, (struct page_hash){.low = 1, .high = 3}));
    assert_false(page_hash_equal(a, (struct page_hash){.low = 0, .high = 2}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_checksums_come_out),
        cmocka_unit_test(a_seed_changes_a_checksum),
        cmocka_unit_test(a_stored_hash_has_its_high_half_first),
        cmocka_unit_test(each_byte_of_the_secret_changes_the_hash_of_a_page),
        cmocka_unit_test(each_byte_of_a_page_changes_its_hash),
        cmocka_unit_test(both_halves_count_when_hashes_are_compared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include "core/base/cursor.h"

static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

static void numbers_are_read_in_both_byte_orders(void **state)
{
    struct cursor c = cursor_of(bytes, sizeof(bytes));
    struct cursor again = c;
    uint8_t v8;
    uint16_t v16;
    uint32_t v32;
    uint64_t v64;

    assert_true(cursor_u8(&c, &v8) && v8 == 1);
    assert_true(cursor_be16(&c, &v16) && v16 == 0x0203);
    assert_true(cursor_le16(&c, &v16) && v16 == 0x0504);
    assert_true(cursor_be32(&c, &v32) && v32 == 0x06070809);
    assert_int_equal(cursor_left(&c), 0);
    c = again;
    assert_true(cursor_le32(&c, &v32) && v32 == 0x04030201);
    c = again;
    assert_true(cursor_be64(&c, &v64));
    assert_true(v64 == UINT64_C(0x0102030405060708));
    c = again;
    assert_true(cursor_le64(&c, &v64));
    assert_true(v64 == UINT64_C(0x0807060504030201));
}

/* What a getter of n bytes does with each shorter rest. */
#define ASSERT_STOPS_SHORT(getter, type)              \
    for (size_t len = 0; len < sizeof(type); len++) { \
        struct cursor c = cursor_of(bytes, len);      \
        type v = 0x55;                                \
                                                      \
        assert_false(getter(&c, &v));                 \
        assert_true(v == 0x55);                       \
        assert_int_equal(c.pos, 0);                   \
    }

static void a_read_past_the_end_changes_nothing(void **state)
{
    ASSERT_STOPS_SHORT(cursor_u8, uint8_t)
    ASSERT_STOPS_SHORT(cursor_be16, uint16_t)
    ASSERT_STOPS_SHORT(cursor_be32, uint32_t)
    ASSERT_STOPS_SHORT(cursor_be64, uint64_t)
    ASSERT_STOPS_SHORT(cursor_le16, uint16_t)
    ASSERT_STOPS_SHORT(cursor_le32, uint32_t)
    ASSERT_STOPS_SHORT(cursor_le64, uint64_t)
}

static void bytes_are_given_in_place_and_never_more_than_there_are(void **state)
{
    struct cursor c = cursor_of(bytes, 5);
    const uint8_t *p = NULL;

    assert_true(cursor_skip(&c, 2));
    assert_true(cursor_bytes(&c, 3, &p));
    assert_ptr_equal(p, bytes + 2);
    assert_false(cursor_bytes(&c, 1, &p));
    assert_false(cursor_skip(&c, SIZE_MAX));
    assert_true(cursor_bytes(&c, 0, &p));
    assert_int_equal(c.pos, 5);
}

static void a_counted_string_is_copied_whole(void **state)
{
    uint8_t raw[256] = {255};
    struct cursor c = cursor_of("\3abcd", 5);
    char text[256];

    assert_true(cursor_str8(&c, text));
    assert_string_equal(text, "abc");
    assert_int_equal(c.pos, 4);

    memset(raw + 1, 'x', 255);
    c = cursor_of(raw, sizeof(raw));
    assert_true(cursor_str8(&c, text));
    assert_int_equal(strlen(text), 255);

    c = cursor_of("\0", 1);
    assert_true(cursor_str8(&c, text));
    assert_string_equal(text, "");
}

static void a_string_cut_or_with_a_nul_inside_is_refused(void **state)
{
    char text[256] = "before";

    for (size_t len = 0; len < 4; len++) {
        struct cursor c = cursor_of("\3abc", len);

        assert_false(cursor_str8(&c, text));
        assert_int_equal(c.pos, 0);
    }
    struct cursor c = cursor_of("\3a\0c", 4);

    assert_false(cursor_str8(&c, text));
    assert_int_equal(c.pos, 0);
    assert_string_equal(text, "before");
}

static void sums_and_products_that_wrap_are_refused(void **state)
{
    uint64_t v = 7;

    assert_false(add_checked(UINT64_MAX, 1, &v));
    assert_false(mul_checked(UINT64_C(1) << 32, UINT64_C(1) << 32, &v));
    assert_true(v == 7);
    assert_true(add_checked(UINT64_MAX - 1, 1, &v) && v == UINT64_MAX);
    assert_true(mul_checked(UINT64_C(1) << 32, 3, &v) && v == UINT64_C(3)
                                                                  << 32);
}

static void stores_and_loads_belong_together(void **state)
{
    uint8_t raw[8] = {0};

    store_be16(raw, 0x0102);
    assert_int_equal(raw[0], 1);
    assert_int_equal(load_be16(raw), 0x0102);
    store_le32(raw, 0x01020304);
    assert_int_equal(raw[0], 4);
    assert_int_equal(load_le32(raw), 0x01020304);
    store_be32(raw, 0x01020304);
    assert_int_equal(load_be32(raw), 0x01020304);
    store_le16(raw, 0x0102);
    assert_int_equal(load_le16(raw), 0x0102);
    store_le64(raw, UINT64_MAX - 5);
    assert_true(load_le64(raw) == UINT64_MAX - 5);
    store_be64(raw, UINT64_MAX - 5);
    assert_true(load_be64(raw) == UINT64_MAX - 5);
}

static void alignment_goes_up(void **state)
{
    assert_true(align_up(0, 4096) == 0);
    assert_true(align_up(1, 4096) == 4096);
    assert_true(align_up(4096, 4096) == 4096);
    assert_true(is_aligned(8192, 4096));
    assert_false(is_aligned(8191, 4096));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_read_in_both_byte_orders),
        cmocka_unit_test(a_read_past_the_end_changes_nothing),
        cmocka_unit_test(
            bytes_are_given_in_place_and_never_more_than_there_are),
        cmocka_unit_test(a_counted_string_is_copied_whole),
        cmocka_unit_test(a_string_cut_or_with_a_nul_inside_is_refused),
        cmocka_unit_test(sums_and_products_that_wrap_are_refused),
        cmocka_unit_test(stores_and_loads_belong_together),
        cmocka_unit_test(alignment_goes_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

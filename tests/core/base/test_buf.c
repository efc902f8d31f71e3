#include "tests/fakes/assert_error.h"

#include "core/base/buf.h"

static void an_empty_buffer_needs_no_memory(void **state)
{
    struct buf b = BUF_INIT;

    assert_string_equal(buf_str(&b), "");
    buf_reset(&b);
    buf_consume(&b, 0);
    buf_release(&b);
    assert_null(b.data);
}

static void bytes_are_appended_in_order(void **state)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err;

    for (unsigned i = 0; i < 10000; i++)
        assert_ok(buf_append_u8(&b, (uint8_t)(i * 7), &err), &err);

    assert_int_equal(b.len, 10000);
    assert_true(b.cap >= b.len);
    for (unsigned i = 0; i < 10000; i++)
        assert_int_equal(b.data[i], (uint8_t)(i * 7));
}

static void numbers_have_the_byte_order_of_their_name(void **state)
{
    static const uint8_t want[] = {
        0x12, 0x34, 0x12, 0x34, 0x56, 0x78, 1, 2, 3, 4, 5, 6, 7, 8,
        0x34, 0x12, 0x78, 0x56, 0x34, 0x12, 8, 7, 6, 5, 4, 3, 2, 1,
    };
    cleanup_buf struct buf b = BUF_INIT;
    struct error err;

    assert_ok(buf_append_be16(&b, 0x1234, &err), &err);
    assert_ok(buf_append_be32(&b, 0x12345678, &err), &err);
    assert_ok(buf_append_be64(&b, UINT64_C(0x0102030405060708), &err), &err);
    assert_ok(buf_append_le16(&b, 0x1234, &err), &err);
    assert_ok(buf_append_le32(&b, 0x12345678, &err), &err);
    assert_ok(buf_append_le64(&b, UINT64_C(0x0102030405060708), &err), &err);

    assert_int_equal(b.len, sizeof(want));
    assert_memory_equal(b.data, want, sizeof(want));
}

static void text_is_appended_without_its_nul(void **state)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err;

    assert_ok(buf_printf(&b, &err, "%s-%d", "a", 5), &err);
    assert_ok(buf_printf(&b, &err, "%s", ""), &err);
    assert_ok(buf_printf(&b, &err, ";%0100d", 1), &err);

    assert_int_equal(b.len, 3 + 101);
    assert_string_equal(buf_str(&b) + 103, "1");
    assert_memory_equal(buf_str(&b), "a-5;0", 5);
}

static void buf_str_needs_no_memory_at_any_length(void **state)
{
    struct error err;

    for (size_t n = 0; n < 300; n++) {
        cleanup_buf struct buf b = BUF_INIT;
        uint8_t *data;

        for (size_t i = 0; i < n; i++)
            assert_ok(buf_append_u8(&b, 'x', &err), &err);
        data = b.data;
        assert_int_equal(strlen(buf_str(&b)), n);
        assert_ptr_equal(b.data, data);
    }
}

static void consuming_moves_the_rest_to_the_front(void **state)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err;

    assert_ok(buf_append(&b, "abcdef", 6, &err), &err);
    buf_consume(&b, 2);
    assert_string_equal(buf_str(&b), "cdef");
    buf_consume(&b, 4);
    assert_int_equal(b.len, 0);
}

static void resetting_keeps_the_memory(void **state)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err;
    uint8_t *data;

    assert_ok(buf_reserve(&b, 1000, &err), &err);
    data = b.data;
    assert_ok(buf_append(&b, "abc", 3, &err), &err);
    buf_reset(&b);
    assert_ok(buf_reserve(&b, 1000, &err), &err);

    assert_int_equal(b.len, 0);
    assert_ptr_equal(b.data, data);
}

static void what_cannot_be_had_is_no_memory_and_harms_nothing(void **state)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err;

    assert_ok(buf_append(&b, "abc", 3, &err), &err);
    assert_error(buf_reserve(&b, SIZE_MAX, &err), &err, ERR_NOMEM,
                 "out of memory");
    assert_error(buf_reserve(&b, SIZE_MAX - 3, &err), &err, ERR_NOMEM,
                 "out of memory");
    assert_error(buf_reserve(&b, SIZE_MAX / 2, &err), &err, ERR_NOMEM,
                 "out of memory");

    assert_string_equal(buf_str(&b), "abc");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_needs_no_memory),
        cmocka_unit_test(bytes_are_appended_in_order),
        cmocka_unit_test(numbers_have_the_byte_order_of_their_name),
        cmocka_unit_test(text_is_appended_without_its_nul),
        cmocka_unit_test(buf_str_needs_no_memory_at_any_length),
        cmocka_unit_test(consuming_moves_the_rest_to_the_front),
        cmocka_unit_test(resetting_keeps_the_memory),
        cmocka_unit_test(what_cannot_be_had_is_no_memory_and_harms_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/core/vm/assert_error.h"

#include "core/wire/stream_encoder.h"
#include "tests/core/wire/stream_maker.h"

static void the_first_record_names_its_block_the_next_continues(void **state)
{
    struct ram_encoder e = {0};
    uint8_t head[RAM_RECORD_HEADER_MAX + 1];

    assert_int_equal(ram_encoder_page(&e, "pc.ram", 1, head), 15);
    assert_memory_equal(head, "\0\0\0\0\0\0\x10\x08\6pc.ram", 15);
    assert_int_equal(ram_encoder_page(&e, "pc.ram", 2, head), 8);
    assert_memory_equal(head, "\0\0\0\0\0\0\x20\x28", 8);
    assert_int_equal(ram_encoder_zero(&e, "pc.ram", 0x123456, head), 9);
    assert_memory_equal(head, "\0\0\0\1\x23\x45\x60\x22\0", 9);
}

static void another_block_is_named_again(void **state)
{
    struct ram_encoder e = {0};
    uint8_t head[RAM_RECORD_HEADER_MAX + 1];
    char copy[] = "pc.ram";

    assert_int_equal(ram_encoder_zero(&e, "pc.ram", 0, head), 16);
    assert_int_equal(ram_encoder_zero(&e, "pc.bios", 0, head), 17);
    assert_int_equal(ram_encoder_zero(&e, "pc.ram", 0, head), 16);
    assert_int_equal(ram_encoder_zero(&e, copy, 0, head), 9);
}

static void the_longest_name_fits_its_bound(void **state)
{
    struct ram_encoder e = {0};
    uint8_t head[RAM_RECORD_HEADER_MAX + 1];
    char name[256];

    memset(name, 'n', 255);
    name[255] = '\0';

    assert_int_equal(ram_encoder_zero(&e, name, 0, head), sizeof(head));
    assert_int_equal(head[8], 255);
}

static void a_delta_longer_than_a_page_is_refused(void **state)
{
    static uint8_t bytes[PAGE_BYTES + 1];
    const struct buf delta = {.data = bytes, .len = sizeof(bytes)};
    cleanup_buf struct buf b = BUF_INIT;
    struct ram_encoder e = {0};
    struct error err;

    assert_error(ram_encoder_put_xbzrle(&e, "pc.ram", 0, &delta, &b, &err),
                 &err, ERR_INVALID, "exceeds a page");
    assert_int_equal(b.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_record_names_its_block_the_next_continues),
        cmocka_unit_test(another_block_is_named_again),
        cmocka_unit_test(the_longest_name_fits_its_bound),
        cmocka_unit_test(a_delta_longer_than_a_page_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/core/vm/assert_error.h"

#include "core/vm/received_bitmap.h"

/* 70 pages are two words; pages 0, 9, 63, 64 and 69 are there. */
static const uint64_t words[] = {UINT64_C(1) << 63 | 1 << 9 | 1,
                                 UINT64_C(1) << 5 | 1};
static const uint8_t wire[] = {
    0,    0,    0,    0,    0,    0,    0,    16,   /* bytes */
    1,    2,    0,    0,    0,    0,    0,    0x80, /* pages 0 to 63 */
    0x21, 0,    0,    0,    0,    0,    0,    0,    /* 64 to 69 */
    1,    0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
};

static struct input input_of(const void *data, size_t len)
{
    return (struct input){.at = cursor_of(data, len), .base = 100};
}

static void the_exchanged_form_is_little_endian_bits_in_a_frame(void **state)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err;

    assert_int_equal(received_bitmap_put(&b, words, 70, &err), 0);

    assert_int_equal(b.len, sizeof(wire));
    assert_memory_equal(b.data, wire, sizeof(wire));
}

static void the_exchanged_form_reads_back(void **state)
{
    struct input in = input_of(wire, sizeof(wire));
    cleanup_free uint64_t *got = NULL;
    uint64_t n = 0;
    struct error err;

    assert_int_equal(received_bitmap_get(&in, &got, &n, &err), 0);

    assert_int_equal(n, 128);
    assert_int_equal(got[0], words[0]);
    assert_int_equal(got[1], words[1]);
    assert_int_equal(cursor_left(&in.at), 0);
}

static void each_prefix_says_how_much_it_needs(void **state)
{
    uint64_t *got = NULL;
    uint64_t n = 0;
    struct error err;

    for (size_t len = 0; len < sizeof(wire); len++) {
        struct input in = input_of(wire, len);

        assert_int_equal(received_bitmap_get(&in, &got, &n, &err), 1);
        assert_int_equal(in.need, len < 8 ? 8 : sizeof(wire));
        assert_int_equal(in.at.pos, 0);
        assert_null(got);
    }
}

static void flipped_bits_of_the_frame_are_refused(void **state)
{
    uint8_t copy[sizeof(wire)];
    struct error err;

    for (size_t bit = 0; bit < sizeof(wire) * 8; bit++) {
        bool frame = bit / 8 < 8 || bit / 8 >= sizeof(wire) - 8;
        cleanup_free uint64_t *got = NULL;
        struct input in = input_of(copy, sizeof(copy));
        uint64_t n;
        int rc;

        memcpy(copy, wire, sizeof(wire));
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        rc = received_bitmap_get(&in, &got, &n, &err);
        if (frame)
            assert_int_not_equal(rc, 0);
        else
            assert_int_equal(rc, 0);
    }
}

static void
a_length_beyond_any_block_is_refused_before_it_is_awaited(void **state)
{
    static const uint8_t head[8] = {0, 0, 0, 1};
    struct input in = input_of(head, sizeof(head));
    uint64_t *got = NULL;
    uint64_t n;
    struct error err;

    assert_error(received_bitmap_get(&in, &got, &n, &err), &err, ERR_PROTOCOL,
                 "received bitmap of 4294967296 bytes at stream offset 100");
}

static void loading_replaces_what_was_there(void **state)
{
    struct received_bitmap r;
    struct error err;

    assert_int_equal(received_bitmap_init(&r, 70, &err), 0);
    received_bitmap_add(&r, 20, 10);
    assert_int_equal(received_bitmap_count(&r), 10);

    assert_int_equal(received_bitmap_load(&r, words, 128, &err), 0);

    assert_int_equal(received_bitmap_count(&r), 5);
    assert_true(received_bitmap_has(&r, 69));
    assert_false(received_bitmap_has(&r, 20));
    received_bitmap_release(&r);
}

static void a_bitmap_of_another_block_is_refused(void **state)
{
    static const uint64_t too_far[] = {0, UINT64_C(1) << 6};
    struct received_bitmap r;
    struct error err;

    assert_int_equal(received_bitmap_init(&r, 70, &err), 0);

    assert_error(received_bitmap_load(&r, words, 64, &err), &err, ERR_PROTOCOL,
                 "64 bits for a block of 70 pages");
    assert_error(received_bitmap_load(&r, too_far, 128, &err), &err,
                 ERR_PROTOCOL, "pages behind the block's 70");
    assert_int_equal(received_bitmap_count(&r), 0);
    received_bitmap_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_exchanged_form_is_little_endian_bits_in_a_frame),
        cmocka_unit_test(the_exchanged_form_reads_back),
        cmocka_unit_test(each_prefix_says_how_much_it_needs),
        cmocka_unit_test(flipped_bits_of_the_frame_are_refused),
        cmocka_unit_test(
            a_length_beyond_any_block_is_refused_before_it_is_awaited),
        cmocka_unit_test(loading_replaces_what_was_there),
        cmocka_unit_test(a_bitmap_of_another_block_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

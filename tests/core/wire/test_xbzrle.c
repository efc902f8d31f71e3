#include "tests/core/vm/assert_error.h"

#include "core/wire/xbzrle.h"

static void known_deltas_do_what_the_format_says(void **state)
{
    /* Skip 2, copy "ab"; skip 200 (0xc8 0x01), copy "Z". */
    static const uint8_t delta[] = {2, 2, 'a', 'b', 0xc8, 1, 1, 'Z'};
    uint8_t page[PAGE_BYTES];
    uint8_t want[PAGE_BYTES];
    struct error err;

    memset(page, '.', sizeof(page));
    memcpy(want, page, sizeof(want));
    want[2] = 'a';
    want[3] = 'b';
    want[204] = 'Z';

    assert_int_equal(xbzrle_apply(page, delta, sizeof(delta), &err), 0);

    assert_memory_equal(page, want, sizeof(want));
}

static void a_delta_may_begin_without_a_skip_and_fill_the_page(void **state)
{
    uint8_t delta[3 + PAGE_BYTES] = {0, 0x80, PAGE_BYTES >> 7};
    uint8_t page[PAGE_BYTES] = {0};
    struct error err;

    memset(delta + 3, 0x55, PAGE_BYTES);

    assert_int_equal(xbzrle_apply(page, delta, sizeof(delta), &err), 0);

    assert_memory_equal(page, delta + 3, PAGE_BYTES);
}

static void malformed_deltas_are_refused_with_their_place(void **state)
{
    static const struct {
        uint8_t delta[8];
        size_t len;
        const char *piece;
    } cases[] = {
        {{1}, 1, "count at byte 0 of 1 is malformed"},
        {{0x80}, 1, "count at byte 0"},
        {{0x80, 0x80, 1}, 3, "count at byte 0"},
        {{1, 0}, 2, "run at byte 0 of 2 is empty"},
        {{1, 1, 'a', 0, 1, 'b'}, 6, "run at byte 3 of 6 is empty"},
        {{1, 3, 'a', 'b'}, 4, "run at byte 0 of 4 is cut"},
        {{0xff, 0x1f, 2, 'a', 'b'}, 5, "ends behind the page"},
        {{0x80, 0x20, 1, 'a'}, 4, "ends behind the page"},
        {{0xff, 0x7f, 0xff, 0x7f}, 4, "ends behind the page"},
    };
    uint8_t page[PAGE_BYTES] = {0};
    struct error err;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_error(xbzrle_apply(page, cases[i].delta, cases[i].len, &err),
                     &err, ERR_PROTOCOL, cases[i].piece);
}

static void make_pages(unsigned *seed, uint8_t *old, uint8_t *new)
{
    int changes = rand_r(seed) % 200;

    for (size_t i = 0; i < PAGE_BYTES; i++)
        old[i] = new[i] = (uint8_t)rand_r(seed);
    for (int i = 0; i < changes; i++) {
        size_t at = (size_t)rand_r(seed) % PAGE_BYTES;
        size_t n = 1 + (size_t)rand_r(seed) % 300;

        for (size_t k = at; k < MIN(at + n, PAGE_BYTES); k++)
            new[k] = (uint8_t)rand_r(seed);
    }
}

static void what_was_encoded_leads_to_the_same_page(void **state)
{
    uint8_t old[PAGE_BYTES];
    uint8_t new[PAGE_BYTES];
    unsigned seed = 3;
    struct error err;

    for (int round = 0; round < 300; round++) {
        cleanup_buf struct buf delta = BUF_INIT;

        make_pages(&seed, old, new);
        assert_int_equal(xbzrle_encode(&delta, old, new, &err), 0);
        assert_int_equal(xbzrle_apply(old, delta.data, delta.len, &err), 0);
        assert_memory_equal(old, new, PAGE_BYTES);
    }
}

static void equal_pages_have_no_delta(void **state)
{
    uint8_t page[PAGE_BYTES] = {1, 2, 3};
    cleanup_buf struct buf delta = BUF_INIT;
    struct error err;

    assert_int_equal(xbzrle_encode(&delta, page, page, &err), 0);
    assert_int_equal(delta.len, 0);
}

static void prefixes_and_flipped_bits_stay_within_the_page(void **state)
{
    /* Guards on both sides; ASan watches the delta's own end. */
    struct {
        uint8_t before[64];
        uint8_t page[PAGE_BYTES];
        uint8_t behind[64];
    } area = {0};
    static const uint8_t zeros[64];
    uint8_t old[PAGE_BYTES];
    uint8_t new[PAGE_BYTES];
    cleanup_buf struct buf delta = BUF_INIT;
    unsigned seed = 9;
    struct error err;

    make_pages(&seed, old, new);
    assert_int_equal(xbzrle_encode(&delta, old, new, &err), 0);

    for (size_t len = 0; len < delta.len; len++) {
        cleanup_free uint8_t *cut = malloc(len + 1);

        memcpy(cut, delta.data, len);
        if (xbzrle_apply(area.page, cut, len, &err) < 0)
            assert_int_equal(err.code, ERR_PROTOCOL);
    }
    for (size_t bit = 0; bit < delta.len * 8; bit++) {
        delta.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (xbzrle_apply(area.page, delta.data, delta.len, &err) < 0)
            assert_int_equal(err.code, ERR_PROTOCOL);
        delta.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_memory_equal(area.before, zeros, sizeof(zeros));
    assert_memory_equal(area.behind, zeros, sizeof(zeros));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_deltas_do_what_the_format_says),
        cmocka_unit_test(a_delta_may_begin_without_a_skip_and_fill_the_page),
        cmocka_unit_test(malformed_deltas_are_refused_with_their_place),
        cmocka_unit_test(what_was_encoded_leads_to_the_same_page),
        cmocka_unit_test(equal_pages_have_no_delta),
        cmocka_unit_test(prefixes_and_flipped_bits_stay_within_the_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include "core/codec/byte_sample.h"

#define LEN 32768u

static uint64_t state = 88172645463325252u;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * UINT64_C(0x9e3779b97f4a7c15) >> 8;
}

static void fill(uint8_t *p, size_t len, uint64_t values)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(next() % values);
}

static void random_bytes_are_seen_nearly_always(void **unused)
{
    uint8_t data[LEN];
    unsigned seen = 0;

    for (unsigned i = 0; i < 1000; i++) {
        size_t len = i % 2 ? LEN : BYTE_SAMPLE_LEAST;

        fill(data, len, 256);
        seen += byte_sample_look(data, len) == BYTES_RANDOM;
    }
    assert_in_range(seen, 990, 1000);
}

/* 128 values are an eighth less. */
static void what_a_byte_coder_makes_smaller_is_not_random(void **unused)
{
    uint8_t data[LEN];

    for (unsigned i = 0; i < 1000; i++) {
        fill(data, LEN, 128 - i % 100);
        assert_int_not_equal(byte_sample_look(data, LEN), BYTES_RANDOM);
    }
}

/* Of eight pages: one of zeros, or two of text. */
static void some_pages_that_are_not_random_are_enough(void **unused)
{
    uint8_t data[LEN];

    for (size_t at = 0; at < LEN; at += 4096) {
        fill(data, LEN, 256);
        memset(data + at, 0, 4096);
        assert_int_not_equal(byte_sample_look(data, LEN), BYTES_RANDOM);
        fill(data, LEN, 256);
        fill(data + at / 8192 * 8192, 8192, 20);
        assert_int_not_equal(byte_sample_look(data, LEN), BYTES_RANDOM);
    }
}

static void little_is_never_random(void **unused)
{
    uint8_t data[BYTE_SAMPLE_LEAST - 1];

    fill(data, sizeof(data), 256);
    assert_int_equal(byte_sample_look(data, sizeof(data)), BYTES_SKEWED);
    assert_int_equal(byte_sample_look(data, 0), BYTES_SKEWED);
}

static void text_is_skewed_however_short_its_alphabet(void **unused)
{
    uint8_t data[LEN];

    for (unsigned values = 2; values < 40; values++) {
        fill(data, LEN, values);
        /* No zero among them: those are counted apart. */
        for (size_t i = 0; i < LEN; i++)
            data[i] = (uint8_t)(data[i] + 'a');
        assert_int_equal(byte_sample_look(data, LEN), BYTES_SKEWED);
    }
}

static void half_zeros_or_half_random_is_flat(void **unused)
{
    uint8_t data[LEN];

    fill(data, LEN, 20);
    memset(data, 0, LEN / 2 + 4096);
    assert_int_equal(byte_sample_look(data, LEN), BYTES_FLAT);
    fill(data, LEN, 256);
    fill(data, LEN / 4, 20);
    assert_int_equal(byte_sample_look(data, LEN), BYTES_FLAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_bytes_are_seen_nearly_always),
        cmocka_unit_test(what_a_byte_coder_makes_smaller_is_not_random),
        cmocka_unit_test(some_pages_that_are_not_random_are_enough),
        cmocka_unit_test(little_is_never_random),
        cmocka_unit_test(text_is_skewed_however_short_its_alphabet),
        cmocka_unit_test(half_zeros_or_half_random_is_flat),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

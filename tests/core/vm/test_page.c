#include "tests/core/vm/assert_error.h"

#include "core/vm/page.h"

static void a_page_of_zeros_is_zero(void **state)
{
    uint8_t bytes[PAGE_BYTES + 16] = {0};

    for (size_t shift = 0; shift < 16; shift++)
        assert_true(page_is_zero(bytes + shift));
}

static void one_bit_anywhere_is_seen(void **state)
{
    uint8_t bytes[PAGE_BYTES] = {0};

    for (size_t i = 0; i < PAGE_BYTES; i++) {
        bytes[i] = (uint8_t)(1u << i % 8);
        assert_false(page_is_zero(bytes));
        bytes[i] = 0;
    }
    assert_true(page_is_zero(bytes));
}

static void bytes_behind_the_page_do_not_count(void **state)
{
    uint8_t bytes[PAGE_BYTES + 2] = {0};

    bytes[0] = 1;
    bytes[PAGE_BYTES + 1] = 1;
    assert_true(page_is_zero(bytes + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_of_zeros_is_zero),
        cmocka_unit_test(one_bit_anywhere_is_seen),
        cmocka_unit_test(bytes_behind_the_page_do_not_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

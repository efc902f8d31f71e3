#include "tests/core/vm/assert_error.h"

#include "core/vm/device_state.h"

static void released_state_is_empty_and_may_be_released_again(void **state)
{
    struct device_state d = {.n_sections = 2};
    struct error err;

    assert_int_equal(buf_append(&d.tail, "tail", 4, &err), 0);
    assert_int_equal(buf_append(&d.vmdesc, "{}", 2, &err), 0);
    assert_int_equal(buf_append(&d.early, "early", 5, &err), 0);
    d.sections = calloc(2, sizeof(*d.sections));

    device_state_release(&d);
    device_state_release(&d);

    assert_null(d.sections);
    assert_int_equal(d.n_sections, 0);
    assert_int_equal(d.tail.len + d.vmdesc.len + d.early.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(released_state_is_empty_and_may_be_released_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include "snapshot/host_speed.h"

static void some_speed_is_found(void **state)
{
    struct error err;
    struct stopper stop;
    uint64_t speed = 0;

    (void)state;
    assert_ok(stopper_init(&stop, &err), &err);
    assert_ok(host_speed_measure(1, 2, &stop, &speed, &err), &err);
    assert_true(speed > 100000);
    stopper_release(&stop);
}

static void the_stopper_ends_it(void **state)
{
    struct error err;
    struct stopper stop;
    uint64_t speed = 0;

    (void)state;
    assert_ok(stopper_init(&stop, &err), &err);
    stopper_pull(&stop, ERR_INTERRUPTED);
    assert_int_equal(host_speed_measure(1, 2, &stop, &speed, &err),
                     ERR_INTERRUPTED);
    stopper_release(&stop);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(some_speed_is_found),
        cmocka_unit_test(the_stopper_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

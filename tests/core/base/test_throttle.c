#include "tests/fakes/assert_error.h"

#include <pthread.h>

#include "core/base/clock.h"
#include "core/base/throttle.h"

#define FOR_EVER (UINT64_C(1) << 40)

struct fixture {
    struct stopper stop;
    struct throttle throttle;
    struct error err;
    int rc;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_ok(stopper_init(&f->stop, &f->err), &f->err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    stopper_release(&f->stop);
    free(f);
    return 0;
}

static void *wait_for_ever(void *arg)
{
    struct fixture *f = arg;

    f->rc = throttle_take(&f->throttle, FOR_EVER, &f->stop, &f->err);
    return NULL;
}

static void test_without_a_limit_it_returns_at_once(void **state)
{
    struct fixture *f = *state;

    throttle_init(&f->throttle, 0);
    wait_for_ever(f);
    assert_int_equal(f->rc, 0);
}

static void test_who_waits_is_ended_by_the_stopper(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    throttle_init(&f->throttle, 1);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, f), 0);
    stopper_pull(&f->stop, ERR_INTERRUPTED);
    pthread_join(thread, NULL);
    assert_int_equal(f->rc, ERR_INTERRUPTED);
}

static void test_opening_frees_who_waits_and_all_after_it(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    throttle_init(&f->throttle, 1);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, f), 0);
    throttle_open(&f->throttle);
    pthread_join(thread, NULL);
    assert_int_equal(f->rc, 0);
    wait_for_ever(f);
    assert_int_equal(f->rc, 0);
}

static void test_urgent_work_is_counted(void **state)
{
    struct fixture *f = *state;

    throttle_init(&f->throttle, 1000000);
    throttle_take_urgent(&f->throttle, 800000);
    assert_true(f->throttle.bucket.due_ns > clock_monotonic_ns());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_without_a_limit_it_returns_at_once,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_waits_is_ended_by_the_stopper,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_opening_frees_who_waits_and_all_after_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_urgent_work_is_counted, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

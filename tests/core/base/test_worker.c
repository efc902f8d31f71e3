#include "tests/fakes/assert_error.h"

#include <signal.h>
#include <unistd.h>

#include "core/base/stopper.h"
#include "core/base/worker.h"

struct fixture {
    struct worker_group group;
    struct stopper stop;
    _Atomic unsigned cancels;
    _Atomic unsigned runs;
    _Atomic bool signals_blocked;
    char name[16];
    struct error err;
};

static void cancel(void *arg)
{
    struct fixture *f = arg;

    f->cancels++;
    stopper_pull(&f->stop, ERR_CANCELLED);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_ok(stopper_init(&f->stop, &f->err), &f->err);
    worker_group_init(&f->group, cancel, f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    worker_group_release(&f->group);
    stopper_release(&f->stop);
    free(f);
    return 0;
}

static int run_well(void *arg, struct error *err)
{
    struct fixture *f = arg;

    f->runs++;
    return 0;
}

static int run_badly(void *arg, struct error *err)
{
    return fail(err, ERR_NOSPC, "no room");
}

/* Until somebody else cancels; then fails as well. */
static int run_until_cancelled(void *arg, struct error *err)
{
    struct fixture *f = arg;

    return stopper_wait(&f->stop, -1, 0, 0, err);
}

static void start(struct fixture *f, int (*main)(void *, struct error *))
{
    assert_ok(worker_start(&f->group, "worker", main, f, &f->err), &f->err);
}

static void each_thread_runs_once(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < WORKER_MAX; i++)
        start(f, run_well);
    assert_ok(worker_group_join(&f->group, &f->err), &f->err);

    assert_int_equal(f->runs, WORKER_MAX);
    assert_int_equal(f->cancels, 0);
    assert_int_equal(f->group.n_threads, 0);
}

static void the_first_error_wins_and_cancels_the_others(void **state)
{
    struct fixture *f = *state;

    start(f, run_until_cancelled);
    start(f, run_until_cancelled);
    start(f, run_badly);

    assert_error(worker_group_join(&f->group, &f->err), &f->err, ERR_NOSPC,
                 "no room");
    assert_int_equal(f->cancels, 1);
}

static void an_error_from_outside_counts_as_one_of_the_group(void **state)
{
    struct fixture *f = *state;
    struct error why;

    start(f, run_until_cancelled);
    fail(&why, ERR_TIMEOUT, "too late");
    worker_group_fail(&f->group, &why);
    fail(&why, ERR_IO, "a later one");
    worker_group_fail(&f->group, &why);

    assert_error(worker_group_join(&f->group, &f->err), &f->err, ERR_TIMEOUT,
                 "too late");
    assert_int_equal(f->cancels, 1);
}

static int look_around(void *arg, struct error *err)
{
    struct fixture *f = arg;
    sigset_t blocked;

    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    f->signals_blocked =
        sigismember(&blocked, SIGINT) && sigismember(&blocked, SIGTERM);
    pthread_getname_np(pthread_self(), f->name, sizeof(f->name));
    return 0;
}

static void threads_have_a_name_and_no_signals(void **state)
{
    struct fixture *f = *state;
    sigset_t before;
    sigset_t after;

    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_ok(worker_start(&f->group, "a name that is long", look_around, f,
                           &f->err),
              &f->err);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_ok(worker_group_join(&f->group, &f->err), &f->err);

    assert_true(f->signals_blocked);
    assert_string_equal(f->name, "a name that is ");
    assert_int_equal(sigismember(&after, SIGINT), sigismember(&before, SIGINT));
}

static void a_group_may_be_released_with_threads_inside(void **state)
{
    struct fixture *f = *state;

    start(f, run_until_cancelled);
    stopper_pull(&f->stop, ERR_CANCELLED);
    worker_group_release(&f->group);
    /* And once more by the tear-down, which does nothing. */
    assert_int_equal(f->group.n_threads, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_thread_runs_once),
        TEST(the_first_error_wins_and_cancels_the_others),
        TEST(an_error_from_outside_counts_as_one_of_the_group),
        TEST(threads_have_a_name_and_no_signals),
        TEST(a_group_may_be_released_with_threads_inside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/stopper.h"

struct fixture {
    struct stopper stop;
    int ends[2];
    struct error err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_ok(stopper_init(&f->stop, &f->err), &f->err);
    assert_int_equal(pipe(f->ends), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    stopper_release(&f->stop);
    close(f->ends[0]);
    close(f->ends[1]);
    free(f);
    return 0;
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

static void a_new_stopper_is_quiet(void **state)
{
    struct fixture *f = *state;

    assert_false(stopper_pulled(&f->stop));
    assert_false(is_readable(stopper_fd(&f->stop)));
}

static void the_first_reason_stays(void **state)
{
    struct fixture *f = *state;

    stopper_pull(&f->stop, ERR_TIMEOUT);
    stopper_pull(&f->stop, ERR_INTERRUPTED);

    assert_true(stopper_pulled(&f->stop));
    assert_true(is_readable(stopper_fd(&f->stop)));
    assert_error(stopper_error(&f->stop, &f->err), &f->err, ERR_TIMEOUT,
                 "the time limit is over");
}

static void each_reason_has_its_words(void **state)
{
    static const struct {
        int code;
        const char *words;
    } cases[] = {{ERR_INTERRUPTED, "interrupted"},
                 {ERR_TERMINATED, "ended by a signal"},
                 {ERR_CANCELLED, "another part failed first"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct stopper stop;
        struct error err;

        assert_ok(stopper_init(&stop, &err), &err);
        stopper_pull(&stop, cases[i].code);
        assert_error(stopper_error(&stop, &err), &err, cases[i].code,
                     cases[i].words);
        stopper_release(&stop);
    }
}

static void pulling_may_be_repeated_without_end(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 100000; i++)
        stopper_pull(&f->stop, ERR_CANCELLED);
    assert_true(is_readable(stopper_fd(&f->stop)));
}

static void a_ready_descriptor_ends_the_wait(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(write(f->ends[1], "x", 1), 1);
    assert_ok(stopper_wait(&f->stop, f->ends[0], POLLIN, 0, &f->err), &f->err);
    assert_ok(stopper_wait(&f->stop, f->ends[1], POLLOUT, 0, &f->err), &f->err);
}

static void a_closed_peer_ends_the_wait(void **state)
{
    struct fixture *f = *state;

    close(f->ends[1]);
    f->ends[1] = -1;
    assert_ok(stopper_wait(&f->stop, f->ends[0], POLLIN, 0, &f->err), &f->err);
}

static void a_pulled_stopper_goes_before_a_ready_descriptor(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(write(f->ends[1], "x", 1), 1);
    stopper_pull(&f->stop, ERR_TERMINATED);

    assert_error(stopper_wait(&f->stop, f->ends[0], POLLIN, 0, &f->err),
                 &f->err, ERR_TERMINATED, "ended by a signal");
}

static void *pull(void *arg)
{
    stopper_pull(arg, ERR_CANCELLED);
    return NULL;
}

static void a_wait_without_deadline_ends_when_pulled(void **state)
{
    struct fixture *f = *state;
    pthread_t other;

    pthread_create(&other, NULL, pull, &f->stop);
    assert_error(stopper_wait(&f->stop, f->ends[0], POLLIN, 0, &f->err),
                 &f->err, ERR_CANCELLED, "another part");
    pthread_join(other, NULL);
}

static void a_deadline_ends_the_wait(void **state)
{
    struct fixture *f = *state;
    uint64_t deadline = clock_monotonic_ns() + 5 * NS_PER_MS;

    assert_error(stopper_wait(&f->stop, f->ends[0], POLLIN, deadline, &f->err),
                 &f->err, ERR_TIMEOUT, "time limit");
    assert_true(clock_monotonic_ns() >= deadline);
    /* Over before it began. */
    assert_error(stopper_wait(&f->stop, f->ends[0], POLLIN, 1, &f->err),
                 &f->err, ERR_TIMEOUT, "time limit");
}

static void signals_pull(void **state)
{
    static const struct {
        int number;
        int code;
    } cases[] = {{SIGINT, ERR_INTERRUPTED},
                 {SIGTERM, ERR_TERMINATED},
                 {SIGHUP, ERR_TERMINATED}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct stopper stop;
        struct error err;

        assert_ok(stopper_init(&stop, &err), &err);
        assert_ok(stopper_watch_signals(&stop, &err), &err);
        raise(cases[i].number);
        assert_true(stopper_pulled(&stop));
        assert_int_equal(stopper_error(&stop, &err), cases[i].code);
        stopper_release(&stop);
    }
}

static void the_second_signal_of_a_kind_ends_the_process(void **state)
{
    struct fixture *f = *state;
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (stopper_watch_signals(&f->stop, &f->err) < 0)
            _exit(1);
        raise(SIGINT);
        raise(SIGTERM);
        if (!stopper_pulled(&f->stop))
            _exit(2);
        raise(SIGINT);
        _exit(3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGINT);
}

static void on_signal(int number)
{
}

static void the_handlers_of_before_come_back(void **state)
{
    struct fixture *f = *state;
    const struct sigaction mine = {.sa_handler = on_signal};
    struct sigaction now;

    sigaction(SIGTERM, &mine, NULL);
    assert_ok(stopper_watch_signals(&f->stop, &f->err), &f->err);
    sigaction(SIGTERM, NULL, &now);
    assert_ptr_not_equal(now.sa_handler, on_signal);
    stopper_release(&f->stop);

    sigaction(SIGTERM, NULL, &now);
    assert_ptr_equal(now.sa_handler, on_signal);
    signal(SIGTERM, SIG_DFL);
    assert_ok(stopper_init(&f->stop, &f->err), &f->err);
}

static void a_signal_that_was_ignored_stays_ignored(void **state)
{
    struct fixture *f = *state;

    /* As under nohup. */
    signal(SIGHUP, SIG_IGN);
    assert_ok(stopper_watch_signals(&f->stop, &f->err), &f->err);
    raise(SIGHUP);
    assert_false(stopper_pulled(&f->stop));
    raise(SIGINT);
    assert_true(stopper_pulled(&f->stop));
    stopper_release(&f->stop);
    assert_ptr_equal(signal(SIGHUP, SIG_DFL), SIG_IGN);
    assert_ok(stopper_init(&f->stop, &f->err), &f->err);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* Whoever starts the tests may ignore signals (nohup, a job in the background
 * of a script), and ignored ones stay ignored. */
static int default_signals(void **state)
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_stopper_is_quiet),
        TEST(the_first_reason_stays),
        cmocka_unit_test(each_reason_has_its_words),
        TEST(pulling_may_be_repeated_without_end),
        TEST(a_ready_descriptor_ends_the_wait),
        TEST(a_closed_peer_ends_the_wait),
        TEST(a_pulled_stopper_goes_before_a_ready_descriptor),
        TEST(a_wait_without_deadline_ends_when_pulled),
        TEST(a_deadline_ends_the_wait),
        cmocka_unit_test(signals_pull),
        TEST(the_second_signal_of_a_kind_ends_the_process),
        TEST(the_handlers_of_before_come_back),
        TEST(a_signal_that_was_ignored_stays_ignored),
    };

    return cmocka_run_group_tests(tests, default_signals, NULL);
}

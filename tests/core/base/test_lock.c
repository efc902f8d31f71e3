#include "tests/fakes/assert_error.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "core/base/clock.h"
#include "core/base/lock.h"

#define THREADS 4u
#define ROUNDS  20000u

struct counted {
    struct lock lock; /* `n`, `turn` */
    struct condition changed;
    unsigned n;
    unsigned turn;
};

static void init(struct counted *c)
{
    *c = (struct counted){0};
    lock_init(&c->lock);
    condition_init(&c->changed);
}

static void release(struct counted *c)
{
    condition_release(&c->changed);
    lock_release(&c->lock);
}

static void *count(void *arg)
{
    struct counted *c = arg;

    for (unsigned i = 0; i < ROUNDS; i++) {
        LOCK_SCOPE(&c->lock);

        c->n++;
    }
    return NULL;
}

static void what_a_lock_protects_is_changed_by_one_at_a_time(void **state)
{
    pthread_t threads[THREADS];
    struct counted c;

    init(&c);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, count, &c);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    assert_int_equal(c.n, THREADS * ROUNDS);
    release(&c);
}

static void *take_turns(void *arg)
{
    struct counted *c = arg;

    for (unsigned i = 1; i < 200; i += 2) {
        LOCK_SCOPE(&c->lock);

        while (c->turn != i)
            condition_wait(&c->changed, &c->lock);
        c->turn++;
        condition_wake_all(&c->changed);
    }
    return NULL;
}

static void a_wait_ends_when_its_time_is_over(void **state)
{
    uint64_t until = clock_monotonic_ns() + 5 * NS_PER_MS;
    struct counted c;

    init(&c);
    {
        LOCK_SCOPE(&c.lock);
        while (condition_wait_until(&c.changed, &c.lock, until))
            continue;
    }
    assert_true(clock_monotonic_ns() >= until);
    release(&c);
}

static void *take_a_turn_in_time(void *arg)
{
    uint64_t until = clock_monotonic_ns() + 20 * NS_PER_SEC;
    struct counted *c = arg;
    LOCK_SCOPE(&c->lock);

    while (c->turn == 0)
        c->n += !condition_wait_until(&c->changed, &c->lock, until);
    return NULL;
}

static void a_wait_with_a_time_is_woken_before_it(void **state)
{
    pthread_t other;
    struct counted c;

    init(&c);
    pthread_create(&other, NULL, take_a_turn_in_time, &c);
    {
        LOCK_SCOPE(&c.lock);
        c.turn = 1;
        condition_wake_all(&c.changed);
    }
    pthread_join(other, NULL);
    assert_int_equal(c.n, 0);
    release(&c);
}

static void a_condition_wakes_who_waits(void **state)
{
    pthread_t other;
    struct counted c;

    init(&c);
    pthread_create(&other, NULL, take_turns, &c);
    for (unsigned i = 0; i < 200; i += 2) {
        LOCK_SCOPE(&c.lock);

        while (c.turn != i)
            condition_wait(&c.changed, &c.lock);
        c.turn++;
        condition_wake_all(&c.changed);
    }
    pthread_join(other, NULL);

    assert_int_equal(c.turn, 200);
    release(&c);
}

static void a_scope_lets_go_however_it_is_left(void **state)
{
    struct counted c;

    init(&c);
    for (unsigned i = 0; i < 3; i++) {
        LOCK_SCOPE(&c.lock);

        if (i == 1)
            continue;
        c.n++;
    }
    lock_take(&c.lock);
    assert_int_equal(c.n, 2);
    lock_drop(&c.lock);
    release(&c);
}

/* How a child ends that runs `body`. */
static int status_of(void (*body)(void))
{
    const struct rlimit no_core = {0, 0};
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        fclose(stderr);
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void take_two(void)
{
    struct counted a;
    struct counted b;

    init(&a);
    init(&b);
    lock_take(&a.lock);
    lock_take(&b.lock);
}

static void take_one_after_the_other(void)
{
    struct counted a;
    struct counted b;

    init(&a);
    init(&b);
    lock_take(&a.lock);
    lock_drop(&a.lock);
    lock_take(&b.lock);
    lock_drop(&b.lock);
}

static void a_thread_that_takes_a_second_lock_aborts(void **state)
{
#ifdef NDEBUG
    skip();
#endif
    int status = status_of(take_two);

    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    status = status_of(take_one_after_the_other);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_lock_protects_is_changed_by_one_at_a_time),
        cmocka_unit_test(a_condition_wakes_who_waits),
        cmocka_unit_test(a_wait_ends_when_its_time_is_over),
        cmocka_unit_test(a_wait_with_a_time_is_woken_before_it),
        cmocka_unit_test(a_scope_lets_go_however_it_is_left),
        cmocka_unit_test(a_thread_that_takes_a_second_lock_aborts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

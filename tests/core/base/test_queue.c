#include "tests/fakes/assert_error.h"

#include "core/base/queue.h"

#define ITEMS 5000u
#define BOUND 25u

struct parcel {
    struct queue_item item; /* first */
    unsigned number;
};

/* Written by the thread that releases the queue. */
static unsigned dropped;

static void drop(struct queue_item *item)
{
    dropped++;
    free(item);
}

static int set_up(void **state)
{
    struct queue *q = calloc(1, sizeof(*q));

    dropped = 0;
    queue_init(q, BOUND, drop);
    *state = q;
    return 0;
}

static int tear_down(void **state)
{
    queue_release(*state);
    free(*state);
    return 0;
}

static struct queue_item *parcel(unsigned number, size_t bytes)
{
    struct parcel *p = calloc(1, sizeof(*p));

    p->item.bytes = bytes;
    p->number = number;
    return &p->item;
}

static unsigned take_number(struct queue *q)
{
    struct parcel *p = (struct parcel *)queue_take(q);
    unsigned number = p ? p->number : UINT32_MAX;

    free(p);
    return number;
}

static void items_come_out_in_order(void **state)
{
    for (unsigned i = 0; i < 5; i++)
        assert_true(queue_put(*state, parcel(i, 5)));
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(take_number(*state), i);
    /* And again, after it ran empty. */
    assert_true(queue_put(*state, parcel(7, 5)));
    assert_int_equal(take_number(*state), 7);
}

static void *put_many(void *arg)
{
    for (unsigned i = 0; i < ITEMS; i++) {
        if (!queue_put(arg, parcel(i, 10)))
            return arg;
    }
    queue_close(arg);
    return NULL;
}

static void a_producer_waits_at_the_bound(void **state)
{
    struct queue *q = *state;
    pthread_t producer;
    void *failed;
    size_t most = 0;

    pthread_create(&producer, NULL, put_many, q);
    for (unsigned i = 0; i < ITEMS; i++) {
        lock_take(&q->lock);
        most = MAX(most, q->bytes);
        lock_drop(&q->lock);
        assert_int_equal(take_number(q), i);
        queue_done(q);
    }
    assert_null(queue_take(q));
    pthread_join(producer, &failed);

    assert_null(failed);
    assert_true(most <= BOUND);
}

static void a_large_item_passes_an_empty_queue(void **state)
{
    assert_true(queue_put(*state, parcel(1, 100 * BOUND)));
    assert_int_equal(take_number(*state), 1);
}

static void a_closed_queue_is_drained_and_then_ends(void **state)
{
    assert_true(queue_put(*state, parcel(1, 1)));
    assert_true(queue_put(*state, parcel(2, 1)));
    queue_close(*state);

    assert_int_equal(take_number(*state), 1);
    assert_int_equal(take_number(*state), 2);
    assert_null(queue_take(*state));
    assert_null(queue_take(*state));
}

static void a_cancelled_queue_ends_at_once_and_drops_the_rest(void **state)
{
    struct queue_item *late = parcel(3, 1);

    assert_true(queue_put(*state, parcel(1, 1)));
    assert_true(queue_put(*state, parcel(2, 1)));
    queue_cancel(*state);

    assert_null(queue_take(*state));
    assert_false(queue_put(*state, late));
    free(late); /* it stays ours */
    queue_release(*state);
    assert_int_equal(dropped, 2);
}

static void *put_until_refused(void *arg)
{
    unsigned taken = 0;

    for (;;) {
        struct queue_item *item = parcel(0, 10);

        if (!queue_put(arg, item)) {
            free(item);
            return (void *)(uintptr_t)taken;
        }
        taken++;
    }
}

static void *take_until_end(void *arg)
{
    uintptr_t taken = 0;
    struct queue_item *item;

    while ((item = queue_take(arg))) {
        free(item);
        queue_done(arg);
        taken++;
    }
    return (void *)taken;
}

static void cancelling_wakes_a_waiting_producer(void **state)
{
    pthread_t producer;
    void *taken;

    pthread_create(&producer, NULL, put_until_refused, *state);
    queue_cancel(*state);
    pthread_join(producer, &taken);

    assert_in_range((uintptr_t)taken, 0, 2);
    queue_release(*state);
    assert_int_equal(dropped, (uintptr_t)taken);
}

static void closing_and_cancelling_wake_waiting_consumers(void **state)
{
    static void (*const end[])(struct queue *) = {queue_close, queue_cancel};

    for (size_t i = 0; i < ARRAY_LEN(end); i++) {
        pthread_t consumers[3];
        void *taken;
        struct queue q;

        queue_init(&q, BOUND, drop);
        for (unsigned t = 0; t < 3; t++)
            pthread_create(&consumers[t], NULL, take_until_end, &q);
        end[i](&q);
        for (unsigned t = 0; t < 3; t++) {
            pthread_join(consumers[t], &taken);
            assert_null(taken);
        }
        queue_release(&q);
    }
}

static void many_threads_lose_and_double_nothing(void **state)
{
    pthread_t producers[3];
    pthread_t consumers[3];
    uintptr_t sum = 0;
    void *n;

    for (unsigned t = 0; t < 3; t++)
        pthread_create(&consumers[t], NULL, take_until_end, *state);
    for (unsigned t = 0; t < 2; t++)
        pthread_create(&producers[t], NULL, put_until_refused, *state);
    for (unsigned i = 0; i < ITEMS; i++)
        assert_true(queue_put(*state, parcel(i, 10)));
    queue_cancel(*state);
    for (unsigned t = 0; t < 2; t++) {
        pthread_join(producers[t], &n);
        sum += (uintptr_t)n;
    }
    sum += ITEMS;
    for (unsigned t = 0; t < 3; t++) {
        pthread_join(consumers[t], &n);
        sum -= (uintptr_t)n;
    }
    queue_release(*state);

    assert_int_equal(sum, dropped);
}

struct worker {
    struct queue *queue;
    _Atomic unsigned finished;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct queue_item *item;

    while ((item = queue_take(w->queue))) {
        free(item);
        w->finished++;
        queue_done(w->queue);
    }
    return NULL;
}

static void draining_waits_for_what_is_in_work_too(void **state)
{
    struct worker w = {.queue = *state};
    pthread_t worker;

    pthread_create(&worker, NULL, work, &w);
    for (unsigned round = 1; round <= 200; round++) {
        for (unsigned i = 0; i < 5; i++)
            assert_true(queue_put(*state, parcel(i, 10)));
        assert_true(queue_drain(*state));
        assert_int_equal(w.finished, round * 5);
    }
    queue_close(*state);
    pthread_join(worker, NULL);
}

static void *cancel(void *arg)
{
    queue_cancel(arg);
    return NULL;
}

static void draining_ends_when_cancelled(void **state)
{
    pthread_t other;

    assert_true(queue_put(*state, parcel(1, 1)));
    pthread_create(&other, NULL, cancel, *state);

    assert_false(queue_drain(*state));
    pthread_join(other, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(items_come_out_in_order),
        TEST(a_producer_waits_at_the_bound),
        TEST(a_large_item_passes_an_empty_queue),
        TEST(a_closed_queue_is_drained_and_then_ends),
        TEST(a_cancelled_queue_ends_at_once_and_drops_the_rest),
        TEST(cancelling_wakes_a_waiting_producer),
        TEST(closing_and_cancelling_wake_waiting_consumers),
        TEST(many_threads_lose_and_double_nothing),
        TEST(draining_waits_for_what_is_in_work_too),
        TEST(draining_ends_when_cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

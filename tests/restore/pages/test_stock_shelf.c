#include "tests/fakes/assert_error.h"

#include <unistd.h>

#include "core/base/worker.h"
#include "restore/pages/stock_shelf.h"

#define BATCH_PAGES 4u
#define FOR_ALL     6u /* batches that fill and plan may have, of eight */

struct bench {
    struct stock_shelf shelf;
    unsigned n_ready;
};

static void on_ready(void *arg)
{
    ((struct bench *)arg)->n_ready++;
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct error err;

    assert_ok(stock_shelf_init(&b->shelf, BATCH_PAGES, on_ready, b, &err),
              &err);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    stock_shelf_release(&b->shelf);
    free(b);
    return 0;
}

static struct shelf_batch *fill(struct bench *b, enum page_turn turn,
                                pgno_t pgno)
{
    struct shelf_batch *batch = stock_shelf_await(&b->shelf, turn);

    assert_non_null(batch);
    batch->shown = (struct stock_batch){.n = 1};
    batch->pages[0] = (struct stock_page){.pgno = pgno, .data = batch->room};
    memset(batch->room, 0x5a, BATCH_PAGES * PAGE_BYTES);
    stock_shelf_show(&b->shelf, batch, turn);
    return batch;
}

static void batches_of_a_turn_are_taken_in_their_order(void **state)
{
    struct bench *b = *state;
    const struct stock_batch *got;

    fill(b, PAGE_TURN_FILL, 1);
    fill(b, PAGE_TURN_NEAR, 2);
    fill(b, PAGE_TURN_FILL, 3);
    assert_int_equal(b->n_ready, 3);
    assert_null(stock_shelf_take(&b->shelf, PAGE_TURN_PREFETCH));
    for (pgno_t p = 1; p <= 3; p += 2) {
        got = stock_shelf_take(&b->shelf, PAGE_TURN_FILL);
        assert_int_equal(got->pages[0].pgno, p);
        assert_int_equal(got->turn, PAGE_TURN_FILL);
        stock_shelf_give(&b->shelf, got);
    }
    assert_null(stock_shelf_take(&b->shelf, PAGE_TURN_FILL));
    got = stock_shelf_take(&b->shelf, PAGE_TURN_NEAR);
    assert_int_equal(got->pages[0].pgno, 2);
    stock_shelf_give(&b->shelf, got);
}

/* A filler that waits: for a batch of `turn`, or for a page asked for. */
struct filler {
    struct stock_shelf *shelf;
    enum page_turn turn;
    struct shelf_batch *got;
    bool work;
    _Atomic bool back;
};

static int await_batch(void *arg, struct error *err)
{
    struct filler *f = arg;

    f->got = stock_shelf_await(f->shelf, f->turn);
    f->back = true;
    return 0;
}

static int await_asked(void *arg, struct error *err)
{
    struct filler *f = arg;

    f->work = stock_shelf_has_work(f->shelf, false, true);
    f->back = true;
    return 0;
}

static void no_cancel(void *arg)
{
}

static void start(struct worker_group *g, struct filler *f,
                  int (*main)(void *arg, struct error *err))
{
    struct error err;

    worker_group_init(g, no_cancel, NULL);
    assert_ok(worker_start(g, "filler", main, f, &err), &err);
    usleep(2000); /* it waits, or will find the same when it comes */
    assert_false(f->back);
}

static void finish(struct worker_group *g)
{
    struct error err;

    assert_ok(worker_group_join(g, &err), &err);
    worker_group_release(g);
}

static void the_last_two_are_for_what_lies_near_only(void **state)
{
    struct bench *b = *state;
    struct filler f = {.shelf = &b->shelf, .turn = PAGE_TURN_PREFETCH};
    const struct stock_batch *first;
    struct worker_group g;

    for (unsigned i = 0; i < FOR_ALL; i++)
        fill(b, PAGE_TURN_FILL, i);
    first = stock_shelf_take(&b->shelf, PAGE_TURN_FILL);
    start(&g, &f, await_batch);
    stock_shelf_give(&b->shelf, first);
    finish(&g);
    assert_non_null(f.got);
    for (unsigned i = 0; i < SHELF_BATCHES - FOR_ALL; i++)
        fill(b, PAGE_TURN_NEAR, i);
    assert_int_equal(b->n_ready, SHELF_BATCHES);
}

static void a_fill_that_waits_gives_way_to_a_page_asked_for(void **state)
{
    struct bench *b = *state;
    struct filler f = {.shelf = &b->shelf, .turn = PAGE_TURN_FILL};
    struct page_position at;
    struct worker_group g;

    for (unsigned i = 0; i < FOR_ALL; i++)
        fill(b, PAGE_TURN_FILL, i);
    start(&g, &f, await_batch);
    stock_shelf_ask(&b->shelf, 3, 77);
    finish(&g);
    assert_null(f.got);
    assert_true(stock_shelf_next_asked(&b->shelf, &at));
    assert_int_equal(at.block, 3);
    assert_int_equal(at.pgno, 77);
    assert_false(stock_shelf_next_asked(&b->shelf, &at));
}

static void a_plan_does_not_give_way_and_stop_ends_its_wait(void **state)
{
    struct bench *b = *state;
    struct filler f = {.shelf = &b->shelf, .turn = PAGE_TURN_PREFETCH};
    struct worker_group g;

    for (unsigned i = 0; i < FOR_ALL; i++)
        fill(b, PAGE_TURN_FILL, i);
    start(&g, &f, await_batch);
    stock_shelf_ask(&b->shelf, 0, 1);
    usleep(2000);
    assert_false(f.back);
    stock_shelf_stop(&b->shelf);
    finish(&g);
    assert_null(f.got);
    assert_null(stock_shelf_await(&b->shelf, PAGE_TURN_NEAR));
    assert_false(stock_shelf_has_work(&b->shelf, true, false));
}

static void the_page_asked_for_last_comes_first(void **state)
{
    struct bench *b = *state;
    struct page_position at;

    for (pgno_t p = 0; p < SHELF_ASKED + 1; p++)
        stock_shelf_ask(&b->shelf, 0, p);
    /* One too many: the older half is forgotten. */
    for (pgno_t p = SHELF_ASKED; p >= SHELF_ASKED / 2; p--) {
        assert_true(stock_shelf_next_asked(&b->shelf, &at));
        assert_int_equal(at.pgno, p);
    }
    assert_false(stock_shelf_next_asked(&b->shelf, &at));
}

static void who_has_nothing_to_do_waits_for_a_page_asked_for(void **state)
{
    struct bench *b = *state;
    struct filler f = {.shelf = &b->shelf};
    struct worker_group g;

    assert_true(stock_shelf_has_work(&b->shelf, true, true));
    assert_false(stock_shelf_has_work(&b->shelf, false, false));
    start(&g, &f, await_asked);
    stock_shelf_ask(&b->shelf, 0, 5);
    finish(&g);
    assert_true(f.work);
    assert_true(stock_shelf_has_work(&b->shelf, false, false));
}

static void it_is_ahead_when_the_plan_came_back(void **state)
{
    struct bench *b = *state;
    const struct stock_batch *got;

    fill(b, PAGE_TURN_PREFETCH, 1);
    fill(b, PAGE_TURN_FILL, 2);
    assert_false(stock_shelf_is_ahead(&b->shelf));
    stock_shelf_set_planned(&b->shelf);
    assert_int_equal(b->n_ready, 3);
    assert_false(stock_shelf_is_ahead(&b->shelf));
    got = stock_shelf_take(&b->shelf, PAGE_TURN_PREFETCH);
    assert_false(stock_shelf_is_ahead(&b->shelf));
    stock_shelf_give(&b->shelf, got);
    assert_true(stock_shelf_is_ahead(&b->shelf));
}

static void it_is_done_when_the_filler_ended_and_all_came_back(void **state)
{
    struct bench *b = *state;
    const struct stock_batch *got;

    fill(b, PAGE_TURN_FILL, 1);
    got = stock_shelf_take(&b->shelf, PAGE_TURN_FILL);
    stock_shelf_end(&b->shelf, stock_shelf_await(&b->shelf, PAGE_TURN_FILL));
    assert_int_equal(b->n_ready, 2);
    assert_true(stock_shelf_is_ahead(&b->shelf));
    assert_false(stock_shelf_is_done(&b->shelf));
    stock_shelf_give(&b->shelf, got);
    assert_true(stock_shelf_is_done(&b->shelf));
}

#define SHELF_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SHELF_TEST(batches_of_a_turn_are_taken_in_their_order),
        SHELF_TEST(the_last_two_are_for_what_lies_near_only),
        SHELF_TEST(a_fill_that_waits_gives_way_to_a_page_asked_for),
        SHELF_TEST(a_plan_does_not_give_way_and_stop_ends_its_wait),
        SHELF_TEST(the_page_asked_for_last_comes_first),
        SHELF_TEST(who_has_nothing_to_do_waits_for_a_page_asked_for),
        SHELF_TEST(it_is_ahead_when_the_plan_came_back),
        SHELF_TEST(it_is_done_when_the_filler_ended_and_all_came_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

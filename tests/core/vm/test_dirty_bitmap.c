#include "tests/core/vm/assert_error.h"

#include <pthread.h>

#include "core/vm/dirty_bitmap.h"

struct fixture {
    struct ramblock_list blocks;
    struct dirty_bitmap *d;
    struct error err;
};

/* Blocks of 200, 0 and 70 pages. */
static int set_up(void **state)
{
    static const uint64_t pages[] = {200, 0, 70};
    struct fixture *f = calloc(1, sizeof(*f));

    for (uint32_t i = 0; i < ARRAY_LEN(pages); i++) {
        struct ramblock b = {.used_bytes = pages[i] * PAGE_BYTES};

        snprintf(b.idstr, sizeof(b.idstr), "block %u", i);
        assert_int_equal(ramblock_list_add(&f->blocks, &b, &f->err), 0);
    }
    assert_int_equal(dirty_bitmap_new(&f->blocks, &f->d, &f->err), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    dirty_bitmap_free(f->d);
    ramblock_list_release(&f->blocks);
    free(f);
    return 0;
}

static void a_page_is_taken_once(void **state)
{
    struct fixture *f = *state;

    dirty_bitmap_mark(f->d, 0, 5, 1);

    assert_true(dirty_bitmap_test(f->d, 0, 5));
    assert_int_equal(dirty_bitmap_take(f->d, 0, 5, 1), 1);
    assert_int_equal(dirty_bitmap_take(f->d, 0, 5, 1), 0);
    assert_int_equal(dirty_bitmap_count(f->d), 0);
}

static void counts_are_by_block_and_in_all(void **state)
{
    struct fixture *f = *state;

    dirty_bitmap_mark_all(f->d);

    assert_int_equal(dirty_bitmap_count(f->d), 270);
    assert_int_equal(dirty_bitmap_block_count(f->d, 0), 200);
    assert_int_equal(dirty_bitmap_block_count(f->d, 1), 0);
    assert_int_equal(dirty_bitmap_take(f->d, 2, 60, 10), 10);
    assert_int_equal(dirty_bitmap_take(f->d, 2, 50, 20), 10);
    assert_int_equal(dirty_bitmap_block_count(f->d, 2), 50);
}

static void runs_come_in_order_and_end_at_a_block(void **state)
{
    struct fixture *f = *state;
    struct dirty_cursor at = {0};
    struct dirty_run run;

    dirty_bitmap_mark(f->d, 0, 190, 10);
    dirty_bitmap_mark(f->d, 0, 62, 5);
    dirty_bitmap_mark(f->d, 2, 0, 3);

    assert_true(dirty_bitmap_take_run(f->d, &at, 100, &run));
    assert_int_equal(run.first, 62);
    assert_int_equal(run.count, 5);
    assert_true(dirty_bitmap_take_run(f->d, &at, 8, &run));
    assert_int_equal(run.first, 190);
    assert_int_equal(run.count, 8);
    assert_true(dirty_bitmap_take_run(f->d, &at, 8, &run));
    assert_int_equal(run.first, 198);
    assert_int_equal(run.count, 2);
    assert_true(dirty_bitmap_take_run(f->d, &at, 8, &run));
    assert_int_equal(run.block, 2);
    assert_int_equal(run.count, 3);
    assert_false(dirty_bitmap_take_run(f->d, &at, 8, &run));
    assert_int_equal(dirty_bitmap_count(f->d), 0);
}

static void pages_marked_behind_the_cursor_wait_for_the_next_pass(void **state)
{
    struct fixture *f = *state;
    struct dirty_cursor at = {.block = 0, .pgno = 100};
    struct dirty_run run;

    dirty_bitmap_mark(f->d, 0, 10, 1);

    assert_false(dirty_bitmap_take_run(f->d, &at, 8, &run));
    at = (struct dirty_cursor){0};
    assert_true(dirty_bitmap_take_run(f->d, &at, 8, &run));
    assert_int_equal(run.first, 10);
    dirty_bitmap_mark(f->d, 0, 10, 1);
    assert_false(dirty_bitmap_take_run(f->d, &at, 8, &run));
}

static void what_a_destination_has_is_not_sent_again(void **state)
{
    struct fixture *f = *state;
    struct received_bitmap received;

    assert_int_equal(received_bitmap_init(&received, 70, &f->err), 0);
    received_bitmap_add(&received, 3, 60);
    dirty_bitmap_mark(f->d, 2, 0, 5);

    assert_int_equal(dirty_bitmap_resync(f->d, 2, &received, NULL, &f->err), 0);

    assert_int_equal(dirty_bitmap_block_count(f->d, 2), 10);
    assert_true(dirty_bitmap_test(f->d, 2, 0));
    assert_false(dirty_bitmap_test(f->d, 2, 3));
    assert_true(dirty_bitmap_test(f->d, 2, 69));
    received_bitmap_release(&received);
}

static void pages_nobody_wants_stay_clear_on_resync(void **state)
{
    struct fixture *f = *state;
    struct received_bitmap received;
    struct bitmap wanted;

    assert_int_equal(received_bitmap_init(&received, 70, &f->err), 0);
    assert_int_equal(bitmap_init(&wanted, 70, &f->err), 0);
    received_bitmap_add(&received, 0, 30);
    bitmap_set_range(&wanted, 20, 20);

    assert_int_equal(dirty_bitmap_resync(f->d, 2, &received, &wanted, &f->err),
                     0);

    assert_int_equal(dirty_bitmap_block_count(f->d, 2), 10);
    assert_true(dirty_bitmap_test(f->d, 2, 30));
    assert_false(dirty_bitmap_test(f->d, 2, 40));
    bitmap_release(&wanted);
    received_bitmap_release(&received);
}

static void a_bitmap_of_another_size_is_refused(void **state)
{
    struct fixture *f = *state;
    struct received_bitmap received;

    assert_int_equal(received_bitmap_init(&received, 71, &f->err), 0);

    assert_error(dirty_bitmap_resync(f->d, 2, &received, NULL, &f->err),
                 &f->err, ERR_PROTOCOL, "71 pages for a block of 70");
    received_bitmap_release(&received);
}

struct taker {
    struct dirty_bitmap *d;
    uint64_t taken;
};

static void *take_everything(void *arg)
{
    struct taker *t = arg;
    struct dirty_run run;

    for (pgno_t p = 0; p < 200; p++)
        t->taken += dirty_bitmap_take(t->d, 0, p, 1);
    for (struct dirty_cursor at = {0};
         dirty_bitmap_take_run(t->d, &at, 3, &run);)
        t->taken += run.count;
    return NULL;
}

static void two_threads_never_take_the_same_page(void **state)
{
    struct fixture *f = *state;

    for (int round = 0; round < 20; round++) {
        struct taker a = {.d = f->d};
        struct taker b = {.d = f->d};
        pthread_t thread;

        dirty_bitmap_mark_all(f->d);
        assert_int_equal(pthread_create(&thread, NULL, take_everything, &a), 0);
        take_everything(&b);
        pthread_join(thread, NULL);

        assert_int_equal(a.taken + b.taken, 270);
        assert_int_equal(dirty_bitmap_count(f->d), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_page_is_taken_once),
        TEST(counts_are_by_block_and_in_all),
        TEST(runs_come_in_order_and_end_at_a_block),
        TEST(pages_marked_behind_the_cursor_wait_for_the_next_pass),
        TEST(what_a_destination_has_is_not_sent_again),
        TEST(pages_nobody_wants_stay_clear_on_resync),
        TEST(a_bitmap_of_another_size_is_refused),
        TEST(two_threads_never_take_the_same_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include <pthread.h>

#include "storage/shared_frames.h"

#define FRAME 16384u

static struct shared_frame *put_in(struct shared_frames *c, uint64_t key)
{
    struct error err = ERROR_INIT;
    struct shared_frame *f;

    assert_int_equal(shared_frames_make(c, key, FRAME, &f, &err), 0);
    memset(f->data, (int)(key & 255), FRAME);
    return shared_frames_add(c, f);
}

static void the_cache_stays_within_its_bound(void **state)
{
    struct error err = ERROR_INIT;
    struct shared_frames *c;

    assert_int_equal(shared_frames_new(64 * FRAME, &c, &err), 0);
    for (uint64_t key = 0; key < 10000; key++)
        shared_frames_put(c, put_in(c, key));
    assert_true(shared_frames_bytes(c) <= 64 * FRAME);
    assert_null(shared_frames_find(c, 0));
    shared_frames_free(c);
}

static void what_is_held_stays_whatever_comes(void **state)
{
    struct error err = ERROR_INIT;
    struct shared_frames *c;
    struct shared_frame *held;

    assert_int_equal(shared_frames_new(16 * FRAME, &c, &err), 0);
    held = put_in(c, 7);
    for (uint64_t key = 100; key < 2000; key++)
        shared_frames_put(c, put_in(c, key));
    assert_int_equal(held->data[FRAME - 1], 7);
    shared_frames_put(c, held);
    shared_frames_free(c);
}

static void of_two_that_fill_one_frame_the_first_counts(void **state)
{
    struct error err = ERROR_INIT;
    struct shared_frames *c;
    struct shared_frame *first;
    struct shared_frame *second;

    assert_int_equal(shared_frames_new(16 * FRAME, &c, &err), 0);
    first = put_in(c, 7);
    second = put_in(c, 7);
    assert_ptr_equal(first, second);
    shared_frames_put(c, first);
    shared_frames_put(c, second);
    shared_frames_free(c);
}

static void *use(void *arg)
{
    struct shared_frames *c = arg;
    uint64_t r = (uint64_t)(uintptr_t)&r;
    long wrong = 0;

    for (int i = 0; i < 20000; i++) {
        uint64_t key;
        struct shared_frame *f;

        r = r * 6364136223846793005u + 1442695040888963407u;
        key = (r >> 33) % 200;
        f = shared_frames_find(c, key);
        if (!f)
            f = put_in(c, key);
        wrong += f->key != key || f->data[0] != (key & 255);
        shared_frames_put(c, f);
    }
    return (void *)wrong;
}

static void many_threads_see_only_whole_frames(void **state)
{
    struct error err = ERROR_INIT;
    struct shared_frames *c;
    pthread_t threads[4];

    assert_int_equal(shared_frames_new(64 * FRAME, &c, &err), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use, c), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong;

        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    shared_frames_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cache_stays_within_its_bound),
        cmocka_unit_test(what_is_held_stays_whatever_comes),
        cmocka_unit_test(of_two_that_fill_one_frame_the_first_counts),
        cmocka_unit_test(many_threads_see_only_whole_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include "snapshot/sync_points.h"

#define CHANNELS 3u

struct fixture {
    struct sync_points s;
    bool complete;
    struct error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    sync_points_init(&f->s, CHANNELS);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void pass(struct fixture *f, unsigned channel)
{
    assert_ok(sync_points_pass(&f->s, channel, &f->err), &f->err);
}

static void pages(struct fixture *f, unsigned channel)
{
    assert_ok(sync_points_pages(&f->s, channel, &f->err), &f->err);
}

/* All channels and the main one have passed `n`. */
static void pass_all(struct fixture *f, unsigned n)
{
    for (unsigned k = 0; k < n; k++) {
        sync_points_mark(&f->s);
        for (unsigned i = 0; i < CHANNELS; i++)
            pass(f, i);
    }
}

static bool complete(struct fixture *f)
{
    assert_ok(sync_points_check(&f->s, &f->complete, &f->err), &f->err);
    return f->complete;
}

#define FAILS(f, text)                                                  \
    assert_error(sync_points_check(&(f)->s, &(f)->complete, &(f)->err), \
                 &(f)->err, ERR_PROTOCOL, (text))

static void all_is_there_when_all_have_passed_the_same(void **state)
{
    struct fixture *f = *state;

    pass_all(f, 4);
    assert_true(complete(f));
}

static void one_behind_is_waited_for(void **state)
{
    struct fixture *f = *state;

    pass_all(f, 2);
    sync_points_mark(&f->s);
    pass(f, 2);
    pass(f, 0);
    pages(f, 1);
    assert_false(complete(f));
    pass(f, 1);
    assert_true(complete(f));
}

static void a_channel_may_run_ahead_of_the_main_one(void **state)
{
    struct fixture *f = *state;

    pass(f, 1);
    pass(f, 1);
    pages(f, 1);
    pass(f, 1);
    sync_points_mark(&f->s);
    sync_points_mark(&f->s);
    sync_points_mark(&f->s);
    assert_false(complete(f));
}

static void one_that_ended_too_early_is_never_waited_for(void **state)
{
    struct fixture *f = *state;

    pass_all(f, 3);
    sync_points_mark(&f->s);
    sync_points_end(&f->s, 2);
    FAILS(f, "multifd channel 2 ends after 3 of 4 sync points");
}

static void an_end_behind_the_last_sync_point_is_the_usual_one(void **state)
{
    struct fixture *f = *state;

    pass_all(f, 3);
    for (unsigned i = 0; i < CHANNELS; i++)
        sync_points_end(&f->s, i);
    assert_true(complete(f));
}

static void nothing_goes_on_behind_the_last_sync_point(void **state)
{
    struct fixture *f = *state;

    pass_all(f, 2);
    pages(f, 1);
    FAILS(f, "channel 1 goes on behind");
    pass(f, 1);
    FAILS(f, "channel 1 goes on behind");
}

static void nothing_comes_once_all_was_complete(void **state)
{
    struct fixture *f = *state;

    pass_all(f, 1);
    assert_true(complete(f));
    assert_error(sync_points_pages(&f->s, 0, &f->err), &f->err, ERR_PROTOCOL,
                 "channel 0 goes on");
    assert_error(sync_points_pass(&f->s, 2, &f->err), &f->err, ERR_PROTOCOL,
                 "channel 2 goes on");
}

static void a_stream_without_sync_points_is_none(void **state)
{
    struct fixture *f = *state;

    FAILS(f, "no sync point");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(all_is_there_when_all_have_passed_the_same),
        TEST(one_behind_is_waited_for),
        TEST(a_channel_may_run_ahead_of_the_main_one),
        TEST(one_that_ended_too_early_is_never_waited_for),
        TEST(an_end_behind_the_last_sync_point_is_the_usual_one),
        TEST(nothing_goes_on_behind_the_last_sync_point),
        TEST(nothing_comes_once_all_was_complete),
        TEST(a_stream_without_sync_points_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

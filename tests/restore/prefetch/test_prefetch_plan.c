#include "tests/storage/repo_fixture.h"

#include <pthread.h>

#include "restore/prefetch/prefetch_plan.h"

#define GROUP 4u

static const struct prefetch_block two_blocks[] = {
    {.pages = 1000, .unit_pages = 1},
    {.pages = 2048, .unit_pages = 512},
};

/* `n` pages of block 0 in order, from 0 on, all wanted. */
static struct hints hints_of(size_t n)
{
    struct hints h = {.list = calloc(n + 8, sizeof(*h.list)), .runs = 1};

    for (; h.n < n; h.n++)
        h.list[h.n] = (struct hint){.seen = 1, .pgno = h.n};
    return h;
}

static struct prefetch_plan *plan_of(const struct hints *h, size_t group)
{
    struct prefetch_plan *p;
    struct error err;

    assert_ok(prefetch_plan_new(&(struct prefetch_args){.hints = h,
                                                        .blocks = two_blocks,
                                                        .n_blocks = 2,
                                                        .group_pages = group},
                                &p, &err),
              &err);
    return p;
}

static void groups_hold_the_hints_in_their_order(void **state)
{
    struct hints h = hints_of(10);
    struct prefetch_plan *p = plan_of(&h, GROUP);
    const struct hint *group;
    bool sample;
    size_t g;
    size_t n;

    assert_int_equal(prefetch_plan_groups(p), 3);
    group = prefetch_plan_group(p, 1, &n);
    assert_int_equal(n, 4);
    assert_int_equal(group[0].pgno, 4);
    prefetch_plan_group(p, 2, &n);
    assert_int_equal(n, 2);
    assert_true(prefetch_plan_find(p, 0, 7, &g, &sample));
    assert_int_equal(g, 1);
    assert_true(sample);
    assert_true(prefetch_plan_find(p, 0, 6, &g, &sample));
    assert_false(sample);
    /* The last group is not full: it has none. */
    assert_true(prefetch_plan_find(p, 0, 9, &g, &sample));
    assert_false(sample);
    assert_false(prefetch_plan_find(p, 0, 10, &g, NULL));
    assert_false(prefetch_plan_find(p, 1, 7, &g, NULL));
    prefetch_plan_free(p);
    hints_release(&h);
}

static void hints_that_mean_nothing_here_are_left_out(void **state)
{
    struct hints h = hints_of(3);
    struct prefetch_plan *p;
    size_t g;

    h.runs = 2;
    h.list[0].seen = 2;
    h.list[1].seen = 1; /* not by most */
    h.list[2] = (struct hint){.block = 0, .seen = 2, .pgno = 1000};
    h.list[h.n++] = (struct hint){.block = 2, .seen = 2, .pgno = 1};
    h.list[h.n++] = (struct hint){.block = 0, .seen = 2, .pgno = 0};
    h.list[h.n++] = (struct hint){.block = 1, .seen = 2, .pgno = 600};
    h.list[h.n++] = (struct hint){.block = 1, .seen = 2, .pgno = 700};
    p = plan_of(&h, 1);

    /* Page 0 once, and one host page for 600 and 700. */
    assert_int_equal(prefetch_plan_groups(p), 2);
    assert_true(prefetch_plan_find(p, 0, 0, &g, NULL));
    assert_true(prefetch_plan_find(p, 1, 512, &g, NULL));
    prefetch_plan_free(p);
    hints_release(&h);
}

static void a_jump_goes_on_from_where_the_guest_is_and_sweeps_up(void **state)
{
    struct hints h = hints_of(20);
    struct prefetch_plan *p = plan_of(&h, GROUP);
    size_t order[5];
    size_t g;

    assert_true(prefetch_plan_next(p, &order[0]));
    prefetch_plan_jump(p, 3);
    for (unsigned i = 1; i < 5; i++)
        assert_true(prefetch_plan_next(p, &order[i]));
    assert_false(prefetch_plan_next(p, &g));
    assert_int_equal(order[0], 0);
    assert_int_equal(order[1], 3);
    assert_int_equal(order[2], 4);
    assert_int_equal(order[3], 1);
    assert_int_equal(order[4], 2);
    /* Behind, or taken: no way back. */
    prefetch_plan_jump(p, 0);
    assert_false(prefetch_plan_next(p, &g));
    prefetch_plan_free(p);
    hints_release(&h);
}

static void a_group_is_taken_by_one(void **state)
{
    struct hints h = hints_of(8);
    struct prefetch_plan *p = plan_of(&h, GROUP);
    size_t g;

    assert_true(prefetch_plan_claim(p, 0));
    assert_false(prefetch_plan_claim(p, 0));
    assert_true(prefetch_plan_in_work(p, 0));
    assert_int_equal(prefetch_plan_taken(p), 1);
    assert_true(prefetch_plan_next(p, &g));
    assert_int_equal(g, 1);
    assert_int_equal(prefetch_plan_taken(p), 2);
    prefetch_plan_finish(p, 0);
    assert_false(prefetch_plan_in_work(p, 0));
    assert_false(prefetch_plan_claim(p, 0));
    prefetch_plan_free(p);
    hints_release(&h);
}

static void a_sample_nobody_asked_for_speaks_against_its_group(void **state)
{
    struct hints h = hints_of(10);
    struct prefetch_plan *p = plan_of(&h, GROUP);
    struct prefetch_stats stats;
    const struct hint *run;
    struct error err;
    size_t n;

    prefetch_plan_asked(p, 0, 3);   /* the first group was right */
    prefetch_plan_asked(p, 0, 5);   /* this page, not its group */
    prefetch_plan_asked(p, 0, 900); /* new */
    prefetch_plan_asked(p, 1, 512);
    prefetch_plan_stats(p, &stats);
    assert_int_equal(stats.hinted, 10);
    assert_int_equal(stats.sampled, 2);
    assert_int_equal(stats.unasked, 1);
    assert_int_equal(stats.late, 1);
    assert_int_equal(stats.unhinted, 2);

    run = prefetch_plan_run(p, &n, &err);
    assert_non_null(run);
    /* 0 1 2 3, 5, the group without a sample 8 9, then what is new. */
    assert_int_equal(n, 9);
    assert_int_equal(run[4].pgno, 5);
    assert_int_equal(run[5].pgno, 8);
    assert_int_equal(run[7].pgno, 900);
    assert_int_equal(run[8].block, 1);
    prefetch_plan_free(p);
    hints_release(&h);
}

static void runs_are_merged_into_what_is_stored(void **state)
{
    struct fixture *f = *state;
    struct hints now = {0};
    struct error err;

    for (unsigned run = 0; run < 2; run++) {
        struct prefetch_plan *p = plan_of(&now, GROUP);

        for (pgno_t pgno = 10; pgno < 21; pgno++)
            prefetch_plan_asked(p, 0, pgno);
        /* The sample of the third group, and not the same the next time. */
        prefetch_plan_asked(p, 0, 100 + run);
        assert_ok(prefetch_plan_store(p, f->repository, "0123456789abcdef", 8,
                                      run ? NULL : "{}", &err),
                  &err);
        prefetch_plan_free(p);
        hints_release(&now);
        assert_ok(hints_load(f->repository, "0123456789abcdef", &now, &err),
                  &err);
    }
    assert_int_equal(now.runs, 2);
    assert_int_equal(now.n, 13);
    assert_string_equal(now.figures, "{}"); /* of the last who had some */
    for (size_t i = 0; i < now.n; i++)
        assert_int_equal(hint_is_wanted(&now, i), now.list[i].pgno < 100);
    hints_release(&now);
}

static void a_run_of_a_few_pages_is_no_hint(void **state)
{
    struct fixture *f = *state;
    struct prefetch_plan *p = plan_of(NULL, GROUP);
    struct hints now = {0};
    struct error err;

    prefetch_plan_asked(p, 0, 1);
    assert_ok(prefetch_plan_store(p, f->repository, "0123456789abcdef", 8,
                                  "{\"faults\":1}", &err),
              &err);
    assert_ok(hints_load(f->repository, "0123456789abcdef", &now, &err), &err);
    assert_int_equal(now.n, 0);
    assert_int_equal(now.runs, 0);
    assert_string_equal(now.figures, "{\"faults\":1}");
    hints_release(&now);
    prefetch_plan_free(p);
}

static void *take_groups(void *arg)
{
    size_t g;
    size_t n = 0;

    while (prefetch_plan_next(arg, &g)) {
        prefetch_plan_asked(arg, 0, g);
        prefetch_plan_asked(arg, 0, 900 + g % 50);
        prefetch_plan_finish(arg, g);
        n++;
    }
    return (void *)n;
}

static void many_threads_take_each_group_once(void **state)
{
    struct hints h = hints_of(400);
    struct prefetch_plan *p = plan_of(&h, GROUP);
    pthread_t threads[4];
    size_t sum = 0;

    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_groups, p), 0);
    for (unsigned i = 0; i < 40; i += 7)
        prefetch_plan_jump(p, i);
    for (unsigned i = 0; i < 4; i++) {
        void *n;

        pthread_join(threads[i], &n);
        sum += (size_t)n;
    }
    assert_int_equal(sum, 100);
    prefetch_plan_free(p);
    hints_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_hold_the_hints_in_their_order),
        cmocka_unit_test(hints_that_mean_nothing_here_are_left_out),
        cmocka_unit_test(a_jump_goes_on_from_where_the_guest_is_and_sweeps_up),
        cmocka_unit_test(a_group_is_taken_by_one),
        cmocka_unit_test(a_sample_nobody_asked_for_speaks_against_its_group),
        FIXTURE_TEST(runs_are_merged_into_what_is_stored),
        FIXTURE_TEST(a_run_of_a_few_pages_is_no_hint),
        cmocka_unit_test(many_threads_take_each_group_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

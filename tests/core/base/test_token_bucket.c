#include "tests/fakes/assert_error.h"

#include "core/base/clock.h"
#include "core/base/token_bucket.h"

#define MB   UINT64_C(1000000)
#define T0   (1000 * NS_PER_SEC)
#define RATE (10 * MB)

static void test_without_a_limit_nobody_waits(void **state)
{
    struct token_bucket b;

    (void)state;
    token_bucket_init(&b, 0);
    assert_int_equal(token_bucket_take(&b, UINT64_MAX, T0), 0);
    token_bucket_take_urgent(&b, UINT64_MAX, T0);
    assert_int_equal(token_bucket_take(&b, 1, T0), 0);
}

static void
test_what_was_not_used_is_kept_for_a_quarter_of_a_second(void **state)
{
    struct token_bucket b;

    (void)state;
    token_bucket_init(&b, RATE);
    assert_int_equal(token_bucket_take(&b, RATE / 4, T0), 0);
    assert_int_equal(token_bucket_take(&b, MB, T0), 100 * NS_PER_MS);
}

/* Takers who obey what they are told get the rate, in whatever pieces. */
static void check_rate(const uint64_t *piece, size_t n, unsigned takers)
{
    struct token_bucket b;
    uint64_t free_ns[8] = {0};
    uint64_t taken = 0;
    uint64_t now = T0;
    double rate;

    token_bucket_init(&b, RATE);
    for (unsigned i = 0; i < takers; i++)
        free_ns[i] = T0;
    for (size_t i = 0; now < T0 + 20 * NS_PER_SEC; i++) {
        unsigned who = 0;

        for (unsigned k = 1; k < takers; k++)
            who = free_ns[k] < free_ns[who] ? k : who;
        now = free_ns[who];
        taken += piece[i % n];
        free_ns[who] = now + token_bucket_take(&b, piece[i % n], now);
    }
    rate = (double)taken / ((double)(now - T0) / (double)NS_PER_SEC);
    assert_true(rate > 0.95 * (double)RATE && rate < 1.25 * (double)RATE);
}

static void test_takers_together_get_the_rate(void **state)
{
    static const uint64_t small[] = {4096, 65536, 1};
    static const uint64_t large[] = {4 * MB, 100, 3 * MB};

    (void)state;
    check_rate(small, 3, 1);
    check_rate(small, 3, 8);
    check_rate(large, 3, 1);
    check_rate(large, 3, 4);
}

static void test_idle_time_is_not_made_up_for(void **state)
{
    struct token_bucket b;
    uint64_t later = T0 + 3600 * NS_PER_SEC;

    (void)state;
    token_bucket_init(&b, RATE);
    assert_int_equal(token_bucket_take(&b, RATE / 4, T0), 0);
    assert_int_equal(token_bucket_take(&b, RATE, later),
                     NS_PER_SEC - TOKEN_BUCKET_BURST_NS);
}

static void test_others_give_way_to_urgent_work_for_a_second(void **state)
{
    struct token_bucket b;
    uint64_t wait;

    (void)state;
    token_bucket_init(&b, RATE);
    token_bucket_take_urgent(&b, RATE / 2, T0);
    assert_int_equal(token_bucket_take(&b, 0, T0), 250 * NS_PER_MS);
    token_bucket_take_urgent(&b, 100 * RATE, T0);
    wait = token_bucket_take(&b, 0, T0);
    assert_int_equal(wait, TOKEN_BUCKET_DEBT_NS);
    /* It does not shorten the debt of those who are not urgent either. */
    wait = token_bucket_take(&b, 3 * RATE, T0);
    token_bucket_take_urgent(&b, RATE, T0);
    assert_int_equal(token_bucket_take(&b, 0, T0), wait);
}

static void test_no_piece_and_no_rate_overflows(void **state)
{
    struct token_bucket b;

    (void)state;
    token_bucket_init(&b, 1);
    assert_true(token_bucket_take(&b, UINT64_C(1) << 40, T0) > NS_PER_SEC);
    token_bucket_init(&b, UINT64_MAX);
    assert_int_equal(token_bucket_take(&b, UINT64_MAX - 1, T0),
                     NS_PER_SEC - TOKEN_BUCKET_BURST_NS);
    token_bucket_init(&b, RATE);
    assert_int_equal(token_bucket_take(&b, RATE / 4, 5), 250 * NS_PER_MS - 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_limit_nobody_waits),
        cmocka_unit_test(
            test_what_was_not_used_is_kept_for_a_quarter_of_a_second),
        cmocka_unit_test(test_takers_together_get_the_rate),
        cmocka_unit_test(test_idle_time_is_not_made_up_for),
        cmocka_unit_test(test_others_give_way_to_urgent_work_for_a_second),
        cmocka_unit_test(test_no_piece_and_no_rate_overflows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

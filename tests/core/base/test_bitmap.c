#include "tests/fakes/assert_error.h"

#include "core/base/bitmap.h"

#define N 200u

static int set_up(void **state)
{
    struct bitmap *b = calloc(1, sizeof(*b));
    struct error err;

    assert_ok(bitmap_init(b, N, &err), &err);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    bitmap_release(*state);
    free(*state);
    return 0;
}

/* The whole bitmap against the plainest model of it. */
static void assert_is(const struct bitmap *b, const bool *model)
{
    uint64_t n_set = 0;

    for (uint64_t i = 0; i < N; i++) {
        assert_int_equal(bitmap_test(b, i), model[i]);
        n_set += model[i];
    }
    assert_true(b->n_set == n_set);
    /* Bits behind the last are never set. */
    assert_true(b->words[N / 64] >> N % 64 == 0);
}

static void a_new_bitmap_is_clear(void **state)
{
    const bool model[N] = {false};

    assert_is(*state, model);
    assert_true(bitmap_next_set(*state, 0) == N);
    assert_true(bitmap_n_words(*state) == 4);
}

static void setting_and_clearing_tell_what_was_before(void **state)
{
    struct bitmap *b = *state;

    for (uint64_t i = 0; i < N; i += 63) {
        assert_false(bitmap_set(b, i));
        assert_true(bitmap_set(b, i));
        assert_true(bitmap_clear(b, i));
        assert_false(bitmap_clear(b, i));
        assert_true(b->n_set == 0);
    }
}

static void ranges_do_what_single_bits_do(void **state)
{
    static const uint64_t edges[] = {0,   1,   2,   31,  62,  63,  64, 65,
                                     127, 128, 129, 191, 192, 199, 200};
    struct bitmap *b = *state;
    bool model[N] = {false};

    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        for (size_t j = i; j < ARRAY_LEN(edges); j++) {
            bool set = (i + j) % 3 != 0;

            for (uint64_t k = edges[i]; k < edges[j]; k++)
                model[k] = set;
            if (set)
                bitmap_set_range(b, edges[i], edges[j] - edges[i]);
            else
                bitmap_clear_range(b, edges[i], edges[j] - edges[i]);
            assert_is(b, model);
        }
    }
}

static void the_next_bit_is_found_from_everywhere(void **state)
{
    struct bitmap *b = *state;

    for (uint64_t bit = 0; bit < N; bit++) {
        bitmap_clear_range(b, 0, N);
        bitmap_set(b, bit);
        for (uint64_t from = 0; from <= N; from++) {
            assert_true(bitmap_next_set(b, from) == (from <= bit ? bit : N));
            assert_true(bitmap_next_clear(b, from) ==
                        (from == bit ? from + 1 : from));
        }
    }
}

static void the_next_clear_bit_is_found_from_everywhere(void **state)
{
    struct bitmap *b = *state;

    for (uint64_t bit = 0; bit < N; bit++) {
        bitmap_set_range(b, 0, N);
        bitmap_clear(b, bit);
        for (uint64_t from = 0; from <= N; from++)
            assert_true(bitmap_next_clear(b, from) == (from <= bit ? bit : N));
    }
}

static void behind_the_end_nothing_is_found(void **state)
{
    assert_true(bitmap_next_set(*state, UINT64_MAX) == N);
    assert_true(bitmap_next_clear(*state, N + 1) == N);
}

static void sizes_at_word_edges_work(void **state)
{
    for (uint64_t n = 0; n < 130; n++) {
        struct bitmap b;
        struct error err;

        assert_ok(bitmap_init(&b, n, &err), &err);
        bitmap_set_range(&b, 0, n);
        assert_true(b.n_set == n);
        assert_true(bitmap_next_clear(&b, 0) == n);
        bitmap_release(&b);
    }
}

static void more_bits_than_memory_is_no_memory(void **state)
{
    struct bitmap b;
    struct error err;

#ifdef __SANITIZE_ADDRESS__
    skip(); /* its allocator ends the process instead */
#endif
    assert_error(bitmap_init(&b, UINT64_MAX / 2, &err), &err, ERR_NOMEM,
                 "out of memory");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_bitmap_is_clear),
        TEST(setting_and_clearing_tell_what_was_before),
        TEST(ranges_do_what_single_bits_do),
        TEST(the_next_bit_is_found_from_everywhere),
        TEST(the_next_clear_bit_is_found_from_everywhere),
        TEST(behind_the_end_nothing_is_found),
        cmocka_unit_test(sizes_at_word_edges_work),
        cmocka_unit_test(more_bits_than_memory_is_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

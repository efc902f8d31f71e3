#include "tests/fakes/assert_error.h"

#include "storage/hints.h"

static struct hints merge(struct hints *old, const pgno_t *run, size_t n)
{
    struct error err = ERROR_INIT;
    struct hint *list = calloc(n + 1, sizeof(*list));
    struct hints h;

    for (size_t i = 0; i < n; i++)
        list[i].pgno = run[i];
    assert_int_equal(hints_merge(old, list, n, &h, &err), 0);
    free(list);
    hints_release(old);
    return h;
}

/* The wanted pages in order, as text. */
static void check(const struct hints *h, const char *want)
{
    char got[256] = "";

    for (size_t i = 0; i < h->n; i++) {
        size_t len = strlen(got);

        if (hint_is_wanted(h, i))
            snprintf(got + len, sizeof(got) - len, "%llu ",
                     (unsigned long long)h->list[i].pgno);
    }
    assert_string_equal(got, want);
}

static void the_first_run_is_the_hint_and_two_are_intersected(void **state)
{
    struct hints h = {0};

    h = merge(&h, (pgno_t[]){5, 3, 9, 3}, 4);
    check(&h, "5 3 9 ");
    h = merge(&h, (pgno_t[]){9, 5, 7}, 3);
    check(&h, "9 5 ");
    hints_release(&h);
}

static void a_page_that_most_runs_want_outlives_one_that_did_not(void **state)
{
    struct hints h = {0};

    h = merge(&h, (pgno_t[]){1, 2}, 2);
    h = merge(&h, (pgno_t[]){1, 2}, 2);
    h = merge(&h, (pgno_t[]){2}, 1);
    check(&h, "2 1 ");
    hints_release(&h);
}

static void what_the_capture_saw_goes_with_the_first_run(void **state)
{
    struct hint list[] = {{.pgno = 1}, {.pgno = 2}};
    struct hints seed = {.list = list, .n = 2};
    struct hints back = {0};
    cleanup_buf struct buf b = BUF_INIT;
    struct error err;

    assert_ok(hints_encode(&seed, &b, &err), &err);
    assert_ok(hints_decode(b.data, b.len, &back, &err), &err);
    check(&back, "1 2 ");
    back = merge(&back, (pgno_t[]){3, 2}, 2);
    check(&back, "3 2 ");
    assert_int_equal(back.runs, 1);
    assert_int_equal(back.n, 2);
    hints_release(&back);
}

static void a_page_nobody_wants_any_more_is_forgotten(void **state)
{
    struct hints h = {0};

    h = merge(&h, (pgno_t[]){1, 2}, 2);
    for (int i = 0; i < 20; i++)
        h = merge(&h, (pgno_t[]){2}, 1);
    check(&h, "2 ");
    assert_int_equal(h.n, 1);
    assert_true(h.runs <= HINTS_RUNS_MAX);
    hints_release(&h);
}

static void the_list_is_capped(void **state)
{
    struct error err = ERROR_INIT;
    struct hint *run = calloc(HINTS_MAX + 10, sizeof(*run));
    struct hints old = {0};
    struct hints h;

    for (size_t i = 0; i < HINTS_MAX + 10; i++)
        run[i].pgno = i;
    assert_int_equal(hints_merge(&old, run, HINTS_MAX + 10, &h, &err), 0);
    assert_int_equal(h.n, HINTS_MAX);
    assert_int_equal(h.list[0].pgno, 0);
    hints_release(&h);
    free(run);
}

static void damage_is_found_at_every_bit_and_every_cut(void **state)
{
    struct error err = ERROR_INIT;
    struct hints h = {0};
    struct hints back;
    struct buf text = BUF_INIT;

    h = merge(&h, (pgno_t[]){5, 3, UINT64_C(1) << 40}, 3);
    assert_int_equal(hints_encode(&h, &text, &err), 0);
    assert_int_equal(hints_decode(text.data, text.len, &back, &err), 0);
    assert_int_equal(back.n, 3);
    assert_int_equal(back.list[2].pgno, UINT64_C(1) << 40);
    hints_release(&back);

    for (size_t n = 0; n < text.len; n++) {
        uint8_t *copy = malloc(n + 1);

        memcpy(copy, text.data, n);
        assert_int_equal(hints_decode(copy, n, &back, &err), ERR_CORRUPT);
        free(copy);
    }
    for (size_t bit = 0; bit < text.len * 8; bit++) {
        text.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(hints_decode(text.data, text.len, &back, &err),
                         ERR_CORRUPT);
        text.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    buf_release(&text);
    hints_release(&h);
}

static void figures_come_back_and_nothing_else_passes_for_them(void **state)
{
    struct hint list[] = {{.seen = 1, .pgno = 7}};
    struct hints h = {
        .list = list, .n = 1, .runs = 1, .figures = (char *)"{\"faults\":3}"};
    cleanup_buf struct buf text = BUF_INIT;
    struct hints back;
    struct error err;

    assert_ok(hints_encode(&h, &text, &err), &err);
    assert_ok(hints_decode(text.data, text.len, &back, &err), &err);
    assert_string_equal(back.figures, "{\"faults\":3}");
    assert_int_equal(back.n, 1);
    hints_release(&back);
    /* Cut short, or changed: the checksum is of all. */
    assert_int_equal(hints_decode(text.data, text.len - 1, &back, &err),
                     ERR_CORRUPT);
    text.data[text.len - 2] ^= 1;
    assert_int_equal(hints_decode(text.data, text.len, &back, &err),
                     ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_come_back_and_nothing_else_passes_for_them),
        cmocka_unit_test(the_first_run_is_the_hint_and_two_are_intersected),
        cmocka_unit_test(what_the_capture_saw_goes_with_the_first_run),
        cmocka_unit_test(a_page_that_most_runs_want_outlives_one_that_did_not),
        cmocka_unit_test(a_page_nobody_wants_any_more_is_forgotten),
        cmocka_unit_test(the_list_is_capped),
        cmocka_unit_test(damage_is_found_at_every_bit_and_every_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

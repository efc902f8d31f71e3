#include "tests/fakes/assert_error.h"

#include "restore/pages/telltales.h"

#define N 64u

struct batch {
    struct stock_page pages[N];
    uint8_t room[N][PAGE_BYTES];
};

/* Pages from `first` on, each with its number in its bytes. */
static void fill(struct batch *b, pgno_t first)
{
    for (unsigned i = 0; i < N; i++) {
        b->pages[i] = (struct stock_page){
            .block = 3, .pgno = first + i, .data = b->room[i]};
        memset(b->room[i], (int)(first + i), PAGE_BYTES);
    }
}

static void assert_page(const struct stock_page *p, pgno_t pgno)
{
    assert_int_equal(p->block, 3);
    assert_int_equal(p->pgno, pgno);
    assert_int_equal(p->data[0], pgno & 0xff);
    assert_int_equal(p->data[PAGE_BYTES - 1], pgno & 0xff);
}

static void one_of_sixteen_is_taken_out(void **state)
{
    static struct batch b;
    struct telltales t;
    struct error err;
    size_t n;

    assert_ok(telltales_init(&t, 8, &err), &err);
    fill(&b, 16);
    b.pages[31].data = NULL; /* page 47, zero: nothing to be kept back */
    n = telltales_take(&t, b.pages, N);
    assert_int_equal(n, N - 3);
    assert_int_equal(t.n, 3);
    assert_int_equal(telltales_left(&t), 5);
    for (size_t i = 0; i < n; i++)
        assert_true(!b.pages[i].data || b.pages[i].pgno % 16 != 15);
    assert_page(&b.pages[15], 32);
    telltales_release(&t);
}

static void the_oldest_are_given_back_with_their_bytes(void **state)
{
    static struct batch b;
    struct stock_page pages[4];
    static uint8_t room[4][PAGE_BYTES];
    struct telltales t;
    struct error err;

    assert_ok(telltales_init(&t, 8, &err), &err);
    /* Round the ring more than once. */
    for (pgno_t round = 0; round < 5; round++) {
        fill(&b, round * N);
        assert_int_equal(telltales_take(&t, b.pages, N), N - 4);
        memset(b.room, 0xee, sizeof(b.room)); /* they have copies */
        if (round == 0)
            continue;
        assert_int_equal(telltales_give(&t, pages, room[0], 4), 4);
        for (unsigned i = 0; i < 4; i++) {
            assert_page(&pages[i], (round - 1) * N + i * 16 + 15);
            assert_ptr_equal(pages[i].data, room[i]);
        }
    }
    assert_int_equal(telltales_give(&t, pages, room[0], 4), 4);
    assert_int_equal(telltales_give(&t, pages, room[0], 4), 0);
    telltales_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_sixteen_is_taken_out),
        cmocka_unit_test(the_oldest_are_given_back_with_their_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

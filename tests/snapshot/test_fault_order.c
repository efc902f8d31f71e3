#include "tests/fakes/assert_error.h"

#include "snapshot/fault_order.h"

/* Two blocks, of 10 and of 4 pages. */
static void make(struct fault_order *o)
{
    struct ramblock blocks[] = {
        {.idstr = "pc.ram", .used_bytes = 10 * PAGE_BYTES},
        {.idstr = "vga", .used_bytes = 4 * PAGE_BYTES},
    };
    struct ramblock_list list = {.blocks = blocks, .n = 2};
    struct error err;

    assert_ok(fault_order_init(o, &list, &err), &err);
}

/* Pages as they come, those of "vga" from 100 on; a negative one ends. */
static void feed(struct fault_order *o, const int *pages)
{
    for (; *pages >= 0; pages++)
        fault_order_page(o, *pages >= 100, (pgno_t)(*pages % 100));
}

static void assert_faults(const int *pages, const int *faults)
{
    struct fault_order o;
    size_t n = 0;

    make(&o);
    feed(&o, pages);
    for (; faults[n] >= 0; n++) {
        assert_true(n < o.n);
        assert_int_equal(o.list[n].block, faults[n] >= 100);
        assert_int_equal(o.list[n].pgno, faults[n] % 100);
    }
    assert_int_equal(o.n, n);
    fault_order_release(&o);
}

#define PAGES(...) ((const int[]){__VA_ARGS__, -1})
#define NONE       ((const int[]){-1})

static void a_plain_scan_has_no_fault(void **state)
{
    (void)state;
    assert_faults(PAGES(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100, 101, 102, 103),
                  NONE);
}

static void a_page_ahead_of_its_turn_is_one(void **state)
{
    (void)state;
    /* The scan goes on behind it, and comes back for what it left out. */
    assert_faults(PAGES(0, 1, 6, 7, 8, 9, 100, 101, 102, 103, 2, 3, 4, 5),
                  PAGES(6));
}

static void faults_in_a_row_are_in_their_order(void **state)
{
    (void)state;
    assert_faults(PAGES(0, 7, 3, 101, 102, 103, 1, 2, 4, 5, 6, 8, 9, 100),
                  PAGES(7, 3, 101));
}

static void what_was_sent_is_left_out_by_the_scan(void **state)
{
    (void)state;
    assert_faults(PAGES(0, 3, 1, 2, 4, 5, 6, 7, 8, 9, 100, 101, 102, 103),
                  PAGES(3, 1));
    assert_faults(PAGES(5, 6, 7, 2, 3, 4, 8, 9, 100, 101, 102, 103, 0, 1),
                  PAGES(5, 2));
}

static void nonsense_is_passed_over(void **state)
{
    struct fault_order o;

    (void)state;
    make(&o);
    fault_order_page(&o, 2, 0);
    fault_order_page(&o, 0, 10);
    fault_order_page(&o, 1, UINT64_MAX);
    assert_int_equal(o.n, 0);
    for (unsigned i = 0; i < 3 * FAULT_ORDER_MAX; i++)
        fault_order_page(&o, 0, i % 2 ? 9 : 0);
    assert_int_equal(o.n, FAULT_ORDER_MAX);
    fault_order_release(&o);
    fault_order_release(&o);
}

static void no_block_is_no_harm(void **state)
{
    struct ramblock_list none = {0};
    struct fault_order o;
    struct error err;

    (void)state;
    assert_ok(fault_order_init(&o, &none, &err), &err);
    fault_order_page(&o, 0, 0);
    assert_int_equal(o.n, 0);
    fault_order_release(&o);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_scan_has_no_fault),
        cmocka_unit_test(a_page_ahead_of_its_turn_is_one),
        cmocka_unit_test(faults_in_a_row_are_in_their_order),
        cmocka_unit_test(what_was_sent_is_left_out_by_the_scan),
        cmocka_unit_test(nonsense_is_passed_over),
        cmocka_unit_test(no_block_is_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include "restore/uffd/address_map.h"

static void add(struct address_map *m, uint64_t start, uint64_t len,
                uint64_t offset)
{
    struct error err = ERROR_INIT;
    struct address_extent x = {start, len, offset};

    assert_int_equal(address_map_add(m, &x, &err), 0);
}

static void check(const struct address_map *m, uint64_t address, int64_t want)
{
    uint64_t offset;
    bool found = address_map_offset(m, address, &offset);

    assert_int_equal(found, want >= 0);
    if (found)
        assert_int_equal(offset, want);
}

static void a_cut_leaves_what_is_beside_it(void **state)
{
    struct error err = ERROR_INIT;
    struct address_map m = {0};
    uint64_t address;
    uint64_t run;

    add(&m, 1000, 100, 0);
    add(&m, 2000, 100, 100);
    assert_int_equal(address_map_cut(&m, 1040, 1060, &err), 0);
    assert_int_equal(m.n, 3);
    check(&m, 1039, 39);
    check(&m, 1040, -1);
    check(&m, 1059, -1);
    check(&m, 1060, 60);

    assert_false(address_map_address(&m, 45, &address, &run));
    assert_int_equal(run, 15);
    assert_true(address_map_address(&m, 60, &address, &run));
    assert_int_equal(address, 1060);
    assert_int_equal(run, 40);

    assert_int_equal(address_map_cut(&m, 0, UINT64_MAX, &err), 0);
    assert_int_equal(m.n, 0);
    address_map_release(&m);
}

static void what_moves_keeps_its_place_in_the_image(void **state)
{
    struct error err = ERROR_INIT;
    struct address_map m = {0};

    add(&m, 1000, 100, 0);
    add(&m, 2000, 100, 100);
    assert_int_equal(address_map_move(&m, 1020, 60, 2010, &err), 0);

    check(&m, 1019, 19);
    check(&m, 1020, -1);
    check(&m, 1080, 80);
    check(&m, 2009, 109);
    check(&m, 2010, 20);
    check(&m, 2069, 79);
    check(&m, 2070, 170);
    address_map_release(&m);
}

static void overlaps_and_wraps_are_refused(void **state)
{
    const struct address_extent bad[] = {
        {1099, 10, 500}, {901, 100, 500},           {5000, 10, 99},
        {5000, 0, 500},  {UINT64_MAX - 5, 10, 500}, {5000, 10, UINT64_MAX - 5},
    };
    struct address_map m = {0};

    add(&m, 1000, 100, 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct error err = ERROR_INIT;

        assert_int_equal(address_map_add(&m, &bad[i], &err), ERR_PROTOCOL);
    }
    assert_int_equal(m.n, 1);
    address_map_release(&m);
}

/* Against an array that says of each address where it is in the image. */
static void any_row_of_cuts_and_moves_agrees_with_a_plain_table(void **state)
{
    enum { SPACE = 400, IMAGE = 100 };
    struct error err = ERROR_INIT;

    for (unsigned seed = 1; seed <= 200; seed++) {
        struct address_map m = {0};
        int table[SPACE];
        unsigned r = seed;

        for (int i = 0; i < SPACE; i++)
            table[i] = i < IMAGE ? i : -1;
        add(&m, 0, IMAGE, 0);
        for (int step = 0; step < 30; step++) {
            int from, len, to, moved[50];

            r = r * 1103515245u + 12345u;
            from = (int)(r >> 8) % 300;
            len = 1 + (int)(r >> 20) % 40;
            r = r * 1103515245u + 12345u;
            to = (int)(r >> 8) % 350;
            memcpy(moved, table + from, sizeof(int) * (size_t)len);
            for (int i = 0; i < len; i++)
                table[from + i] = -1;
            if (r & 64 || (to < from + len && from < to + len)) {
                assert_int_equal(address_map_cut(&m, (uint64_t)from,
                                                 (uint64_t)(from + len), &err),
                                 0);
            } else {
                memcpy(table + to, moved, sizeof(int) * (size_t)len);
                assert_int_equal(address_map_move(&m, (uint64_t)from,
                                                  (uint64_t)len, (uint64_t)to,
                                                  &err),
                                 0);
            }
            for (int i = 0; i < SPACE; i++)
                check(&m, (uint64_t)i, table[i]);
        }
        address_map_release(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_leaves_what_is_beside_it),
        cmocka_unit_test(what_moves_keeps_its_place_in_the_image),
        cmocka_unit_test(overlaps_and_wraps_are_refused),
        cmocka_unit_test(any_row_of_cuts_and_moves_agrees_with_a_plain_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

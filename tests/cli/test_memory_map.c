#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include "cli/memory_map.h"

/* A reader of one block whose data pages are those of `ranges`; it stands in
 * for storage's, of which a map uses these two functions. */
struct snapshot_reader {
    struct ramblock_list blocks;
    struct ramblock block;
    struct {
        pgno_t first;
        pgno_t end;
    } ranges[3];
    pgno_t fails_at;
    pgno_t raw_from; /* these and all behind, if not 0 */
    unsigned located;
};

const struct ramblock_list *
snapshot_reader_blocks(const struct snapshot_reader *s)
{
    return &s->blocks;
}

int snapshot_reader_next_data(struct snapshot_reader *s, uint32_t block,
                              pgno_t from, pgno_t *ret, struct error *err)
{
    pgno_t next = ramblock_pages(&s->block);

    if (s->fails_at && from >= s->fails_at)
        return fail(err, ERR_CORRUPT, "segment 7: checksum differs");
    for (size_t i = ARRAY_LEN(s->ranges); i-- > 0;) {
        if (from < s->ranges[i].end)
            next = MIN(next, MAX(from, s->ranges[i].first));
    }
    *ret = next;
    return 0;
}

/* Pack 0 has the even pages, pack 1 the odd ones. */
int snapshot_reader_locate(struct snapshot_reader *s, uint32_t block,
                           pgno_t pgno, struct page_place *ret,
                           struct error *err)
{
    s->located++;
    *ret = (struct page_place){.pack = pgno % 2, .frame = (uint32_t)pgno};
    return 0;
}

int snapshot_reader_is_raw(struct snapshot_reader *s,
                           const struct page_place *place, bool *ret,
                           struct error *err)
{
    *ret = s->raw_from && place->frame >= s->raw_from;
    return 0;
}

struct fixture {
    const bool *shared;
    struct snapshot_reader reader;
    struct stopper stop;
    struct memory_map map;
    struct error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    return f ? stopper_init(&f->stop, &f->err) : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    memory_map_release(&f->map);
    stopper_release(&f->stop);
    free(f);
    return 0;
}

static int scan(struct fixture *f, uint64_t pages)
{
    f->reader.block.used_bytes = pages * PAGE_BYTES;
    f->reader.blocks =
        (struct ramblock_list){.blocks = &f->reader.block, .n = 1};
    return memory_map_init(&f->map, &f->reader, 0, f->shared, &f->stop,
                           &f->err);
}

static void a_small_block_has_a_cell_a_page(void **state)
{
    struct fixture *f = *state;

    f->reader.ranges[0].first = 2;
    f->reader.ranges[0].end = 4;

    assert_int_equal(scan(f, 5), 0);

    assert_int_equal(f->map.n_cells, 5);
    assert_int_equal(f->map.cell_pages, 1);
    assert_int_equal(f->map.data_pages, 2);
    assert_int_equal(memory_map_char(&f->map, 1), '.');
    assert_int_equal(memory_map_char(&f->map, 2), '#');
}

static void a_large_block_has_1024_cells_at_most(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(scan(f, 1024), 0);
    assert_int_equal(f->map.n_cells, 1024);
    memory_map_release(&f->map);

    assert_int_equal(scan(f, 1025), 0);
    assert_int_equal(f->map.n_cells, 513);
    memory_map_release(&f->map);

    assert_int_equal(scan(f, UINT64_C(1) << 24), 0);
    assert_int_equal(f->map.n_cells, 1024);
    assert_int_equal(f->map.cell_pages, 16384);
}

static void a_letter_tells_whether_data_fills_half_of_a_cell(void **state)
{
    struct fixture *f = *state;

    /* Cells of 8 pages: 1, 3, 4 of 8. */
    f->reader.ranges[0].first = 0;
    f->reader.ranges[0].end = 1;
    f->reader.ranges[1].first = 8;
    f->reader.ranges[1].end = 11;
    f->reader.ranges[2].first = 20;
    f->reader.ranges[2].end = 24;
    assert_int_equal(scan(f, 8 * 1024), 0);

    assert_int_equal(f->map.cell_pages, 8);
    assert_int_equal(memory_map_char(&f->map, 0), '+');
    assert_int_equal(memory_map_char(&f->map, 1), '+');
    assert_int_equal(memory_map_char(&f->map, 2), '#');
    assert_int_equal(memory_map_char(&f->map, 3), '.');
    assert_int_equal(f->reader.located, 0);
}

static void kinds_are_told_apart(void **state)
{
    static const bool shared[] = {false, true};
    struct fixture *f = *state;

    f->shared = shared;
    f->reader.ranges[0].end = 10;
    f->reader.raw_from = 7;
    assert_int_equal(scan(f, 100), 0);

    assert_int_equal(f->reader.located, 10);
    assert_int_equal(f->map.kinds[MEMORY_NEW], 4);
    assert_int_equal(f->map.kinds[MEMORY_SHARED], 3);
    assert_int_equal(f->map.kinds[MEMORY_INCOMPRESSIBLE], 3);
    assert_int_equal(memory_map_char(&f->map, 0), '#');
    assert_int_equal(memory_map_char(&f->map, 1), '=');
    assert_int_equal(memory_map_char(&f->map, 8), 'X');
    assert_int_equal(memory_map_char(&f->map, 10), '.');
}

static void most_data_decides_for_a_cell(void **state)
{
    static const bool shared[] = {false, false};
    struct fixture *f = *state;

    f->shared = shared;
    f->reader.ranges[0].end = 3; /* of 8: two incompressible */
    f->reader.raw_from = 1;
    assert_int_equal(scan(f, 8 * 1024), 0);

    assert_int_equal(memory_map_char(&f->map, 0), 'x');
}

static void a_short_last_cell_can_be_full(void **state)
{
    struct fixture *f = *state;

    f->reader.ranges[0].first = 2048;
    f->reader.ranges[0].end = 2049;
    assert_int_equal(scan(f, 2049), 0);

    assert_int_equal(f->map.cell_pages, 4);
    assert_int_equal(memory_map_char(&f->map, f->map.n_cells - 1), '#');
}

static void an_empty_block_has_no_cell(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(scan(f, 0), 0);
    assert_int_equal(f->map.n_cells, 0);
}

static void damage_is_passed_on(void **state)
{
    struct fixture *f = *state;

    f->reader.ranges[0].end = 10;
    f->reader.fails_at = 5;

    assert_int_equal(scan(f, 20), ERR_CORRUPT);
    assert_non_null(strstr(f->err.message, "segment 7"));
}

static void a_stopper_ends_the_walk(void **state)
{
    struct fixture *f = *state;

    f->reader.ranges[0].end = 100000;
    stopper_pull(&f->stop, ERR_INTERRUPTED);

    assert_int_equal(scan(f, 100000), ERR_INTERRUPTED);
}

int main(void)
{
#define WITH_READER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_READER(a_small_block_has_a_cell_a_page),
        WITH_READER(a_large_block_has_1024_cells_at_most),
        WITH_READER(a_letter_tells_whether_data_fills_half_of_a_cell),
        WITH_READER(kinds_are_told_apart),
        WITH_READER(most_data_decides_for_a_cell),
        WITH_READER(a_short_last_cell_can_be_full),
        WITH_READER(an_empty_block_has_no_cell),
        WITH_READER(damage_is_passed_on),
        WITH_READER(a_stopper_ends_the_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

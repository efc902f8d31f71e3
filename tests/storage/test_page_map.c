#include "tests/fakes/assert_error.h"

#include "storage/page_map.h"

static const struct dedup_place zero = {PAGE_MAP_ZERO, 0};

static struct place_book book;

static void make(struct page_map *m, uint64_t bytes)
{
    struct ramblock block = {.idstr = "pc.ram", .used_bytes = bytes};
    struct ramblock_list list = {.blocks = &block, .n = 1};
    struct error err;

    assert_ok(page_map_init(m, &list, &book, &err), &err);
}

static void release(struct page_map *m)
{
    page_map_release(m);
    place_book_release(&book);
}

static void put(struct page_map *m, pgno_t pgno, uint64_t seq,
                struct dedup_place place)
{
    struct error err;

    assert_ok(page_map_put(m, 0, pgno, seq, place, &err), &err);
}

static struct dedup_place content(uint32_t item)
{
    return (struct dedup_place){.pack = 1, .item = item};
}

static void a_page_never_put_is_unseen_and_not_zero(void **state)
{
    struct page_map m;

    make(&m, 4u << 20);
    put(&m, 5, 1, zero);

    assert_int_equal(page_map_get(&m, 0, 4).pack, PAGE_MAP_UNSEEN);
    assert_int_equal(page_map_get(&m, 0, 5).pack, PAGE_MAP_ZERO);
    assert_int_equal(page_map_get(&m, 0, 600).pack, PAGE_MAP_UNSEEN);
    release(&m);
}

static void the_higher_batch_wins_in_either_order(void **state)
{
    struct page_map m;

    make(&m, 4u << 20);
    put(&m, 1, 10, content(1));
    put(&m, 1, 20, content(2));
    put(&m, 2, 20, content(2));
    put(&m, 2, 10, content(1));

    assert_int_equal(page_map_get(&m, 0, 1).item, 2);
    assert_int_equal(page_map_get(&m, 0, 2).item, 2);
    assert_int_equal(m.replaced, 2);
    release(&m);
}

static void a_late_content_does_not_win_over_a_zero_run(void **state)
{
    struct page_map m;

    make(&m, 4u << 20);
    for (pgno_t i = 0; i < 128; i++)
        put(&m, i, 10, zero);
    put(&m, 64, 9, content(1));
    put(&m, 65, 11, content(2));

    assert_int_equal(page_map_get(&m, 0, 64).pack, PAGE_MAP_ZERO);
    assert_int_equal(page_map_get(&m, 0, 65).item, 2);
    assert_int_equal(page_map_get(&m, 0, 66).pack, PAGE_MAP_ZERO);
    assert_int_equal(m.replaced, 1); /* the late one is stored for nothing */
    release(&m);
}

static void a_zero_page_takes_the_place_of_content(void **state)
{
    struct page_map m;

    make(&m, 4u << 20);
    put(&m, 1, 10, content(1));
    put(&m, 1, 11, zero);
    put(&m, 2, 11, content(1));
    put(&m, 2, 10, zero);

    assert_int_equal(page_map_get(&m, 0, 1).pack, PAGE_MAP_ZERO);
    assert_int_equal(page_map_get(&m, 0, 2).item, 1);
    assert_int_equal(m.replaced, 1);
    release(&m);
}

static void the_same_content_again_replaces_nothing(void **state)
{
    struct page_map m;

    make(&m, 4u << 20);
    put(&m, 1, 10, content(1));
    put(&m, 1, 11, content(1));

    assert_int_equal(m.replaced, 0);
    release(&m);
}

static void a_sparse_guest_costs_next_to_nothing(void **state)
{
    struct page_map m;
    const pgno_t pages = (UINT64_C(32) << 30) / PAGE_BYTES;

    make(&m, UINT64_C(32) << 30);
    for (pgno_t i = 0; i < pages; i++)
        put(&m, i, i / PAGE_BATCH_MAX, zero);
    put(&m, 1000000, pages, content(7));

    assert_int_equal(m.full_segments, 1);
    assert_int_equal(page_map_get(&m, 0, 1000000).item, 7);
    assert_int_equal(page_map_get(&m, 0, pages - 1).pack, PAGE_MAP_ZERO);
    release(&m);
}

static void scattered_zero_pages_are_all_remembered(void **state)
{
    struct page_map m;

    make(&m, 2u << 20);
    for (pgno_t i = 0; i < 512; i += 2)
        put(&m, i, i, zero);

    for (pgno_t i = 0; i < 512; i++)
        assert_int_equal(page_map_get(&m, 0, i).pack,
                         i % 2 ? PAGE_MAP_UNSEEN : PAGE_MAP_ZERO);
    assert_int_equal(m.full_segments, 1);
    release(&m);
}

static void a_segment_is_read_whole(void **state)
{
    struct dedup_place places[SEGMENT_PAGES];
    struct page_map m;

    make(&m, (512 + 10) * PAGE_BYTES);
    put(&m, 513, 1, content(3));
    put(&m, 514, 1, zero);

    assert_int_equal(page_map_read_segment(&m, 0, 0, places), 512);
    assert_int_equal(places[511].pack, PAGE_MAP_UNSEEN);
    assert_int_equal(page_map_read_segment(&m, 0, 1, places), 10);
    assert_int_equal(places[0].pack, PAGE_MAP_UNSEEN);
    assert_int_equal(places[1].item, 3);
    assert_int_equal(places[2].pack, PAGE_MAP_ZERO);
    release(&m);
}

static void a_content_moves(void **state)
{
    struct page_map m;
    struct error err;

    make(&m, 4u << 20);
    put(&m, 1, 1, content(5));
    put(&m, 2, 1, content(6));
    assert_ok(page_map_move(&m, 0, 1, (struct dedup_place){9, 105}, &err),
              &err);

    assert_int_equal(page_map_get(&m, 0, 1).pack, 9);
    assert_int_equal(page_map_get(&m, 0, 1).item, 105);
    assert_int_equal(page_map_get(&m, 0, 2).pack, 1);
    /* Its batch is as before: who comes late is late still. */
    put(&m, 1, 0, content(7));
    assert_int_equal(page_map_get(&m, 0, 1).pack, 9);
    release(&m);
}

static void a_batch_number_that_does_not_fit_is_refused(void **state)
{
    struct page_map m;
    struct error err;

    make(&m, 4u << 20);
    put(&m, 1, UINT32_MAX, content(5));
    assert_int_equal(page_map_put(&m, 0, 2, UINT64_C(1) << 32, content(6),
                                  &err),
                     ERR_UNSUPPORTED);
    assert_int_equal(page_map_get(&m, 0, 2).pack, PAGE_MAP_UNSEEN);
    release(&m);
}

/* Random puts against the plainest map there is. */
static void it_agrees_with_a_plain_array(void **state)
{
    static struct {
        uint64_t seq;
        struct dedup_place place;
        bool seen;
    } plain[2048];
    uint64_t x = 12345;
    struct page_map m;

    make(&m, sizeof(plain) / sizeof(plain[0]) * PAGE_BYTES);
    for (uint32_t round = 0; round < 20000; round++) {
        uint32_t at, n;
        uint64_t seq;
        struct dedup_place place;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        at = (uint32_t)(x % 2048);
        n = (uint32_t)(x >> 20) % 100;
        seq = (x >> 40) % 1000 * 20000 + round;
        place = x >> 63 ? zero : content(round);
        for (; n > 0 && at < 2048; at++, n--) {
            put(&m, at, seq, place);
            if (!plain[at].seen || seq >= plain[at].seq) {
                plain[at].seen = true;
                plain[at].seq = seq;
                plain[at].place = place;
            }
        }
    }
    for (uint32_t i = 0; i < 2048; i++) {
        assert_int_equal(page_map_get(&m, 0, i).pack,
                         plain[i].seen ? plain[i].place.pack : PAGE_MAP_UNSEEN);
        if (plain[i].seen)
            assert_int_equal(page_map_get(&m, 0, i).item, plain[i].place.item);
    }
    release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_never_put_is_unseen_and_not_zero),
        cmocka_unit_test(the_higher_batch_wins_in_either_order),
        cmocka_unit_test(a_late_content_does_not_win_over_a_zero_run),
        cmocka_unit_test(a_zero_page_takes_the_place_of_content),
        cmocka_unit_test(the_same_content_again_replaces_nothing),
        cmocka_unit_test(a_sparse_guest_costs_next_to_nothing),
        cmocka_unit_test(scattered_zero_pages_are_all_remembered),
        cmocka_unit_test(a_segment_is_read_whole),
        cmocka_unit_test(a_content_moves),
        cmocka_unit_test(a_batch_number_that_does_not_fit_is_refused),
        cmocka_unit_test(it_agrees_with_a_plain_array),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/storage/repo_fixture.h"

#include "restore/pages/page_gatherer.h"
#include "tests/restore/pages/frames_queue.h"

/*
 * Over a real snapshot of 2500 pages, every fifth of them zero. The test is
 * filler and taker in one: what was finished lies on the shelf.
 */
struct bench {
    struct fixture *f;
    struct snapshot_summary summary;
    struct snapshot_frames *frames;
    struct page_queue *queue;
    struct stock_shelf shelf;
    struct page_gatherer gatherer;
    unsigned n_ready;
};

static void on_ready(void *arg)
{
    ((struct bench *)arg)->n_ready++;
}

static struct bench *bench_open(struct fixture *f, uint32_t unit_pages)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct page_gatherer_args args;
    struct error err;

    b->f = f;
    b->summary = fixture_capture(f);
    assert_ok(snapshot_frames_open(f->repository, b->summary.id, 1 << 20,
                                   &b->frames, &err),
              &err);
    b->queue = frames_queue_new(f, b->frames, unit_pages);
    args = (struct page_gatherer_args){
        .frames = b->frames, .queue = b->queue, .shelf = &b->shelf};
    assert_ok(stock_shelf_init(&b->shelf, page_gatherer_batch_pages(&args),
                               on_ready, b, &err),
              &err);
    assert_ok(page_gatherer_init(&b->gatherer, &args, &err), &err);
    return b;
}

static void bench_close(struct bench *b)
{
    page_gatherer_release(&b->gatherer);
    stock_shelf_release(&b->shelf);
    page_queue_free(b->queue);
    snapshot_frames_close(b->frames);
    snapshot_summary_release(&b->summary);
    free(b);
}

static const uint8_t *memory(const struct bench *b, pgno_t pgno)
{
    return b->f->vm.memory[0] + pgno * PAGE_BYTES;
}

static bool has_data(const struct bench *b, pgno_t pgno)
{
    static const uint8_t zero[PAGE_BYTES];

    return memcmp(memory(b, pgno), zero, PAGE_BYTES) != 0;
}

static void begin(struct bench *b)
{
    assert_true(page_gatherer_begin(&b->gatherer, PAGE_TURN_NEAR));
}

static void add(struct bench *b, pgno_t pgno)
{
    struct page_place place;
    struct error err;

    assert_ok(snapshot_frames_locate(b->frames, 0, pgno, &place, &err), &err);
    assert_false(place.zero);
    page_gatherer_add(&b->gatherer, 0, pgno, &place);
}

static const struct stock_batch *finish(struct bench *b)
{
    struct error err;

    assert_ok(page_gatherer_finish(&b->gatherer, PAGE_TURN_NEAR, &err), &err);
    return stock_shelf_take(&b->shelf, PAGE_TURN_NEAR);
}

static void what_is_added_is_read_and_shown_in_its_order(void **state)
{
    static const pgno_t pages[] = {2001, 3, 1003, 2002};
    struct bench *b = bench_open(*state, 1);
    const struct stock_batch *got;

    begin(b);
    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        add(b, pages[i]);
    assert_int_equal(page_gatherer_left(&b->gatherer), GATHER_PAGES - 4);
    got = finish(b);
    assert_int_equal(got->n, ARRAY_LEN(pages));
    assert_int_equal(got->turn, PAGE_TURN_NEAR);
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        assert_int_equal(got->pages[i].pgno, pages[i]);
        assert_memory_equal(got->pages[i].data, memory(b, pages[i]),
                            PAGE_BYTES);
    }
    assert_int_equal(b->n_ready, 1);
    assert_null(b->gatherer.batch);
    bench_close(b);
}

static void pages_of_one_place_are_read_into_one(void **state)
{
    struct fixture *f = *state;
    struct bench *b;
    const struct stock_batch *got;

    memcpy(f->vm.memory[0] + 12 * PAGE_BYTES, f->vm.memory[0] + 11 * PAGE_BYTES,
           PAGE_BYTES);
    b = bench_open(f, 1);
    begin(b);
    add(b, 11);
    add(b, 12);
    add(b, 13);
    got = finish(b);
    assert_int_equal(got->n, 3);
    assert_ptr_equal(got->pages[0].data, got->pages[1].data);
    assert_ptr_not_equal(got->pages[1].data, got->pages[2].data);
    for (size_t i = 0; i < 3; i++)
        assert_memory_equal(got->pages[i].data, memory(b, 11 + i), PAGE_BYTES);
    bench_close(b);
}

static void what_was_added_or_taken_is_had(void **state)
{
    struct bench *b = bench_open(*state, 1);
    struct page_unit unit;

    begin(b);
    assert_false(page_gatherer_has(&b->gatherer, 0, 7));
    add(b, 7);
    assert_true(page_gatherer_has(&b->gatherer, 0, 7));
    assert_false(page_gatherer_has(&b->gatherer, 0, 8));
    assert_true(page_queue_take(b->queue, 0, 8, PAGE_TURN_URGENT, &unit));
    assert_true(page_gatherer_has(&b->gatherer, 0, 8));
    assert_false(page_gatherer_has(&b->gatherer, 1, 7));
    bench_close(b);
}

static void nothing_added_leaves_the_batch_for_the_next(void **state)
{
    struct bench *b = bench_open(*state, 1);
    struct shelf_batch *batch;

    begin(b);
    batch = b->gatherer.batch;
    assert_null(finish(b));
    assert_int_equal(b->n_ready, 0);
    begin(b);
    assert_ptr_equal(b->gatherer.batch, batch);
    bench_close(b);
}

static void pages_come_with_their_frames_and_once(void **state)
{
    struct bench *b = bench_open(*state, 1);
    bool seen[FIXTURE_PAGES] = {false};
    const struct stock_batch *got;

    begin(b);
    page_gatherer_add_frame(&b->gatherer, 0, 1001);
    assert_true(page_gatherer_left(&b->gatherer) < GATHER_PAGES - 1);
    page_gatherer_add_frames(&b->gatherer, 0, 992, 1024);
    got = finish(b);
    for (size_t i = 0; i < got->n; i++) {
        const struct stock_page *p = &got->pages[i];

        assert_false(seen[p->pgno]);
        seen[p->pgno] = true;
        assert_int_equal(p->data != NULL, has_data(b, p->pgno));
    }
    for (pgno_t p = 992; p < 1024; p++)
        assert_true(seen[p]);
    /* Of the outermost frames the rest. */
    assert_in_range(got->n, 32, 32 + 2 * 16);
    /* All of it was brought: a second time there is nothing. */
    begin(b);
    page_gatherer_add_frames(&b->gatherer, 0, 992, 1024);
    assert_null(finish(b));
    bench_close(b);
}

static void what_does_not_fit_is_left_out(void **state)
{
    struct bench *b = bench_open(*state, 1);
    const struct stock_batch *got;

    begin(b);
    page_gatherer_add_frames(&b->gatherer, 0, 0, FIXTURE_PAGES + 7);
    assert_int_equal(page_gatherer_left(&b->gatherer), 0);
    assert_false(page_gatherer_has(&b->gatherer, 0, FIXTURE_PAGES - 1));
    got = finish(b);
    assert_int_equal(got->n, GATHER_PAGES);
    bench_close(b);
}

static void a_unit_comes_whole_once_and_a_zero_one_never(void **state)
{
    struct fixture *f = *state;
    const struct stock_batch *got;
    struct bench *b;
    struct error err;

    memset(f->vm.memory[0] + 512 * PAGE_BYTES, 0, (size_t)512 * PAGE_BYTES);
    b = bench_open(f, 512);
    assert_int_equal(b->gatherer.batch_pages, 512);
    for (unsigned i = 0; i < 2; i++) {
        assert_ok(page_gatherer_bring_unit(&b->gatherer, 0, 0, PAGE_TURN_FILL,
                                           &err),
                  &err);
        assert_ok(page_gatherer_bring_unit(&b->gatherer, 0, 512, PAGE_TURN_FILL,
                                           &err),
                  &err);
    }
    got = stock_shelf_take(&b->shelf, PAGE_TURN_FILL);
    assert_int_equal(got->n, 512);
    assert_int_equal(got->why.code, 0);
    for (pgno_t p = 0; p < 512; p++) {
        assert_int_equal(got->pages[p].pgno, p);
        assert_int_equal(got->pages[p].data != NULL, has_data(b, p));
        if (got->pages[p].data)
            assert_memory_equal(got->pages[p].data, memory(b, p), PAGE_BYTES);
    }
    assert_null(stock_shelf_take(&b->shelf, PAGE_TURN_FILL));
    bench_close(b);
}

/* One byte in the middle of the pack of this page. */
static const struct stock_batch *next(struct bench *b)
{
    return stock_shelf_take(&b->shelf, PAGE_TURN_NEAR);
}

/* How many of its pages are lost: all or none. */
static size_t check(const struct bench *b, const struct stock_batch *got)
{
    if (got->why.code != 0) {
        assert_int_equal(got->why.code, ERR_CORRUPT);
        assert_int_equal(got->n, 1);
        assert_true(has_data(b, got->pages[0].pgno));
        return 1;
    }
    for (size_t i = 0; i < got->n; i++) {
        if (!has_data(b, got->pages[i].pgno))
            assert_null(got->pages[i].data);
        else
            assert_memory_equal(got->pages[i].data,
                                memory(b, got->pages[i].pgno), PAGE_BYTES);
    }
    /* The room of another batch may be filled anew by now. */
    if (got->n == 1 && got->pages[0].data)
        assert_ptr_equal(got->pages[0].data,
                         ((const struct shelf_batch *)got)->room);
    return 0;
}

static void damage_is_told_page_by_page_and_the_others_come(void **state)
{
    struct bench *b = bench_open(*state, 1);
    size_t lost = 0;

    frames_damage(b->f, b->frames, 1001);
    for (pgno_t p = 1; p < FIXTURE_PAGES / 2; p += 5) {
        const struct stock_batch *got;

        begin(b);
        add(b, p);
        add(b, p + FIXTURE_PAGES / 2); /* of another frame */
        page_gatherer_add_frame(&b->gatherer, 0, p + 3); /* a zero page */
        got = finish(b);
        for (size_t n = 0; n < 3; got = next(b)) {
            n += got->n;
            lost += check(b, got);
            stock_shelf_give(&b->shelf, got);
        }
        assert_null(got);
    }
    assert_in_range(lost, 1, 8);
    bench_close(b);
}

static void damage_costs_the_whole_of_a_unit(void **state)
{
    struct bench *b = bench_open(*state, 512);
    size_t lost = 0;

    frames_damage(b->f, b->frames, 1001);
    for (pgno_t p = 0; p < FIXTURE_PAGES; p += 512) {
        const struct stock_batch *got;
        struct error err;

        assert_ok(page_gatherer_bring_unit(&b->gatherer, 0, p, PAGE_TURN_FILL,
                                           &err),
                  &err);
        got = stock_shelf_take(&b->shelf, PAGE_TURN_FILL);
        assert_int_equal(got->pages[0].pgno, p);
        lost += got->why.code == ERR_CORRUPT;
        stock_shelf_give(&b->shelf, got);
        assert_null(stock_shelf_take(&b->shelf, PAGE_TURN_FILL));
    }
    assert_in_range(lost, 1, 2);
    bench_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(what_is_added_is_read_and_shown_in_its_order),
        FIXTURE_TEST(pages_of_one_place_are_read_into_one),
        FIXTURE_TEST(what_was_added_or_taken_is_had),
        FIXTURE_TEST(nothing_added_leaves_the_batch_for_the_next),
        FIXTURE_TEST(pages_come_with_their_frames_and_once),
        FIXTURE_TEST(what_does_not_fit_is_left_out),
        FIXTURE_TEST(a_unit_comes_whole_once_and_a_zero_one_never),
        FIXTURE_TEST(damage_is_told_page_by_page_and_the_others_come),
        FIXTURE_TEST(damage_costs_the_whole_of_a_unit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

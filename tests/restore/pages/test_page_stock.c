#include "tests/storage/repo_fixture.h"

#include "restore/pages/page_stock.h"
#include "restore/pages/telltales.h"
#include "tests/restore/pages/frames_queue.h"

/*
 * Over a real snapshot of 2500 pages, every fifth of them zero, and two small
 * blocks; the test takes what is brought and compares it with the memory.
 */
struct bench {
    struct fixture *f;
    struct snapshot_summary summary;
    struct snapshot_frames *frames;
    struct page_queue *queue;
    struct prefetch_plan *plan;
    struct page_stock *stock;
    uint8_t brought[FIXTURE_PAGES]; /* of pc.ram, how often */
    enum page_turn turn[FIXTURE_PAGES];
    unsigned order[FIXTURE_PAGES]; /* when */
    unsigned n;
    unsigned zeros;  /* zero pages */
    unsigned n_lost; /* pages that cannot be had */
};

static void on_ready(void *arg)
{
}

static struct bench *bench_open(struct fixture *f, uint32_t unit_pages)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct error err;

    b->f = f;
    b->summary = fixture_capture(f);
    assert_ok(snapshot_frames_open(f->repository, b->summary.id, 1 << 20,
                                   &b->frames, &err),
              &err);
    b->queue = frames_queue_new(f, b->frames, unit_pages);
    return b;
}

static void bench_hints(struct bench *b, pgno_t first, size_t n)
{
    struct hints h = {.list = calloc(n, sizeof(*h.list)), .n = n, .runs = 1};
    const struct prefetch_block blocks[] = {
        {.pages = FIXTURE_PAGES, .unit_pages = 1}};
    struct error err;

    for (size_t i = 0; i < n; i++)
        h.list[i] = (struct hint){.seen = 1, .pgno = first + i};
    assert_ok(prefetch_plan_new(&(struct prefetch_args){.hints = &h,
                                                        .blocks = blocks,
                                                        .n_blocks = 1,
                                                        .group_pages =
                                                            PREFETCH_GROUP},
                                &b->plan, &err),
              &err);
    hints_release(&h);
}

static void bench_start(struct bench *b, bool fill)
{
    struct error err;

    assert_ok(page_stock_new(&(struct page_stock_args){.frames = b->frames,
                                                       .queue = b->queue,
                                                       .plan = b->plan,
                                                       .fill = fill,
                                                       .ready = on_ready},
                             &b->stock, &err),
              &err);
}

static void bench_close(struct bench *b)
{
    page_stock_free(b->stock);
    prefetch_plan_free(b->plan);
    page_queue_free(b->queue);
    snapshot_frames_close(b->frames);
    snapshot_summary_release(&b->summary);
    free(b);
}

static bool has_data(pgno_t pgno, const struct bench *b)
{
    static const uint8_t zero[PAGE_BYTES];

    return memcmp(b->f->vm.memory[0] + pgno * PAGE_BYTES, zero, PAGE_BYTES) !=
           0;
}

static void look_at(struct bench *b, const struct stock_batch *batch, size_t i)
{
    const struct stock_page *p = &batch->pages[i];
    const uint8_t *memory = b->f->vm.memory[p->block] + p->pgno * PAGE_BYTES;

    if (batch->why.code != 0) {
        b->n_lost++;
        return;
    }
    if (p->data)
        assert_memory_equal(p->data, memory, PAGE_BYTES);
    if (p->block != 0)
        return;
    if (!p->data) {
        assert_false(has_data(p->pgno, b));
        b->zeros++;
        return;
    }
    b->brought[p->pgno]++;
    b->turn[p->pgno] = batch->turn;
    b->order[p->pgno] = b->n++;
}

/* One batch of any turn; false: there is none now. */
static bool take(struct bench *b)
{
    for (int t = PAGE_TURN_PREFETCH; t < PAGE_TURN__COUNT; t++) {
        const struct stock_batch *batch =
            page_stock_take(b->stock, (enum page_turn)t);
        struct page_unit unit;

        if (!batch)
            continue;
        assert_int_equal(batch->turn, t);
        for (size_t i = 0; i < batch->n; i++) {
            look_at(b, batch, i);
            page_queue_take(b->queue, batch->pages[i].block,
                            batch->pages[i].pgno, batch->turn, &unit);
        }
        page_stock_give(b->stock, batch);
        return true;
    }
    return false;
}

static void take_all(struct bench *b)
{
    while (take(b) || !page_stock_done(b->stock))
        usleep(50);
}

static void every_data_page_is_brought_once(void **state)
{
    struct bench *b = bench_open(*state, 1);

    bench_start(b, true);
    take_all(b);
    for (pgno_t p = 0; p < FIXTURE_PAGES; p++)
        assert_int_equal(b->brought[p], has_data(p, b));
    bench_close(b);
}

static void each_frame_is_read_once_though_pages_share_it(void **state)
{
    struct fixture *f = *state;
    struct bench *b;
    uint64_t stored = 0;

    /* The second half is the first once more. */
    memcpy(f->vm.memory[0] + FIXTURE_PAGES / 2 * PAGE_BYTES, f->vm.memory[0],
           (size_t)FIXTURE_PAGES / 2 * PAGE_BYTES);
    b = bench_open(f, 1);
    bench_start(b, true);
    take_all(b);

    for (pgno_t p = 0; p < FIXTURE_PAGES; p++)
        assert_int_equal(b->brought[p], has_data(p, b));
    stored = snapshot_reader_image_bytes(snapshot_frames_facts(b->frames));
    assert_true(snapshot_frames_read_bytes(b->frames) <= stored);
    bench_close(b);
}

static void what_is_taken_already_is_left_out(void **state)
{
    struct bench *b = bench_open(*state, 1);
    struct page_unit unit;

    for (pgno_t p = 100; p < 200; p++)
        assert_true(page_queue_take(b->queue, 0, p, PAGE_TURN_URGENT, &unit));
    bench_start(b, true);
    take_all(b);
    for (pgno_t p = 0; p < FIXTURE_PAGES; p++)
        assert_int_equal(b->brought[p],
                         has_data(p, b) && !(p >= 100 && p < 200));
    bench_close(b);
}

static void telltales_come_behind_what_lies_around_them(void **state)
{
    struct bench *b = bench_open(*state, 1);
    unsigned last = 0;
    unsigned first = ~0u;

    bench_start(b, true);
    take_all(b);
    for (pgno_t p = 0; p < FIXTURE_PAGES; p++) {
        assert_int_equal(b->brought[p], has_data(p, b));
        if (!has_data(p, b))
            continue;
        if (is_telltale(p))
            first = MIN(first, b->order[p]);
        else
            last = MAX(last, b->order[p]);
    }
    assert_true(first > last);
    bench_close(b);
}

static void hints_come_first_and_their_samples_last(void **state)
{
    struct bench *b = bench_open(*state, 1);
    unsigned last_hint = 0;

    bench_hints(b, 1501, 64);
    bench_start(b, true);
    take_all(b);
    assert_true(page_stock_is_ahead(b->stock));
    for (pgno_t p = 0; p < FIXTURE_PAGES; p++)
        assert_int_equal(b->brought[p], has_data(p, b));
    for (pgno_t p = 1501; p < 1565; p++) {
        bool sample = (p - 1500) % PREFETCH_GROUP == 0;

        if (!has_data(p, b))
            continue;
        assert_int_equal(b->turn[p] == PAGE_TURN_PREFETCH, !sample);
        if (sample)
            assert_true(b->order[p] + 2 >= b->n);
        else
            last_hint = MAX(last_hint, b->order[p]);
    }
    /* Some of the hints' frames reach beyond them. */
    assert_true(last_hint < 120);
    bench_close(b);
}

static void without_a_fill_only_hints_and_neighbours_come(void **state)
{
    struct bench *b = bench_open(*state, 1);

    bench_hints(b, 0, 31);
    bench_start(b, false);
    while (!page_stock_is_ahead(b->stock)) {
        if (!take(b))
            usleep(50);
    }
    assert_int_equal(b->turn[1], PAGE_TURN_PREFETCH);
    for (pgno_t p = 60; p < FIXTURE_PAGES; p++)
        assert_int_equal(b->brought[p], 0);

    /* What is ahead of it, then what is behind. */
    page_stock_asked(b->stock, 0, 1001);
    while (!take(b))
        usleep(50);
    while (!take(b))
        usleep(50);
    for (pgno_t p = 985; p < 1017; p++) {
        assert_int_equal(b->brought[p], has_data(p, b));
        assert_int_equal(b->turn[p], has_data(p, b) ? PAGE_TURN_NEAR : 0);
    }
    assert_true(b->order[985] > b->order[1016]);
    assert_int_equal(b->brought[1040], 0);
    assert_true(b->zeros >= 6); /* and its zero pages: they cost nothing */
    assert_false(page_stock_done(b->stock));
    bench_close(b);
}

static void neighbours_overtake_a_fill_that_nobody_takes(void **state)
{
    struct bench *b = bench_open(*state, 1);
    const struct stock_batch *near = NULL;

    bench_start(b, true);
    usleep(20000); /* it stands with full hands, or is about to */
    page_stock_asked(b->stock, 0, 2400);
    while (!near) {
        near = page_stock_take(b->stock, PAGE_TURN_NEAR);
        usleep(50);
    }
    assert_int_equal(near->pages[0].pgno / 32, 2400 / 32);
    page_stock_give(b->stock, near);
    bench_close(b);
}

static void huge_units_come_whole(void **state)
{
    struct bench *b = bench_open(*state, 512);
    const struct stock_batch *batch = NULL;

    bench_start(b, true);
    while (!batch || batch->pages[0].block != 0) {
        if (batch)
            page_stock_give(b->stock, batch);
        batch = page_stock_take(b->stock, PAGE_TURN_FILL);
        usleep(50);
    }
    assert_int_equal(batch->n, 512);
    for (size_t i = 0; i < 512; i++) {
        assert_int_equal(batch->pages[i].pgno, i);
        assert_int_equal(batch->pages[i].data != NULL, has_data(i, b));
    }
    page_stock_give(b->stock, batch);
    take_all(b);
    bench_close(b);
}

static void damage_costs_the_pages_of_its_frame_and_no_other(void **state)
{
    struct bench *b = bench_open(*state, 1);
    unsigned missing = 0;

    frames_damage(b->f, b->frames, 1001);
    bench_start(b, true);
    take_all(b);
    for (pgno_t p = 0; p < FIXTURE_PAGES; p++) {
        assert_true(b->brought[p] <= has_data(p, b));
        missing += has_data(p, b) - b->brought[p];
    }
    assert_true(missing >= 1 && missing <= 8);
    assert_int_equal(b->n_lost, missing);
    bench_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(every_data_page_is_brought_once),
        FIXTURE_TEST(each_frame_is_read_once_though_pages_share_it),
        FIXTURE_TEST(what_is_taken_already_is_left_out),
        FIXTURE_TEST(telltales_come_behind_what_lies_around_them),
        FIXTURE_TEST(hints_come_first_and_their_samples_last),
        FIXTURE_TEST(without_a_fill_only_hints_and_neighbours_come),
        FIXTURE_TEST(neighbours_overtake_a_fill_that_nobody_takes),
        FIXTURE_TEST(huge_units_come_whole),
        FIXTURE_TEST(damage_costs_the_pages_of_its_frame_and_no_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

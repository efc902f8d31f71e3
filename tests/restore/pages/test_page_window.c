#include "tests/storage/repo_fixture.h"

#include "restore/pages/page_window.h"
#include "tests/restore/pages/frames_queue.h"

/*
 * Over a real snapshot whose second half is the first half backwards: each
 * frame holds pages from two ends of the guest.
 */
struct bench {
    struct fixture *f;
    struct snapshot_summary summary;
    struct snapshot_frames *frames;
    struct page_queue *queue;
    struct page_window window;
};

static struct bench *bench_open(struct fixture *f, uint32_t unit_pages)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct error err;

    for (pgno_t p = 0; p < FIXTURE_PAGES / 2; p++)
        memcpy(f->vm.memory[0] + (FIXTURE_PAGES - 1 - p) * PAGE_BYTES,
               f->vm.memory[0] + p * PAGE_BYTES, PAGE_BYTES);
    b->f = f;
    b->summary = fixture_capture(f);
    assert_ok(snapshot_frames_open(f->repository, b->summary.id, 1 << 20,
                                   &b->frames, &err),
              &err);
    b->queue = frames_queue_new(f, b->frames, unit_pages);
    b->window = (struct page_window){.frames = b->frames, .queue = b->queue};
    assert_ok(page_window_load(&b->window, &err), &err);
    return b;
}

static void bench_close(struct bench *b)
{
    page_window_release(&b->window);
    page_queue_free(b->queue);
    snapshot_frames_close(b->frames);
    snapshot_summary_release(&b->summary);
    free(b);
}

static bool same_frame(const struct window_entry *x,
                       const struct window_entry *y)
{
    return x->place.pack == y->place.pack && x->place.frame == y->place.frame;
}

static void data_pages_come_once_by_frame_and_slot(void **state)
{
    static const uint8_t zero[PAGE_BYTES];
    struct bench *b = bench_open(*state, 1);
    const struct page_window *w = &b->window;
    uint8_t seen[FIXTURE_PAGES] = {0};
    unsigned jumps = 0;

    for (size_t i = 0; i < w->n; i++) {
        const struct window_entry *e = &w->entries[i];

        if (e->block == 0)
            seen[e->pgno]++;
        if (i == 0 || !same_frame(e - 1, e))
            continue;
        assert_true(e[-1].place.slot <= e->place.slot);
        jumps += e->pgno > e[-1].pgno + FIXTURE_PAGES / 4;
    }
    for (pgno_t p = 0; p < FIXTURE_PAGES; p++)
        assert_int_equal(seen[p], memcmp(b->f->vm.memory[0] + p * PAGE_BYTES,
                                         zero, PAGE_BYTES) != 0);
    /* The order is the packs', not the guest's. */
    assert_true(jumps > FIXTURE_PAGES / 4);
    bench_close(b);
}

static void no_frame_is_met_again_behind_another(void **state)
{
    struct bench *b = bench_open(*state, 1);
    const struct page_window *w = &b->window;

    for (size_t i = 1; i < w->n; i++) {
        const struct page_place *x = &w->entries[i - 1].place;
        const struct page_place *y = &w->entries[i].place;

        assert_true(x->pack < y->pack ||
                    (x->pack == y->pack && x->frame <= y->frame));
    }
    bench_close(b);
}

static void a_piece_ends_between_two_frames(void **state)
{
    struct bench *b = bench_open(*state, 1);
    struct page_window *w = &b->window;
    unsigned n = 0;

    while (w->at < w->n) {
        size_t at = w->at;
        size_t end = page_window_take(w, 100);

        assert_int_equal(w->at, end);
        assert_in_range(end - at, 1, 100);
        assert_true(end == w->n ||
                    !same_frame(&w->entries[end - 1], &w->entries[end]));
        n++;
    }
    assert_true(n >= w->n / 100);
    bench_close(b);
}

static void a_frame_that_is_more_than_a_piece_is_cut(void **state)
{
    struct bench *b = bench_open(*state, 1);
    struct page_window *w = &b->window;

    /* Two pages of the guest share each place: one alone is no frame. */
    assert_true(same_frame(&w->entries[0], &w->entries[1]));
    assert_int_equal(page_window_take(w, 1), 1);
    assert_int_equal(page_window_take(w, 1), 2);
    bench_close(b);
}

static void behind_the_last_window_there_is_nothing(void **state)
{
    struct bench *b = bench_open(*state, 1);
    struct error err;

    while (b->window.at < b->window.n)
        page_window_take(&b->window, 1000);
    assert_ok(page_window_load(&b->window, &err), &err);
    assert_int_equal(b->window.n, 0);
    assert_int_equal(b->window.at, 0);
    bench_close(b);
}

static void blocks_of_huge_host_pages_are_left_out(void **state)
{
    struct bench *b = bench_open(*state, 512);

    assert_true(b->window.n > 0);
    for (size_t i = 0; i < b->window.n; i++)
        assert_int_not_equal(b->window.entries[i].block, 0);
    bench_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(data_pages_come_once_by_frame_and_slot),
        FIXTURE_TEST(no_frame_is_met_again_behind_another),
        FIXTURE_TEST(a_piece_ends_between_two_frames),
        FIXTURE_TEST(a_frame_that_is_more_than_a_piece_is_cut),
        FIXTURE_TEST(behind_the_last_window_there_is_nothing),
        FIXTURE_TEST(blocks_of_huge_host_pages_are_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

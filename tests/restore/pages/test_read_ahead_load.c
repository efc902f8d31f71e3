#include "tests/storage/repo_fixture.h"

#include <unistd.h>

#include "core/base/worker.h"
#include "restore/pages/page_stock.h"
#include "restore/pages/page_window.h"
#include "tests/restore/pages/frames_queue.h"

/*
 * Reading ahead with many threads at once, for ThreadSanitizer above all: some
 * stocks, windows and readers over one snapshot whose cache is too small for
 * them. A thread only counts; what it counted is judged when it has ended.
 */
#define LANES       3u
#define CACHE_BYTES (64u * 1024)
#define GROUPS      20u

struct load {
    struct fixture *f;
    struct snapshot_summary summary;
    struct snapshot_frames *frames;
    struct prefetch_plan *plan; /* one for all */
    struct worker_group group;
};

struct lane {
    struct load *load;
    struct page_queue *queue;
    struct page_stock *stock;
    unsigned seed;
    _Atomic unsigned n_ready;

    /* only the lane's thread until it is joined */
    uint8_t got[FIXTURE_PAGES]; /* of pc.ram, how often */
    unsigned n_asked;
    unsigned n_wrong;
};

static const uint8_t *memory_of(const struct load *l, uint32_t block,
                                pgno_t pgno)
{
    return l->f->vm.memory[block] + pgno * PAGE_BYTES;
}

static bool has_data(const struct load *l, pgno_t pgno)
{
    static const uint8_t zero[PAGE_BYTES];

    return memcmp(memory_of(l, 0, pgno), zero, PAGE_BYTES) != 0;
}

static void no_cancel(void *arg)
{
}

static struct load *load_open(struct fixture *f)
{
    struct load *l = calloc(1, sizeof(*l));
    struct error err;

    l->f = f;
    l->summary = fixture_capture(f);
    worker_group_init(&l->group, no_cancel, NULL);
    assert_ok(snapshot_frames_open(f->repository, l->summary.id, CACHE_BYTES,
                                   &l->frames, &err),
              &err);
    return l;
}

static void load_close(struct load *l)
{
    worker_group_release(&l->group);
    prefetch_plan_free(l->plan);
    snapshot_frames_close(l->frames);
    snapshot_summary_release(&l->summary);
    free(l);
}

/* Every page from the first on, in groups. */
static void make_plan(struct load *l)
{
    const size_t n = (size_t)GROUPS * PREFETCH_GROUP;
    const struct prefetch_block blocks[] = {
        {.pages = FIXTURE_PAGES, .unit_pages = 1}};
    struct hints h = {.list = calloc(n, sizeof(*h.list)), .n = n, .runs = 1};
    struct error err;

    for (size_t i = 0; i < n; i++)
        h.list[i] = (struct hint){.seen = 1, .pgno = i};
    assert_ok(prefetch_plan_new(&(struct prefetch_args){.hints = &h,
                                                        .blocks = blocks,
                                                        .n_blocks = 1,
                                                        .group_pages =
                                                            PREFETCH_GROUP},
                                &l->plan, &err),
              &err);
    hints_release(&h);
}

static void on_ready(void *arg)
{
    ((struct lane *)arg)->n_ready++;
}

static struct lane *lane_new(struct load *l, unsigned seed, bool fill)
{
    struct lane *a = calloc(1, sizeof(*a));
    struct error err;

    *a = (struct lane){
        .load = l, .queue = frames_queue_new(l->f, l->frames, 1), .seed = seed};
    assert_ok(page_stock_new(&(struct page_stock_args){.frames = l->frames,
                                                       .queue = a->queue,
                                                       .plan = l->plan,
                                                       .fill = fill,
                                                       .ready = on_ready,
                                                       .arg = a},
                             &a->stock, &err),
              &err);
    return a;
}

static void lane_free(struct lane *a)
{
    page_stock_free(a->stock);
    page_queue_free(a->queue);
    free(a);
}

static void count(struct lane *a, uint32_t block, pgno_t pgno,
                  enum page_turn turn)
{
    struct page_unit unit;

    if (page_queue_take(a->queue, block, pgno, turn, &unit) && block == 0)
        a->got[pgno]++;
}

static bool take(struct lane *a, enum page_turn turn)
{
    const struct stock_batch *b = page_stock_take(a->stock, turn);

    if (!b)
        return false;
    for (size_t i = 0; i < b->n; i++) {
        const struct stock_page *p = &b->pages[i];

        a->n_wrong += b->why.code != 0 || b->turn != turn;
        if (p->data)
            a->n_wrong += memcmp(p->data, memory_of(a->load, p->block, p->pgno),
                                 PAGE_BYTES) != 0;
        count(a, p->block, p->pgno, turn);
    }
    page_stock_give(a->stock, b);
    return true;
}

/* Somebody waits for a page: it goes at once, its neighbours are to follow. */
static void ask(struct lane *a)
{
    pgno_t p = (pgno_t)rand_r(&a->seed) % FIXTURE_PAGES;

    page_stock_asked(a->stock, 0, p);
    count(a, 0, p, PAGE_TURN_URGENT);
    a->n_asked++;
}

static void take_some(struct lane *a)
{
    bool any = false;

    for (int t = PAGE_TURN_PREFETCH; t < PAGE_TURN__COUNT; t++)
        any |= take(a, (enum page_turn)t);
    if (!any)
        usleep(20);
}

static int run_until_done(void *arg, struct error *err)
{
    struct lane *a = arg;

    while (!page_stock_done(a->stock)) {
        if (a->n_asked < 400)
            ask(a);
        take_some(a);
    }
    return 0;
}

static int run_until_ahead(void *arg, struct error *err)
{
    struct lane *a = arg;

    while (!page_stock_is_ahead(a->stock))
        take_some(a);
    return 0;
}

/* Reads pages here and there: frames come into the cache and leave it. */
static int read_frames(void *arg, struct error *err)
{
    struct load *l = arg;
    cleanup(frame_reader) struct frame_reader *r = NULL;
    unsigned seed = 3;
    int rc = frame_reader_new(l->frames, 4, &r, err);

    for (unsigned i = 0; rc == 0 && i < 500; i++) {
        pgno_t p = (pgno_t)rand_r(&seed) % FIXTURE_PAGES;
        struct page_place place;
        const uint8_t *frame;
        uint32_t bytes;
        bool cached;

        rc = snapshot_frames_locate(l->frames, 0, p, &place, err);
        if (rc < 0 || place.zero)
            continue;
        rc = frame_reader_get(r, &place, &frame, &bytes, &cached, err);
        if (rc == 0 && memcmp(frame + (size_t)place.slot * PAGE_BYTES,
                              memory_of(l, 0, p), PAGE_BYTES) != 0)
            rc = fail(err, ERR_CORRUPT, "page %u is another", (unsigned)p);
    }
    return rc;
}

/* Every data page of pc.ram is in a window once, ordered by pack and frame. */
static int check_windows(struct load *l, struct page_window *w,
                         struct error *err)
{
    uint8_t *seen = calloc(1, FIXTURE_PAGES);
    const struct window_entry *last = NULL;
    int rc = page_window_load(w, err);
    size_t n = 0;

    while (rc == 0 && w->at < w->n) {
        size_t at = w->at;

        for (page_window_take(w, 64); at < w->at; at++) {
            const struct window_entry *e = &w->entries[at];

            if (e->block == 0)
                n += seen[e->pgno]++ == 0;
            if (last && last->place.pack == e->place.pack &&
                last->place.frame > e->place.frame)
                rc = fail(err, ERR_INVALID, "out of order");
            last = e;
        }
    }
    for (pgno_t p = 0; rc == 0 && p < FIXTURE_PAGES; p++) {
        if (seen[p] != has_data(l, p))
            rc = fail(err, ERR_INVALID, "page %u: %u", (unsigned)p, seen[p]);
    }
    free(seen);
    return rc;
}

static int load_windows(void *arg, struct error *err)
{
    struct load *l = arg;
    struct page_queue *q = frames_queue_new(l->f, l->frames, 1);
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < 5; i++) {
        struct page_window w = {.frames = l->frames, .queue = q};

        rc = check_windows(l, &w, err);
        page_window_release(&w);
    }
    page_queue_free(q);
    return rc;
}

static void start(struct load *l, const char *name,
                  int (*main)(void *arg, struct error *err), void *arg)
{
    struct error err;

    assert_ok(worker_start(&l->group, name, main, arg, &err), &err);
}

static void join(struct load *l)
{
    struct error err;

    assert_ok(worker_group_join(&l->group, &err), &err);
}

static void stocks_windows_and_readers_share_a_snapshot(void **state)
{
    struct load *l = load_open(*state);
    struct lane *lanes[LANES];

    make_plan(l);
    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] = lane_new(l, i, true);
        start(l, "taker", run_until_done, lanes[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        start(l, "reader", read_frames, l);
        start(l, "window", load_windows, l);
    }
    join(l);
    for (unsigned i = 0; i < LANES; i++) {
        assert_int_equal(lanes[i]->n_wrong, 0);
        assert_true(lanes[i]->n_ready > 0);
        for (pgno_t p = 0; p < FIXTURE_PAGES; p++) {
            if (has_data(l, p))
                assert_int_equal(lanes[i]->got[p], 1);
            else
                assert_in_range(lanes[i]->got[p], 0, 1);
        }
        lane_free(lanes[i]);
    }
    load_close(l);
}

static void stocks_share_a_plan(void **state)
{
    struct load *l = load_open(*state);
    struct lane *lanes[LANES];
    size_t group;

    make_plan(l);
    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] = lane_new(l, i, false);
        start(l, "taker", run_until_ahead, lanes[i]);
    }
    join(l);
    assert_false(prefetch_plan_next(l->plan, &group));
    for (pgno_t p = 0; p < (pgno_t)GROUPS * PREFETCH_GROUP; p++) {
        bool sample = (p + 1) % PREFETCH_GROUP == 0;
        unsigned n = 0;

        for (unsigned i = 0; i < LANES; i++)
            n += lanes[i]->got[p];
        if (sample)
            assert_int_equal(n, 0);
        else if (has_data(l, p))
            assert_in_range(n, 1, LANES);
    }
    for (unsigned i = 0; i < LANES; i++) {
        assert_int_equal(lanes[i]->n_wrong, 0);
        lane_free(lanes[i]);
    }
    load_close(l);
}

static void a_stock_ends_at_any_moment(void **state)
{
    struct load *l = load_open(*state);

    make_plan(l);
    for (unsigned i = 0; i < 60; i++) {
        struct lane *a = lane_new(l, i, i % 3 != 0);

        for (unsigned n = 0; n < i % 20; n++) {
            ask(a);
            take_some(a);
        }
        assert_int_equal(a->n_wrong, 0);
        lane_free(a);
    }
    load_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(stocks_windows_and_readers_share_a_snapshot),
        FIXTURE_TEST(stocks_share_a_plan),
        FIXTURE_TEST(a_stock_ends_at_any_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/storage/repo_fixture.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "restore/pages/postcopy_server.h"
#include "restore/prefetch/prefetch_plan.h"
#include "storage/snapshot_frames.h"
#include "tests/fakes/fake_destination.h"

/*
 * The whole lazy way over a real snapshot: the server with its threads on one
 * side, the test as QEMU on the other. A page that comes twice fails the test
 * in the fake.
 */
struct bench {
    struct fixture *f;
    struct snapshot_summary summary;
    struct snapshot_frames *frames;
    struct snapshot_pages pages;
    struct page_source source;
    struct ramblock_list blocks;
    struct prefetch_plan *plan;
    struct machine_config config;
    struct device_state devices;
    struct postcopy_watch watch;
    struct postcopy_args args;
    struct fake_destination d;
    int fds[2];
    pthread_t thread;
    _Atomic bool ahead;

    /* only the server's thread until it is joined */
    int rc;
    struct error err;
    struct postcopy_result result;
};

static void on_ahead(void *arg)
{
    ((struct bench *)arg)->ahead = true;
}

static void make_plan(struct bench *b, pgno_t first, size_t n)
{
    struct hints h = {.list = calloc(n + 1, sizeof(*h.list)), .runs = 1};
    struct prefetch_block blocks[SAMPLE_BLOCKS];
    struct error err;

    for (; h.n < n; h.n++)
        h.list[h.n] = (struct hint){.seen = 1, .pgno = first + h.n};
    for (uint32_t i = 0; i < SAMPLE_BLOCKS; i++)
        blocks[i] = (struct prefetch_block){
            .pages = ramblock_pages(&b->blocks.blocks[i]), .unit_pages = 1};
    assert_ok(prefetch_plan_new(
                  &(struct prefetch_args){.hints = &h,
                                          .blocks = blocks,
                                          .n_blocks = SAMPLE_BLOCKS,
                                          .group_pages = PREFETCH_GROUP},
                  &b->plan, &err),
              &err);
    hints_release(&h);
}

static struct bench *bench_open(struct fixture *f)
{
    static const uint8_t tail[] = "\x04the devices";
    struct bench *b = calloc(1, sizeof(*b));
    struct timeval limit = {.tv_sec = 10};
    struct error err;

    b->f = f;
    b->summary = fixture_capture(f);
    assert_ok(snapshot_frames_open(f->repository, b->summary.id, 1 << 20,
                                   &b->frames, &err),
              &err);
    assert_ok(snapshot_pages_init(&b->pages, b->frames, &b->source, &err),
              &err);
    for (uint32_t i = 0; i < SAMPLE_BLOCKS; i++) {
        struct ramblock block = snapshot_frames_blocks(b->frames)->blocks[i];

        block.host_page_bytes = PAGE_BYTES;
        assert_ok(ramblock_list_add(&b->blocks, &block, &err), &err);
    }
    snprintf(b->config.machine, sizeof(b->config.machine), "pc-i440fx-10.0");
    assert_ok(buf_append(&b->devices.tail, tail, sizeof(tail) - 1, &err), &err);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b->fds), 0);
    setsockopt(b->fds[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    b->d.fd = b->fds[1];
    b->watch = (struct postcopy_watch){.arg = b, .ahead = on_ahead};
    b->args = (struct postcopy_args){
        .fd = b->fds[0],
        .source = &b->source,
        .blocks = &b->blocks,
        .config = &b->config,
        .devices = &b->devices,
        .ram_section_id = 2,
        .watch = &b->watch,
        .frames = b->frames,
        .prefetch = true,
        .data_pages = FIXTURE_PAGES,
    };
    return b;
}

static void *serve(void *arg)
{
    struct bench *b = arg;

    b->rc = postcopy_serve(&b->args, &b->result, &b->err);
    shutdown(b->fds[0], SHUT_RDWR);
    return NULL;
}

static void start(struct bench *b)
{
    b->args.plan = b->plan;
    assert_int_equal(pthread_create(&b->thread, NULL, serve, b), 0);
    fake_read_prologue(&b->d);
    fake_pong(&b->d, 1);
}

static int finish(struct bench *b)
{
    pthread_join(b->thread, NULL);
    return b->rc;
}

static void bench_close(struct bench *b)
{
    fake_release(&b->d);
    close(b->fds[0]);
    prefetch_plan_free(b->plan);
    snapshot_pages_release(&b->pages);
    snapshot_frames_close(b->frames);
    ramblock_list_release(&b->blocks);
    device_state_release(&b->devices);
    snapshot_summary_release(&b->summary);
    free(b);
}

static const char *ram(const struct bench *b)
{
    return b->blocks.blocks[0].idstr;
}

/* Every page with content is there and right, and none twice. */
static void assert_memory(const struct bench *b)
{
    static const uint8_t zero[PAGE_BYTES];

    for (pgno_t p = 0; p < FIXTURE_PAGES; p++) {
        const uint8_t *page = b->f->vm.memory[0] + p * PAGE_BYTES;
        const struct fake_placed *placed = fake_find(&b->d, ram(b), p);

        if (memcmp(page, zero, PAGE_BYTES) == 0) {
            assert_true(!placed || placed->zero);
            continue;
        }
        assert_non_null(placed);
        assert_false(placed->zero);
        assert_memory_equal(placed->first, page, sizeof(placed->first));
    }
}

static void read_to_the_end(struct bench *b)
{
    while (fake_read_page(&b->d))
        continue;
    assert_true(b->d.ended);
    fake_shut(&b->d, 0);
    assert_int_equal(finish(b), 0);
}

static void all_comes_once_while_pages_are_asked_for(void **state)
{
    struct bench *b = bench_open(*state);

    make_plan(b, 0, 0);
    start(b);
    fake_pong(&b->d, 3);
    for (pgno_t p = 1; p < FIXTURE_PAGES; p += 97) {
        fake_ask(&b->d, ram(b), (p * 733) % FIXTURE_PAGES, 1);
        if (p % 2)
            fake_await_page(&b->d, ram(b), (p * 733) % FIXTURE_PAGES);
    }
    read_to_the_end(b);
    assert_memory(b);
    assert_true(b->result.faults <= 26);
    assert_int_equal(b->result.prefetched_pages, 0);
    bench_close(b);
}

static void hints_are_sent_before_the_devices_are_loaded(void **state)
{
    struct bench *b = bench_open(*state);
    unsigned n;

    make_plan(b, 1200, 64);
    b->args.head_start_ns = UINT64_C(60000000000);
    start(b);
    /* No PONG 3 yet, and nobody asks. */
    fake_await_page(&b->d, ram(b), 1254);
    n = b->d.n_placed;
    for (unsigned i = 0; i < n; i++) {
        assert_true(b->d.placed[i].pgno >= 1184 - 4);
        assert_true(b->d.placed[i].pgno < 1280 + 4);
    }
    assert_false(b->ahead);
    fake_pong(&b->d, 3);
    read_to_the_end(b);
    assert_true(b->ahead);
    assert_memory(b);
    assert_true(b->result.prefetched_pages >= n);
    bench_close(b);
}

static void a_request_overtakes_a_fill_that_is_held_back(void **state)
{
    struct bench *b = bench_open(*state);
    unsigned before;

    make_plan(b, 0, 0);
    /* A burst of 250 ms is 32 pages; the rest would take minutes. */
    b->args.max_bandwidth = 512 * 1024;
    start(b);
    fake_pong(&b->d, 3);
    while (b->d.n_placed < 16)
        assert_true(fake_read_page(&b->d));
    before = b->d.n_placed;
    fake_ask(&b->d, ram(b), 2401, 1);
    fake_await_page(&b->d, ram(b), 2401);
    /* By order: no more than what the burst and its batch allow came before. */
    assert_true(b->d.n_placed - before <= 64);
    fake_release(&b->d);
    assert_int_equal(finish(b), ERR_PEER);
    assert_int_equal(b->result.faults, 1);
    bench_close(b);
}

static void without_a_fill_nothing_comes_by_itself(void **state)
{
    struct bench *b = bench_open(*state);

    make_plan(b, 0, 0);
    b->args.no_fill = true;
    start(b);
    fake_pong(&b->d, 3);
    fake_ask(&b->d, ram(b), 701, 1);
    fake_await_page(&b->d, ram(b), 701);
    fake_ask(&b->d, ram(b), 1701, 1);
    fake_await_page(&b->d, ram(b), 1701);
    /* What is around them, at the most. */
    assert_true(b->d.n_placed <= 2 + 2 * 40);
    fake_release(&b->d);
    assert_int_equal(finish(b), ERR_PEER);
    assert_int_equal(b->result.faults, 2);
    assert_int_equal(b->result.filled_pages, 0);
    bench_close(b);
}

/* Nine threads of ours: each restore a pager of its own, in one process. */
static void restores_side_by_side_do_not_meet(void **state)
{
    struct bench *b[3];

    for (unsigned i = 0; i < ARRAY_LEN(b); i++) {
        b[i] = bench_open(*state);
        make_plan(b[i], 300 * i, 200);
    }
    for (unsigned i = 0; i < ARRAY_LEN(b); i++) {
        start(b[i]);
        fake_pong(&b[i]->d, 3);
    }
    for (pgno_t p = 1; p < FIXTURE_PAGES; p += 37) {
        for (unsigned i = 0; i < ARRAY_LEN(b); i++)
            fake_ask(&b[i]->d, ram(b[i]), (p * (701 + i)) % FIXTURE_PAGES, 1);
        for (unsigned i = 0; i < ARRAY_LEN(b); i++)
            fake_await_page(&b[i]->d, ram(b[i]),
                            (p * (701 + i)) % FIXTURE_PAGES);
    }
    for (unsigned i = 0; i < ARRAY_LEN(b); i++) {
        read_to_the_end(b[i]);
        assert_memory(b[i]);
        assert_true(b[i]->result.faults > 0);
        bench_close(b[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(all_comes_once_while_pages_are_asked_for),
        FIXTURE_TEST(hints_are_sent_before_the_devices_are_loaded),
        FIXTURE_TEST(a_request_overtakes_a_fill_that_is_held_back),
        FIXTURE_TEST(without_a_fill_nothing_comes_by_itself),
        FIXTURE_TEST(restores_side_by_side_do_not_meet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

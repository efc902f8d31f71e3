#include "tests/fakes/assert_error.h"

#include "snapshot/page_writer.h"
#include "tests/fakes/fake_store.h"

#define BLOCK_PAGES 1000u

struct fixture {
    struct snapshot_writer *store;
    struct page_writer *pages;
    struct page_packer packer;
    struct worker_group group;
    struct error err;
};

static void cancel(void *arg)
{
    struct fixture *f = arg;

    page_writer_cancel(f->pages);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct snapshot_writer_args args = {.vm = "vm", .lanes = 2};
    struct ramblock_list blocks = {0};

    fake_store_reset();
    for (unsigned i = 0; i < 2; i++) {
        struct ramblock b = {.used_bytes = BLOCK_PAGES * PAGE_BYTES,
                             .host_page_bytes = PAGE_BYTES};

        snprintf(b.idstr, sizeof(b.idstr), "block%u", i);
        assert_ok(ramblock_list_add(&blocks, &b, &f->err), &f->err);
    }
    assert_ok(snapshot_writer_new(&args, &f->store, &f->err), &f->err);
    assert_ok(snapshot_writer_set_blocks(f->store, &blocks, &f->err), &f->err);
    assert_ok(page_writer_new(f->store, 2, &f->pages, &f->err), &f->err);
    page_packer_init(&f->packer, f->pages);
    worker_group_init(&f->group, cancel, f);
    ramblock_list_release(&blocks);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    page_writer_cancel(f->pages);
    worker_group_release(&f->group);
    page_packer_release(&f->packer);
    page_writer_free(f->pages);
    snapshot_writer_free(f->store);
    assert_string_equal(fake_store.broken, "");
    fake_store_reset();
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    assert_ok(page_writer_start(f->pages, &f->group, &f->err), &f->err);
}

/* A page whose first bytes say which and in which round. */
static const uint8_t *content(uint32_t block, pgno_t pgno, uint8_t round)
{
    static uint8_t page[PAGE_BYTES];

    memset(page, 0, sizeof(page));
    page[0] = (uint8_t)block;
    page[1] = (uint8_t)pgno;
    page[2] = (uint8_t)(pgno >> 8);
    page[3] = round;
    return page;
}

static void add(struct fixture *f, uint32_t block, pgno_t pgno, uint8_t round)
{
    assert_ok(page_packer_add(&f->packer, block, pgno,
                              content(block, pgno, round), &f->err),
              &f->err);
}

static void finish(struct fixture *f)
{
    assert_ok(page_packer_flush(&f->packer, &f->err), &f->err);
    page_writer_close(f->pages);
    assert_ok(worker_group_join(&f->group, &f->err), &f->err);
}

static void assert_stored(uint32_t block, pgno_t pgno, uint8_t round)
{
    const uint8_t *page = fake_store_page(block, pgno);

    assert_non_null(page);
    assert_memory_equal(page, content(block, pgno, round), PAGE_BYTES);
}

static void every_page_arrives_whole(void **state)
{
    struct fixture *f = *state;

    start(f);
    for (pgno_t p = 0; p < BLOCK_PAGES; p++)
        add(f, 0, p, 1);
    finish(f);

    for (pgno_t p = 0; p < BLOCK_PAGES; p++)
        assert_stored(0, p, 1);
    assert_int_equal(fake_store.puts,
                     (BLOCK_PAGES + PAGE_BATCH_MAX - 1) / PAGE_BATCH_MAX);
}

static void a_batch_holds_pages_of_one_block_and_kind(void **state)
{
    struct fixture *f = *state;

    start(f);
    for (pgno_t p = 0; p < 10; p++)
        add(f, (uint32_t)(p % 2), p, 1);
    finish(f);

    assert_int_equal(fake_store.puts, 10);
    for (pgno_t p = 0; p < 10; p++)
        assert_stored((uint32_t)(p % 2), p, 1);
}

static void zero_pages_travel_beside_data(void **state)
{
    static const uint8_t zero[PAGE_BYTES];
    struct fixture *f = *state;

    start(f);
    for (pgno_t p = 0; p < 100; p++) {
        if (p % 2)
            add(f, 0, p, 1);
        else
            assert_ok(page_packer_add(&f->packer, 0, p, NULL, &f->err),
                      &f->err);
    }
    finish(f);

    assert_int_equal(fake_store.puts, 2);
    assert_memory_equal(fake_store_page(0, 4), zero, PAGE_BYTES);
    assert_stored(0, 5, 1);
}

static void
what_is_added_after_a_flush_wins_whatever_lane_is_faster(void **state)
{
    struct fixture *f = *state;

    start(f);
    for (uint8_t round = 1; round <= 20; round++) {
        for (pgno_t p = 0; p < 40; p++)
            add(f, 0, p, round);
        assert_ok(page_packer_flush(&f->packer, &f->err), &f->err);
        assert_ok(page_packer_add(&f->packer, 0, 99, NULL, &f->err), &f->err);
        assert_ok(page_packer_flush(&f->packer, &f->err), &f->err);
        add(f, 0, 99, round);
        assert_ok(page_packer_flush(&f->packer, &f->err), &f->err);
    }
    finish(f);

    for (pgno_t p = 0; p < 40; p++)
        assert_stored(0, p, 20);
    assert_stored(0, 99, 20);
}

/* Straight into a packet, as a channel does; given back unused, it can be
 * taken again. */
static void a_producer_may_fill_a_packet_itself(void **state)
{
    struct fixture *f = *state;
    struct page_packet *p;

    start(f);
    p = page_writer_take(f->pages, true, 0);
    assert_non_null(p);
    page_writer_give_back(f->pages, p);
    for (uint8_t epoch = 1; epoch <= 40; epoch++) {
        p = page_writer_take(f->pages, true, 1);
        assert_non_null(p);
        for (pgno_t i = 0; i < PAGE_BATCH_MAX; i++) {
            p->batch.pgno[i] = i;
            memcpy(p->space + i * PAGE_BYTES, content(1, i, epoch), PAGE_BYTES);
        }
        p->batch.n = PAGE_BATCH_MAX;
        assert_ok(page_writer_submit(f->pages, p, epoch, &f->err), &f->err);
    }
    finish(f);

    for (pgno_t i = 0; i < PAGE_BATCH_MAX; i++)
        assert_stored(1, i, 40);
}

static void a_failing_store_ends_producer_and_writers(void **state)
{
    struct fixture *f = *state;
    int rc = 0;

    fake_store.fail_put_at = 3;
    fake_store.fail_put_code = ERR_NOSPC;
    start(f);
    for (pgno_t p = 0; rc == 0; p++)
        rc = page_packer_add(&f->packer, 0, p % BLOCK_PAGES, content(0, 0, 1),
                             &f->err);

    assert_int_equal(rc, ERR_CANCELLED);
    assert_error(worker_group_join(&f->group, &f->err), &f->err, ERR_NOSPC,
                 "the fake store fails");
}

static void a_producer_waits_for_an_empty_packet_until_cancelled(void **state)
{
    struct fixture *f = *state;
    int rc = 0;
    unsigned n;

    page_writer_cancel(f->pages);
    for (n = 0; rc == 0 && n < 100000; n++)
        rc = page_packer_add(&f->packer, 0, 1, content(0, 1, 1), &f->err);

    assert_int_equal(rc, ERR_CANCELLED);
    assert_int_equal(n, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(every_page_arrives_whole),
        TEST(a_batch_holds_pages_of_one_block_and_kind),
        TEST(zero_pages_travel_beside_data),
        TEST(what_is_added_after_a_flush_wins_whatever_lane_is_faster),
        TEST(a_producer_may_fill_a_packet_itself),
        TEST(a_failing_store_ends_producer_and_writers),
        TEST(a_producer_waits_for_an_empty_packet_until_cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_snapshot_lanes.c - several threads put pages at once.
 *
 * Meant to be run under the thread sanitizer as well.
 */
#include "tests/storage/repo_fixture.h"

#include "core/base/worker.h"

#define LANES  4u
#define ROUNDS 12u

/* A round changes some pages; each lane puts a quarter of the pages of every
 * round, batch by batch, so that lanes overtake each other. */
struct lane_work {
    struct snapshot_writer *w;
    unsigned lane;
    uint64_t pages;
};

static uint64_t content_of(pgno_t pgno, unsigned round)
{
    if ((pgno + round) % 11 == 0)
        return 0;
    if (pgno % 3 == 0)
        return 42 + round % 2; /* the same for many pages */
    return pgno * 1000 + round % (1 + pgno % 4);
}

static int put_batch(struct lane_work *l, unsigned round, pgno_t first,
                     struct error *err)
{
    struct page_batch *b = calloc(1, sizeof(*b));
    uint8_t *data = malloc(PAGE_BATCH_MAX * PAGE_BYTES);
    int rc;

    b->seq = (uint64_t)round << 20 | first;
    b->n = (uint32_t)MIN(l->pages - first, (uint64_t)PAGE_BATCH_MAX);
    for (uint32_t i = 0; i < b->n; i++) {
        b->pgno[i] = first + i;
        sample_page_fill(data + (size_t)i * PAGE_BYTES,
                         content_of(first + i, round));
    }
    b->data = data;
    rc = snapshot_writer_put(l->w, l->lane, b, err);
    free(data);
    free(b);
    return rc;
}

static int lane_main(void *arg, struct error *err)
{
    struct lane_work *l = arg;
    struct snapshot_writer_stats stats;
    int rc = 0;

    /* Batches go round the lanes, and even lanes take rounds backwards. */
    for (unsigned k = 0; rc == 0 && k < ROUNDS; k++) {
        unsigned round = l->lane % 2 ? k : ROUNDS - 1 - k;
        uint64_t batch = 0;

        for (pgno_t at = 0; rc == 0 && at < l->pages;
             at += PAGE_BATCH_MAX, batch++) {
            if ((batch + round) % LANES == l->lane)
                rc = put_batch(l, round, at, err);
        }
        snapshot_writer_stats(l->w, &stats);
    }
    return rc;
}

static void cancel(void *arg)
{
}

static void lanes_that_overtake_each_other_agree_on_the_last_batch(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w = fixture_writer(f, LANES);
    struct lane_work lanes[LANES];
    struct worker_group group;
    struct snapshot_summary s;
    struct error err;

    worker_group_init(&group, cancel, NULL);
    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] =
            (struct lane_work){.w = w, .lane = i, .pages = FIXTURE_PAGES};
        assert_ok(worker_start(&group, "lane", lane_main, &lanes[i], &err),
                  &err);
    }
    assert_ok(worker_group_join(&group, &err), &err);
    worker_group_release(&group);
    memset(f->vm.memory[2], 0, PAGE_BYTES);
    for (pgno_t i = 0; i < FIXTURE_PAGES; i++)
        sample_page_fill(f->vm.memory[0] + i * PAGE_BYTES,
                         content_of(i, ROUNDS - 1));
    assert_ok(sample_vm_commit(&f->vm, w, true, &s, &err), &err);
    snapshot_writer_free(w);

    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
    assert_int_equal(s.pages_total, s.pages_zero + s.pages_unseen +
                                        s.pages_duplicate + s.pages_stored -
                                        s.pages_superseded);
    assert_int_equal(fixture_account(f), 1);
}

/* Each content once, however many lanes bring it at the same time. */
static void lanes_share_what_they_store(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer *w = fixture_writer(f, LANES);
    struct snapshot_writer_stats stats;
    struct worker_group group;
    struct lane_work lanes[LANES];
    struct error err;
    bool seen[ROUNDS][FIXTURE_PAGES] = {{false}};
    uint64_t distinct = 0;

    worker_group_init(&group, cancel, NULL);
    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] =
            (struct lane_work){.w = w, .lane = i, .pages = FIXTURE_PAGES};
        assert_ok(worker_start(&group, "lane", lane_main, &lanes[i], &err),
                  &err);
    }
    assert_ok(worker_group_join(&group, &err), &err);
    worker_group_release(&group);
    snapshot_writer_stats(w, &stats);
    snapshot_writer_free(w);

    for (pgno_t p = 0; p < FIXTURE_PAGES; p++) {
        for (unsigned r = 0; r < ROUNDS; r++) {
            unsigned which = r % (1 + (unsigned)p % 4);

            if (p % 3 == 0 || content_of(p, r) == 0 || seen[which][p])
                continue;
            seen[which][p] = true;
            distinct++;
        }
    }
    assert_int_equal(stats.stored, distinct + 2);
    assert_int_equal(stats.pages, ROUNDS * FIXTURE_PAGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(lanes_that_overtake_each_other_agree_on_the_last_batch),
        FIXTURE_TEST(lanes_share_what_they_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

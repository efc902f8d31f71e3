#include "tests/storage/repo_fixture.h"

#include "storage/keeping/forget.h"
#include "storage/keeping/prune.h"
#include "storage/keeping/usage.h"

static uint64_t packs_bytes(struct fixture *f)
{
    struct scratch_files files;
    uint64_t bytes = 0;

    scratch_files_list(f->scratch.repo, &files);
    for (size_t i = 0; i < files.n; i++) {
        struct buf text = BUF_INIT;

        if (strncmp(files.names[i], "packs/", 6) == 0 ||
            strncmp(files.names[i], "snapshots/", 10) == 0) {
            scratch_read(f->scratch.repo, files.names[i], &text);
            bytes += text.len;
        }
        buf_release(&text);
    }
    scratch_files_release(&files);
    return bytes;
}

static struct snapshot_usage usage_now(struct fixture *f, const char *id)
{
    struct snapshot_usage one;
    struct usage *u;
    struct error err;

    assert_ok(usage_read(f->repository, NULL, &u, &err), &err);
    assert_non_null(usage_of(u, id));
    one = *usage_of(u, id);
    usage_free(u);
    return one;
}

static void alone_a_snapshot_owns_all(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct snapshot_usage u = usage_now(f, s.id);

    /* But for the headers and trailers of the two packs. */
    assert_int_equal(u.unique_bytes, packs_bytes(f) - (uint64_t)2 * 128);
    assert_int_equal(u.unique_bytes + 256, s.stored_bytes);
    assert_true(u.shared_bytes <= 256);
}

static void twins_own_their_objects_only(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first = fixture_capture(f);
    struct snapshot_summary second = fixture_capture(f);
    struct snapshot_usage a = usage_now(f, first.id);
    struct snapshot_usage b = usage_now(f, second.id);

    assert_int_equal(b.unique_bytes, second.stored_bytes);
    assert_true(a.unique_bytes < first.stored_bytes / 10);
    assert_true(a.shared_bytes > first.stored_bytes / 2);
}

static void unique_is_what_deleting_it_alone_gives_back(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary all[4];
    struct forget_report forgotten;
    struct prune_report pruned;
    struct error err;
    const char *id;
    uint64_t before, unique;

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        /* Whole segments, so that frames are of one owner. */
        for (pgno_t p = 0; p < 512; p++)
            sample_page_fill(f->vm.memory[0] + p * PAGE_BYTES,
                             50000 * (i + 1) + p);
        all[i] = fixture_capture(f);
    }
    id = all[2].id;
    unique = usage_now(f, id).unique_bytes;
    assert_true(unique > 200000);
    before = packs_bytes(f);
    assert_ok(forget_run(&(struct forget_args){.repository = f->repository,
                                               .ids = &id,
                                               .n_ids = 1},
                         &forgotten, &err),
              &err);
    assert_ok(prune_run(&(struct prune_args){.repository = f->repository},
                        &pruned, &err),
              &err);
    /* Within what tables and headers of packs written again differ by. */
    assert_true(before - packs_bytes(f) > unique * 9 / 10);
    assert_true(before - packs_bytes(f) < unique * 11 / 10);
}

static void a_damaged_snapshot_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct usage *u;
    struct error err;

    fixture_capture(f);
    scratch_write(f->scratch.repo, "snapshots/0123456789abcdef", "no", 2);
    assert_error(usage_read(f->repository, NULL, &u, &err), &err, ERR_CORRUPT,
                 "0123456789abcdef");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(alone_a_snapshot_owns_all),
        FIXTURE_TEST(twins_own_their_objects_only),
        FIXTURE_TEST(unique_is_what_deleting_it_alone_gives_back),
        FIXTURE_TEST(a_damaged_snapshot_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

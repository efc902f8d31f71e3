#include "tests/storage/repo_fixture.h"

#include <sys/stat.h>

static size_t list(struct fixture *f, struct snapshot_summary **ret)
{
    struct error err;
    size_t n;

    assert_ok(repository_list(f->repository, NULL, NULL, ret, &n, &err), &err);
    return n;
}

static void drop(struct snapshot_summary *all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snapshot_summary_release(&all[i]);
    free(all);
}

static void resolves(struct fixture *f, const char *name, const char *id)
{
    char found[SNAPSHOT_ID_LEN + 1];
    struct error err;

    assert_ok(repository_resolve(f->repository, name, found, &err), &err);
    assert_string_equal(found, id);
}

static void snapshots_are_listed_oldest_first_with_all_figures(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary second, first, *all;

    f->vm.time_ns = 9000;
    second = fixture_capture(f);
    f->vm.time_ns = 3000;
    first = fixture_capture(f);

    assert_int_equal(list(f, &all), 2);
    assert_string_equal(all[0].id, first.id);
    assert_string_equal(all[1].id, second.id);
    json_decref(all[1].tags);
    all[1].tags = NULL;
    /* What it cost is looked up with the snapshot. */
    memset(&all[1].cost, 0, sizeof(all[1].cost));
    memset(&second.cost, 0, sizeof(second.cost));
    assert_memory_equal(&all[1], &second, sizeof(second));
    assert_string_equal(json_path_str(all[0].tags, "purpose", ""), "test");
    assert_int_equal(all[0].downtime_ms, 12);
    assert_int_equal(all[0].rounds, 3);
    assert_string_equal(all[0].qemu_version, "7.2.11");
    drop(all, 2);
}

static void names_mean_what_users_mean(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary a, b, c;
    char prefix[5] = {0};

    a = fixture_capture(f);
    b = fixture_capture(f);
    f->vm.name = "other";
    f->vm.uuid = "";
    c = fixture_capture(f);

    resolves(f, "latest", c.id);
    resolves(f, "sample@latest", b.id);
    resolves(f, "sample@-1", b.id);
    resolves(f, "sample@-2", a.id);
    resolves(f, "8a2b0c54-0000-4000-8000-000000000001@latest", b.id);
    resolves(f, "other@latest", c.id);
    resolves(f, a.id, a.id);
    memcpy(prefix, b.id, 4);
    if (strncmp(a.id, prefix, 4) != 0 && strncmp(c.id, prefix, 4) != 0)
        resolves(f, prefix, b.id);
}

static void what_is_not_there_is_not_found(void **state)
{
    struct fixture *f = *state;
    char id[SNAPSHOT_ID_LEN + 1];
    struct error err;

    fixture_capture(f);
    assert_error(repository_resolve(f->repository, "sample@-2", id, &err), &err,
                 ERR_NOTFOUND, "'sample' has 1 snapshots here, not 2");
    assert_error(repository_resolve(f->repository, "nobody@latest", id, &err),
                 &err, ERR_NOTFOUND, "'nobody'");
    assert_error(repository_resolve(f->repository, "samp@latest", id, &err),
                 &err, ERR_NOTFOUND, "'samp'");
}

static void an_ambiguous_prefix_is_refused(void **state)
{
    struct fixture *f = *state;
    char id[SNAPSHOT_ID_LEN + 1];
    struct error err;

    scratch_write(f->scratch.repo, "snapshots/abcd000000000001", "", 0);
    scratch_write(f->scratch.repo, "snapshots/abcd000000000002", "", 0);

    assert_error(repository_resolve(f->repository, "abcd", id, &err), &err,
                 ERR_INVALID, "beginning of 2 snapshots");
    resolves(f, "abcd000000000002", "abcd000000000002");
}

static void keep_bad(void *arg, const char *id, const struct error *why)
{
    struct error *kept = arg;

    assert_string_equal(id, "abcd000000000001");
    error_copy(kept, why);
}

static void a_damaged_snapshot_is_told_and_left_out(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary *all;
    struct error bad = ERROR_INIT, err;
    size_t n;

    fixture_capture(f);
    scratch_write(f->scratch.repo, "snapshots/abcd000000000001", "short", 5);
    scratch_write(f->scratch.repo, "snapshots/no-snapshot", "x", 1);

    assert_ok(repository_list(f->repository, keep_bad, &bad, &all, &n, &err),
              &err);
    assert_int_equal(n, 1);
    assert_int_equal(bad.code, ERR_CORRUPT);
    assert_message(&bad, "snapshot 'abcd000000000001'");
    drop(all, n);
}

/* Figures survive, whatever happens to the cache. */
static void check_list(struct fixture *f, const struct snapshot_summary *s)
{
    struct snapshot_summary *all;

    assert_int_equal(list(f, &all), 1);
    assert_string_equal(all[0].id, s->id);
    assert_int_equal(all[0].stored_bytes, s->stored_bytes);
    assert_int_equal(all[0].pages_stored, s->pages_stored);
    assert_string_equal(json_path_str(all[0].tags, "purpose", ""), "test");
    drop(all, 1);
}

static void the_catalog_may_be_deleted(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    char path[128];
    struct stat st;

    check_list(f, &s);
    snprintf(path, sizeof(path), "%s/catalog.db", f->scratch.repo);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(unlink(path), 0);

    check_list(f, &s);
    assert_int_equal(stat(path, &st), 0);
}

static void a_damaged_catalog_is_begun_anew(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct buf text = BUF_INIT, again = BUF_INIT;

    check_list(f, &s);
    scratch_read(f->scratch.repo, "catalog.db", &text);
    scratch_write(f->scratch.repo, "catalog.db", "no database at all", 18);
    check_list(f, &s);
    scratch_read(f->scratch.repo, "catalog.db", &again);
    assert_int_equal(again.len, text.len);

    for (size_t len = 0; len < text.len; len += 97) {
        scratch_write(f->scratch.repo, "catalog.db", text.data, len);
        check_list(f, &s);
    }
    buf_release(&text);
    buf_release(&again);
}

static void a_flipped_bit_in_the_catalog_shows_nowhere(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct buf text = BUF_INIT;

    check_list(f, &s);
    scratch_read(f->scratch.repo, "catalog.db", &text);
    for (size_t bit = 3; bit < text.len * 8; bit += 61) {
        text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        scratch_write(f->scratch.repo, "catalog.db", text.data, text.len);
        check_list(f, &s);
        text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_release(&text);
}

static void a_cached_summary_is_not_that_of_a_changed_file(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f), *all;
    struct buf text = BUF_INIT;
    char name[64];

    check_list(f, &s);
    snprintf(name, sizeof(name), "snapshots/%s", s.id);
    scratch_read(f->scratch.repo, name, &text);
    text.data[text.len / 2] ^= 1;
    scratch_write(f->scratch.repo, name, text.data, text.len);

    assert_int_equal(list(f, &all), 0);
    free(all);
    buf_release(&text);
}

static void what_is_forgotten_leaves_the_catalog(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f), *all;
    struct buf text = BUF_INIT;
    char path[160];

    check_list(f, &s);
    snprintf(path, sizeof(path), "%s/snapshots/%s", f->scratch.repo, s.id);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(list(f, &all), 0);
    free(all);
    assert_int_equal(list(f, &all), 0);
    free(all);

    scratch_read(f->scratch.repo, "catalog.db", &text);
    assert_true(text.len > 0);
    buf_release(&text);
    assert_int_equal(fixture_files(f, "catalog.db", NULL), 1);
}

static void without_a_place_for_a_catalog_all_works(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s;
    char path[128];

    snprintf(path, sizeof(path), "%s/catalog.db", f->scratch.repo);
    assert_int_equal(mkdir(path, 0700), 0);
    s = fixture_capture(f);

    check_list(f, &s);
    assert_int_equal(rmdir(path), 0);
}

static void a_changed_working_directory_does_not_matter(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s;
    char *old = get_current_dir_name();
    struct error err;

    assert_int_equal(chdir(f->scratch.path), 0);
    repository_close(f->repository);
    assert_ok(repository_open("repo", &f->repository, &err), &err);
    assert_int_equal(chdir("/"), 0);
    s = fixture_capture(f);

    check_list(f, &s);
    assert_int_equal(fixture_files(f, "catalog.db", NULL), 1);
    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
    assert_int_equal(chdir(old), 0);
    free(old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(snapshots_are_listed_oldest_first_with_all_figures),
        FIXTURE_TEST(names_mean_what_users_mean),
        FIXTURE_TEST(what_is_not_there_is_not_found),
        FIXTURE_TEST(an_ambiguous_prefix_is_refused),
        FIXTURE_TEST(a_damaged_snapshot_is_told_and_left_out),
        FIXTURE_TEST(the_catalog_may_be_deleted),
        FIXTURE_TEST(a_damaged_catalog_is_begun_anew),
        FIXTURE_TEST(a_flipped_bit_in_the_catalog_shows_nowhere),
        FIXTURE_TEST(a_cached_summary_is_not_that_of_a_changed_file),
        FIXTURE_TEST(what_is_forgotten_leaves_the_catalog),
        FIXTURE_TEST(without_a_place_for_a_catalog_all_works),
        FIXTURE_TEST(a_changed_working_directory_does_not_matter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "storage/repository.h"
#include "tests/storage/scratch.h"

static int setup(void **state)
{
    static struct scratch s;

    scratch_make(&s);
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    scratch_remove(*state);
    return 0;
}

static mode_t mode_of(const char *folder, const char *name)
{
    char path[256];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void a_new_repository_is_opened_and_lists_nothing(void **state)
{
    struct scratch *s = *state;
    cleanup(repository) struct repository *r = NULL;
    struct snapshot_summary *all;
    struct error err;
    size_t n;

    assert_int_equal(repository_create(s->repo, &err), 0);
    assert_int_equal(repository_open(s->repo, &r, &err), 0);
    assert_int_equal(repository_list(r, NULL, NULL, &all, &n, &err), 0);

    assert_int_equal(n, 0);
    assert_string_equal(repository_path(r), s->repo);
    assert_int_equal(strlen(repository_id(r)), 32);
    free(all);
}

static void folders_and_files_are_closed_to_others(void **state)
{
    struct scratch *s = *state;
    mode_t old = umask(0);
    struct error err;

    assert_int_equal(repository_create(s->repo, &err), 0);
    umask(old);

    assert_int_equal(mode_of(s->path, "repo"), 0700);
    assert_int_equal(mode_of(s->repo, "packs"), 0700);
    assert_int_equal(mode_of(s->repo, "snapshots"), 0700);
    assert_int_equal(mode_of(s->repo, "locks"), 0700);
    assert_int_equal(mode_of(s->repo, "hints"), 0700);
    assert_int_equal(mode_of(s->repo, "config"), 0600);
}

static void an_empty_folder_becomes_a_repository(void **state)
{
    struct scratch *s = *state;
    struct error err;

    assert_int_equal(mkdir(s->repo, 0755), 0);

    assert_int_equal(repository_create(s->repo, &err), 0);
    assert_int_equal(mode_of(s->path, "repo"), 0700);
}

static void a_folder_with_a_file_is_refused_and_left_alone(void **state)
{
    struct scratch *s = *state;
    struct scratch_files files;
    struct error err;

    assert_int_equal(mkdir(s->repo, 0755), 0);
    scratch_write(s->repo, "precious", "x", 1);

    assert_int_equal(repository_create(s->repo, &err), ERR_EXISTS);
    assert_non_null(strstr(err.message, "'precious' is there already"));
    assert_non_null(strstr(err.hint, "empty folder"));
    scratch_files_list(s->repo, &files);
    assert_int_equal(files.n, 1);
    assert_int_equal(mode_of(s->path, "repo"), 0755);
    scratch_files_release(&files);
}

static void a_repository_is_not_made_twice(void **state)
{
    struct scratch *s = *state;
    struct buf before = BUF_INIT, after = BUF_INIT;
    struct error err;

    assert_int_equal(repository_create(s->repo, &err), 0);
    scratch_read(s->repo, "config", &before);

    assert_int_equal(repository_create(s->repo, &err), ERR_EXISTS);
    assert_non_null(strstr(err.message, "a repository already"));
    scratch_read(s->repo, "config", &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, after.len);
    buf_release(&before);
    buf_release(&after);
}

static void what_a_killed_create_left_is_taken_over(void **state)
{
    struct scratch *s = *state;
    cleanup(repository) struct repository *r = NULL;
    char path[160];
    struct error err;

    assert_int_equal(mkdir(s->repo, 0700), 0);
    snprintf(path, sizeof(path), "%s/packs", s->repo);
    assert_int_equal(mkdir(path, 0700), 0);

    assert_int_equal(repository_open(s->repo, &r, &err), ERR_NOREPO);
    assert_int_equal(repository_create(s->repo, &err), 0);
    assert_int_equal(repository_open(s->repo, &r, &err), 0);
}

static void a_folder_whose_parent_is_missing_is_told(void **state)
{
    struct scratch *s = *state;
    char path[160];
    struct error err;

    snprintf(path, sizeof(path), "%s/no/such", s->path);
    assert_int_equal(repository_create(path, &err), ERR_NOTFOUND);
    assert_non_null(strstr(err.message, "cannot make folder"));
}

static void nothing_there_is_no_repository(void **state)
{
    struct scratch *s = *state;
    struct repository *r = NULL;
    struct error err;

    assert_int_equal(repository_open(s->repo, &r, &err), ERR_NOREPO);
    assert_non_null(strstr(err.message, "no such folder"));
    assert_non_null(strstr(err.hint, "firn init"));
    assert_int_equal(repository_open(s->path, &r, &err), ERR_NOREPO);
    assert_non_null(strstr(err.message, "'config'"));
    scratch_write(s->path, "plain", "x", 1);
    snprintf(s->repo, sizeof(s->repo), "%s/plain", s->path);
    assert_int_equal(repository_open(s->repo, &r, &err), ERR_NOREPO);
    assert_null(r);
}

static void replace_config(struct scratch *s, const char *old, const char *new)
{
    struct buf text = BUF_INIT;
    struct buf changed = BUF_INIT;
    struct error err;
    const char *at;

    scratch_read(s->repo, "config", &text);
    at = strstr(buf_str(&text), old);
    assert_non_null(at);
    assert_int_equal(buf_printf(&changed, &err, "%.*s%s%s",
                                (int)(at - (char *)text.data),
                                (char *)text.data, new, at + strlen(old)),
                     0);
    scratch_write(s->repo, "config", changed.data, changed.len);
    buf_release(&text);
    buf_release(&changed);
}

static void a_future_format_is_told_as_such(void **state)
{
    struct scratch *s = *state;
    struct repository *r = NULL;
    struct error err;

    assert_int_equal(repository_create(s->repo, &err), 0);
    replace_config(s, "\"format\":1,", "\"format\":2,");

    assert_int_equal(repository_open(s->repo, &r, &err), ERR_FORMAT);
    assert_non_null(strstr(err.message, "format 2"));
    assert_null(r);
}

static void a_missing_folder_is_damage(void **state)
{
    struct scratch *s = *state;
    struct repository *r = NULL;
    char path[160];
    struct error err;

    assert_int_equal(repository_create(s->repo, &err), 0);
    snprintf(path, sizeof(path), "%s/snapshots", s->repo);
    assert_int_equal(rmdir(path), 0);

    assert_int_equal(repository_open(s->repo, &r, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.message, "'snapshots' is missing"));
}

static void an_unnamed_file_leaves_nothing(void **state)
{
    struct scratch *s = *state;
    cleanup(repository) struct repository *r = NULL;
    struct scratch_files files;
    struct error err;
    struct stat st;
    int fd;

    assert_int_equal(repository_create(s->repo, &err), 0);
    assert_int_equal(repository_open(s->repo, &r, &err), 0);
    assert_int_equal(repository_unnamed_file(r, &fd, &err), 0);

    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(write(fd, "x", 1), 1);
    scratch_files_list(s->repo, &files);
    assert_int_equal(files.n, 1);
    assert_string_equal(files.names[0], "config");
    scratch_files_release(&files);
    close(fd);
}

static void a_name_that_means_nothing_is_refused(void **state)
{
    static const char *const none[] = {"latest", "vm@latest", "vm@-1",
                                       "0123456789abcdef", "abcd"};
    static const char *const wrong[] = {
        "abc", "ABCD", "vm@0", "vm@--1", "@latest", "", "0123456789abcdef0"};
    struct scratch *s = *state;
    cleanup(repository) struct repository *r = NULL;
    char id[SNAPSHOT_ID_LEN + 1];
    struct error err;

    assert_int_equal(repository_create(s->repo, &err), 0);
    assert_int_equal(repository_open(s->repo, &r, &err), 0);

    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_int_equal(repository_resolve(r, none[i], id, &err),
                         ERR_NOTFOUND);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(repository_resolve(r, wrong[i], id, &err),
                         ERR_INVALID);
        assert_non_null(strstr(err.hint, "at least 4 digits"));
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_repository_is_opened_and_lists_nothing),
        TEST(folders_and_files_are_closed_to_others),
        TEST(an_empty_folder_becomes_a_repository),
        TEST(a_folder_with_a_file_is_refused_and_left_alone),
        TEST(a_repository_is_not_made_twice),
        TEST(what_a_killed_create_left_is_taken_over),
        TEST(a_folder_whose_parent_is_missing_is_told),
        TEST(nothing_there_is_no_repository),
        TEST(a_future_format_is_told_as_such),
        TEST(a_missing_folder_is_damage),
        TEST(an_unnamed_file_leaves_nothing),
        TEST(a_name_that_means_nothing_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

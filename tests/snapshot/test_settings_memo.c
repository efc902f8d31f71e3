#include "tests/fakes/assert_error.h"

#include <sys/stat.h>

#include "snapshot/settings_memo.h"
#include "tests/fakes/temp_folder.h"

struct fixture {
    struct temp_folder folder;
    struct settings_memo memo;
    struct error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->folder);
    settings_memo_init(&f->memo, f->folder.path, getpid());
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

static void keep(struct fixture *f, const char *word)
{
    cleanup_json json_t *settings = json_pack("{s:s}", "word", word);

    settings_memo_keep(&f->memo, settings);
}

static void assert_recalls(struct fixture *f, const char *word)
{
    cleanup_json json_t *settings = settings_memo_recall(&f->memo);

    if (word)
        assert_string_equal(json_path_str(settings, "word", "none"), word);
    else
        assert_null(settings);
}

static void what_was_kept_is_recalled_by_the_next_run(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    assert_recalls(f, NULL);
    keep(f, "first");
    settings_memo_init(&f->memo, f->folder.path, getpid());

    assert_recalls(f, "first");
    assert_int_equal(stat(f->memo.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void the_first_memo_stays_until_it_is_forgotten(void **state)
{
    struct fixture *f = *state;

    keep(f, "users");
    keep(f, "ours");
    assert_recalls(f, "users");

    settings_memo_forget(&f->memo);
    assert_recalls(f, NULL);
    assert_int_equal(temp_folder_count(&f->folder), 0);
}

static void a_torn_memo_is_none(void **state)
{
    struct fixture *f = *state;
    cleanup_fclose FILE *file = fopen(f->memo.path, "w");

    fputs("{\"word\": \"hal", file);
    fflush(file);

    assert_recalls(f, NULL);
}

static void a_link_in_its_place_is_not_followed(void **state)
{
    struct fixture *f = *state;
    char target[256];

    snprintf(target, sizeof(target), "%s/target", f->folder.path);
    assert_int_equal(symlink(target, f->memo.path), 0);
    keep(f, "word");

    assert_int_equal(access(target, F_OK), -1);
    assert_recalls(f, NULL);
}

static void memos_of_processes_that_ended_are_swept(void **state)
{
    struct fixture *f = *state;
    char old[256];
    cleanup_close int fd = -1;

    keep(f, "mine");
    snprintf(old, sizeof(old), "%s/firn-settings-1-0", f->folder.path);
    fd = open(old, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);

    settings_memo_init(&f->memo, f->folder.path, getpid());

    assert_int_equal(access(old, F_OK), -1);
    assert_recalls(f, "mine");
}

static void a_process_that_is_not_there_has_no_memo(void **state)
{
    struct fixture *f = *state;

    settings_memo_init(&f->memo, f->folder.path, 999999999);
    keep(f, "word");

    assert_recalls(f, NULL);
    assert_int_equal(temp_folder_count(&f->folder), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(what_was_kept_is_recalled_by_the_next_run),
        TEST(the_first_memo_stays_until_it_is_forgotten),
        TEST(a_torn_memo_is_none),
        TEST(a_link_in_its_place_is_not_followed),
        TEST(memos_of_processes_that_ended_are_swept),
        TEST(a_process_that_is_not_there_has_no_memo),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

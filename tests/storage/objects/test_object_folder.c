#include "tests/fakes/assert_error.h"

#include <sys/wait.h>

#include "core/base/path.h"
#include "storage/objects/object_folder.h"
#include "tests/fakes/temp_folder.h"

#define ID_A "ab00000000000001"
#define ID_B "ab00000000000002"
#define ID_C "cd00000000000003"

struct fixture {
    struct temp_folder temp;
    struct object_folder folder;
    struct error err;
    char seen[256]; /* listed ids, one space behind each */
};

static int set_up_with(void **state, bool fan_out, bool no_unnamed)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->temp);
    f->folder = (struct object_folder){.dirfd = f->temp.fd,
                                       .id_len = 16,
                                       .fan_out = fan_out,
                                       .no_unnamed = no_unnamed};
    *state = f;
    return 0;
}

static int set_up_flat(void **state)
{
    return set_up_with(state, false, false);
}

static int set_up_fan_out(void **state)
{
    return set_up_with(state, true, false);
}

static int set_up_hidden(void **state)
{
    return set_up_with(state, true, true);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    temp_folder_release(&f->temp);
    free(f);
    return 0;
}

static int put(struct fixture *f, const char *id)
{
    cleanup(object_file) struct object_file file = OBJECT_FILE_INIT;

    assert_int_equal(object_file_create(&f->folder, &file, &f->err), 0);
    assert_int_equal(path_write_at(file.fd, id, strlen(id), 0, &f->err), 0);
    return object_file_link(&f->folder, &file, id, &f->err);
}

static int collect(void *arg, const char *id, struct error *err)
{
    struct fixture *f = arg;
    size_t used = strlen(f->seen);

    snprintf(f->seen + used, sizeof(f->seen) - used, "%s ", id);
    return 0;
}

static const char *list(struct fixture *f)
{
    f->seen[0] = '\0';
    assert_int_equal(object_list(&f->folder, collect, f, &f->err), 0);
    return f->seen;
}

static void make_file(struct fixture *f, const char *name)
{
    cleanup_close int fd =
        openat(f->temp.fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
}

static void an_object_appears_whole_when_it_is_linked(void **state)
{
    struct fixture *f = *state;
    cleanup(object_file) struct object_file file = OBJECT_FILE_INIT;
    char content[16];
    int fd;

    assert_int_equal(object_file_create(&f->folder, &file, &f->err), 0);
    assert_int_equal(path_write_at(file.fd, "content", 7, 0, &f->err), 0);
    assert_string_equal(list(f), "");

    assert_int_equal(object_file_link(&f->folder, &file, ID_A, &f->err), 0);

    assert_string_equal(list(f), ID_A " ");
    assert_int_equal(object_open(&f->folder, ID_A, &fd, &f->err), 0);
    assert_int_equal(read(fd, content, sizeof(content)), 7);
    assert_memory_equal(content, "content", 7);
    close(fd);
    object_file_release(&file);
    assert_int_equal(temp_folder_count(&f->temp), 1);
}

static void a_file_that_was_not_linked_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct object_file file;

    assert_int_equal(object_file_create(&f->folder, &file, &f->err), 0);
    assert_int_equal(temp_folder_count(&f->temp), f->folder.no_unnamed);
    object_file_release(&file);

    assert_int_equal(temp_folder_count(&f->temp), 0);
    assert_int_equal(file.fd, -1);
}

static void files_are_for_their_owner_alone(void **state)
{
    struct fixture *f = *state;
    mode_t old = umask(0);
    struct stat st;

    assert_int_equal(put(f, ID_A), 0);
    umask(old);

    assert_int_equal(fstatat(f->temp.fd, "ab/" ID_A, &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(fstatat(f->temp.fd, "ab", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void a_name_is_given_only_once(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(put(f, ID_A), 0);
    assert_int_equal(put(f, ID_A), ERR_EXISTS);

    assert_message(&f->err, "cannot put '" ID_A "' in place");
    assert_int_equal(temp_folder_count(&f->temp), 1);
}

static void names_that_are_no_ids_never_become_paths(void **state)
{
    static const char *const names[] = {
        "",
        "..",
        "ab0000000000001",
        "ab000000000000001",
        "AB00000000000001",
        "../../etc/passwd",
        "../etc/passwd/ab",
        "ab00000000000g01",
        "ab/0000000000001",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        int fd = -1;

        assert_int_equal(put(f, names[i]), ERR_INVALID);
        assert_message(&f->err, "is no id of 16 hex digits");
        assert_int_equal(object_open(&f->folder, names[i], &fd, &f->err),
                         ERR_INVALID);
        assert_int_equal(object_remove(&f->folder, names[i], &f->err),
                         ERR_INVALID);
    }
    assert_int_equal(temp_folder_count(&f->temp), 0);
}

static void an_id_longer_than_any_is_invalid(void **state)
{
    struct fixture *f = *state;
    char id[OBJECT_ID_MAX + 2];

    memset(id, 'a', sizeof(id) - 1);
    id[sizeof(id) - 1] = '\0';
    assert_int_equal(object_id_check(id, OBJECT_ID_MAX + 1, &f->err),
                     ERR_INVALID);
    assert_int_equal(object_id_check(id + 1, OBJECT_ID_MAX, &f->err), 0);
}

static void a_listing_passes_over_what_is_no_object(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(put(f, ID_A), 0);
    make_file(f, "ab/.tmp-1");
    make_file(f, "ab/ab0000000000000100");
    make_file(f, "ab/ab0000000000000");
    make_file(f, "ab/" ID_C); /* in the wrong folder */
    make_file(f, ID_B);       /* not in a folder */
    make_file(f, "ef");       /* no folder */
    assert_int_equal(mkdirat(f->temp.fd, "notes", 0700), 0);
    make_file(f, "notes/" ID_C);

    assert_string_equal(list(f), ID_A " ");
}

static void a_flat_folder_lists_its_objects(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(put(f, ID_A), 0);
    make_file(f, "notes");

    assert_string_equal(list(f), ID_A " ");
}

static void all_fan_out_folders_are_listed(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(put(f, ID_A), 0);
    assert_int_equal(put(f, ID_B), 0);
    assert_int_equal(put(f, ID_C), 0);

    assert_non_null(strstr(list(f), ID_A));
    assert_non_null(strstr(f->seen, ID_B));
    assert_non_null(strstr(f->seen, ID_C));
    assert_int_equal(strlen(f->seen), 3 * 17);
}

static int refuse(void *arg, const char *id, struct error *err)
{
    ++*(unsigned *)arg;
    return fail(err, ERR_CANCELLED, "seen enough");
}

static void an_error_of_the_visitor_ends_the_walk(void **state)
{
    struct fixture *f = *state;
    unsigned calls = 0;

    assert_int_equal(put(f, ID_A), 0);
    assert_int_equal(put(f, ID_B), 0);

    assert_int_equal(object_list(&f->folder, refuse, &calls, &f->err),
                     ERR_CANCELLED);
    assert_int_equal(calls, 1);
    assert_message(&f->err, "seen enough");
}

static void a_removed_object_is_gone(void **state)
{
    struct fixture *f = *state;
    int fd;

    assert_int_equal(put(f, ID_A), 0);
    assert_int_equal(object_remove(&f->folder, ID_A, &f->err), 0);

    assert_int_equal(object_open(&f->folder, ID_A, &fd, &f->err), ERR_NOTFOUND);
    assert_message(&f->err, "ab/" ID_A);
    assert_int_equal(object_remove(&f->folder, ID_A, &f->err), ERR_NOTFOUND);
    assert_int_equal(object_remove(&f->folder, ID_C, &f->err), ERR_NOTFOUND);
}

static void a_link_is_not_followed(void **state)
{
    struct fixture *f = *state;
    int fd;

    assert_int_equal(mkdirat(f->temp.fd, "ab", 0700), 0);
    assert_int_equal(symlinkat("/etc/passwd", f->temp.fd, "ab/" ID_A), 0);

    assert_int_equal(object_open(&f->folder, ID_A, &fd, &f->err), ERR_IO);
}

/* A child makes a file and dies without letting go. */
static void die_while_writing(struct fixture *f)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct object_file file;

        _exit(object_file_create(&f->folder, &file, &f->err) < 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void a_killed_writer_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    die_while_writing(f);

    assert_int_equal(temp_folder_count(&f->temp), 0);
}

static void files_of_dead_writers_are_swept_and_no_others(void **state)
{
    struct fixture *f = *state;
    cleanup(object_file) struct object_file alive = OBJECT_FILE_INIT;
    unsigned removed = 0;

    die_while_writing(f);
    die_while_writing(f);
    assert_int_equal(object_file_create(&f->folder, &alive, &f->err), 0);
    make_file(f, ".other");
    assert_int_equal(temp_folder_count(&f->temp), 4);

    assert_int_equal(object_sweep(&f->folder, &removed, &f->err), 0);

    assert_int_equal(removed, 2);
    assert_int_equal(temp_folder_count(&f->temp), 2);
    assert_int_equal(object_file_link(&f->folder, &alive, ID_A, &f->err), 0);
    assert_string_equal(list(f), ID_A " ");
}

static void a_folder_that_is_gone_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct object_file file = OBJECT_FILE_INIT;
    unsigned removed;

    f->folder.dirfd = 1000;

    assert_int_equal(object_file_create(&f->folder, &file, &f->err), ERR_IO);
    assert_int_equal(file.fd, -1);
    assert_int_equal(object_list(&f->folder, collect, f, &f->err), ERR_IO);
    assert_int_equal(object_sweep(&f->folder, &removed, &f->err), ERR_IO);
}

#define TEST(name, set_up) \
    cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define ALL(name)                                                    \
    {#name " (flat)", name, set_up_flat, tear_down, NULL},           \
        {#name " (fan-out)", name, set_up_fan_out, tear_down, NULL}, \
    {                                                                \
#name " (hidden)", name, set_up_hidden, tear_down, NULL      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(an_object_appears_whole_when_it_is_linked),
        ALL(a_file_that_was_not_linked_leaves_nothing),
        TEST(files_are_for_their_owner_alone, set_up_fan_out),
        TEST(files_are_for_their_owner_alone, set_up_hidden),
        ALL(a_name_is_given_only_once),
        ALL(names_that_are_no_ids_never_become_paths),
        TEST(an_id_longer_than_any_is_invalid, set_up_flat),
        TEST(a_listing_passes_over_what_is_no_object, set_up_fan_out),
        TEST(a_flat_folder_lists_its_objects, set_up_flat),
        TEST(all_fan_out_folders_are_listed, set_up_fan_out),
        ALL(an_error_of_the_visitor_ends_the_walk),
        TEST(a_removed_object_is_gone, set_up_fan_out),
        TEST(a_link_is_not_followed, set_up_fan_out),
        TEST(a_killed_writer_leaves_nothing, set_up_fan_out),
        TEST(files_of_dead_writers_are_swept_and_no_others, set_up_hidden),
        ALL(a_folder_that_is_gone_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"
#include "tests/fakes/temp_folder.h"

#include "core/base/path.h"

struct fixture {
    struct temp_folder folder;
    int fd; /* "file", open both ways */
    struct error err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->folder);
    f->fd = openat(f->folder.fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(f->fd >= 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    close(f->fd);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

static void names_are_joined_by_a_slash(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *joined = NULL;

    assert_ok(path_join("/a/b", "c", &joined, &f->err), &f->err);
    assert_string_equal(joined, "/a/b/c");
}

static void what_is_written_at_a_place_is_read_there(void **state)
{
    struct fixture *f = *state;
    uint8_t got[5];

    assert_ok(path_write_at(f->fd, "hello", 5, 100000, &f->err), &f->err);
    assert_ok(path_read_at(f->fd, got, 5, 100000, &f->err), &f->err);
    assert_memory_equal(got, "hello", 5);
    assert_int_equal(lseek(f->fd, 0, SEEK_END), 100005);
    assert_ok(path_read_at(f->fd, got, 0, 999999, &f->err), &f->err);
}

static void a_file_that_ends_early_is_damage(void **state)
{
    struct fixture *f = *state;
    uint8_t got[10];

    assert_ok(path_write_at(f->fd, "hello", 5, 0, &f->err), &f->err);
    assert_error(path_read_at(f->fd, got, 10, 2, &f->err), &f->err, ERR_CORRUPT,
                 "file ends at offset 5, 7 bytes too early");
}

static void errors_of_the_system_are_told(void **state)
{
    struct fixture *f = *state;
    cleanup_close int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    uint8_t byte = 0;

    assert_error(path_read_at(1000, &byte, 1, 7, &f->err), &f->err, ERR_IO,
                 "cannot read at offset 7: Bad file descriptor");
    assert_error(path_write_at(1000, &byte, 1, 7, &f->err), &f->err, ERR_IO,
                 "cannot write at offset 7: Bad file descriptor");
    assert_error(path_sync_folder(1000, &f->err), &f->err, ERR_IO,
                 "cannot sync a folder");
    assert_error(path_write_at(full, &byte, 1, 0, &f->err), &f->err, ERR_NOSPC,
                 "No space left");
}

static void a_whole_file_is_read_up_to_its_bound(void **state)
{
    struct fixture *f = *state;
    cleanup_buf struct buf content = BUF_INIT;
    cleanup_buf struct buf again = BUF_INIT;
    static uint8_t large[200000];

    for (size_t i = 0; i < sizeof(large); i++)
        large[i] = (uint8_t)(i * 31 >> 3);
    assert_ok(path_write_at(f->fd, large, sizeof(large), 0, &f->err), &f->err);

    assert_ok(path_read_file(f->folder.fd, "file", sizeof(large), &content,
                             &f->err),
              &f->err);
    assert_int_equal(content.len, sizeof(large));
    assert_memory_equal(content.data, large, sizeof(large));
    assert_error(path_read_file(f->folder.fd, "file", sizeof(large) - 1, &again,
                                &f->err),
                 &f->err, ERR_INVALID, "is longer than 199999 bytes");
}

static void an_empty_file_is_read_as_nothing(void **state)
{
    struct fixture *f = *state;
    cleanup_buf struct buf content = BUF_INIT;

    assert_ok(path_read_file(f->folder.fd, "file", 0, &content, &f->err),
              &f->err);
    assert_string_equal(buf_str(&content), "");
}

static void files_that_cannot_be_read_are_told_apart(void **state)
{
    struct fixture *f = *state;
    cleanup_buf struct buf content = BUF_INIT;

    assert_error(path_read_file(f->folder.fd, "none", 9, &content, &f->err),
                 &f->err, ERR_NOTFOUND, "cannot open 'none'");
    assert_error(path_read_file(f->folder.fd, ".", 9, &content, &f->err),
                 &f->err, ERR_IO, "cannot read '.'");
}

static int open_unnamed(struct fixture *f)
{
    int fd = openat(f->folder.fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0)
        skip();
    return fd;
}

static void an_unnamed_file_gets_its_name_whole(void **state)
{
    struct fixture *f = *state;
    cleanup_close int fd = open_unnamed(f);
    cleanup_buf struct buf content = BUF_INIT;

    assert_ok(path_write_at(fd, "whole", 5, 0, &f->err), &f->err);
    assert_int_equal(temp_folder_count(&f->folder), 1);
    assert_ok(path_link_unnamed(fd, f->folder.fd, "named", &f->err), &f->err);
    assert_ok(path_sync_folder(f->folder.fd, &f->err), &f->err);

    assert_ok(path_read_file(f->folder.fd, "named", 99, &content, &f->err),
              &f->err);
    assert_string_equal(buf_str(&content), "whole");
}

static void a_name_that_is_taken_is_not_replaced(void **state)
{
    struct fixture *f = *state;
    cleanup_close int fd = open_unnamed(f);

    assert_ok(path_write_at(f->fd, "old", 3, 0, &f->err), &f->err);
    assert_error(path_link_unnamed(fd, f->folder.fd, "file", &f->err), &f->err,
                 ERR_EXISTS, "cannot put 'file' in place");
    assert_error(path_link_unnamed(fd, f->folder.fd, "no/file", &f->err),
                 &f->err, ERR_IO, "cannot put 'no/file' in place");
    assert_int_equal(lseek(f->fd, 0, SEEK_END), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_are_joined_by_a_slash),
        TEST(what_is_written_at_a_place_is_read_there),
        TEST(a_file_that_ends_early_is_damage),
        TEST(errors_of_the_system_are_told),
        TEST(a_whole_file_is_read_up_to_its_bound),
        TEST(an_empty_file_is_read_as_nothing),
        TEST(files_that_cannot_be_read_are_told_apart),
        TEST(an_unnamed_file_gets_its_name_whole),
        TEST(a_name_that_is_taken_is_not_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

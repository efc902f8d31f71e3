#include "tests/fakes/assert_error.h"

#include <signal.h>
#include <sys/wait.h>

#include "core/host/lock_file.h"
#include "tests/fakes/temp_folder.h"

struct fixture {
    struct temp_folder folder;
    char path[160];
    struct error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->folder);
    snprintf(f->path, sizeof(f->path), "%s/x.lock", f->folder.path);
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

static void a_second_one_is_told_who_holds_it(void **state)
{
    struct fixture *f = *state;
    struct lock_file one, two;
    char expected[64];

    snprintf(expected, sizeof(expected), "process %d is working on it",
             getpid());
    assert_ok(lock_file_take(f->path, &one, &f->err), &f->err);
    assert_error(lock_file_take(f->path, &two, &f->err), &f->err, ERR_LOCKED,
                 expected);
    lock_file_release(&two);
    lock_file_release(&one);
}

static void what_was_let_go_leaves_no_file_and_can_be_taken(void **state)
{
    struct fixture *f = *state;
    struct lock_file lock;

    for (int i = 0; i < 3; i++) {
        assert_ok(lock_file_take(f->path, &lock, &f->err), &f->err);
        lock_file_release(&lock);
        assert_int_equal(access(f->path, F_OK), -1);
    }
}

/* kill -9 leaves the file, and nothing that holds it. */
static void a_dead_holder_holds_nothing(void **state)
{
    struct fixture *f = *state;
    struct lock_file lock;
    pid_t pid = fork();

    if (pid == 0) {
        if (lock_file_take(f->path, &lock, &f->err) < 0)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(access(f->path, F_OK), 0);
    assert_ok(lock_file_take(f->path, &lock, &f->err), &f->err);
    lock_file_release(&lock);
}

/* A child that kept the descriptor goes on holding it. */
static void it_is_held_as_long_as_anybody_has_it(void **state)
{
    struct fixture *f = *state;
    struct lock_file lock, other;
    int copy;

    assert_ok(lock_file_take(f->path, &lock, &f->err), &f->err);
    copy = dup(lock.fd);
    close(lock.fd);
    assert_int_equal(lock_file_take(f->path, &other, &f->err), ERR_LOCKED);
    close(copy);
    assert_ok(lock_file_take(f->path, &other, &f->err), &f->err);
    lock_file_release(&other);
    free(lock.path);
}

static void a_link_is_not_followed(void **state)
{
    struct fixture *f = *state;
    struct lock_file lock;

    assert_int_equal(symlink("/tmp/elsewhere", f->path), 0);
    assert_error(lock_file_take(f->path, &lock, &f->err), &f->err, ERR_IO,
                 "cannot open the lock");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_second_one_is_told_who_holds_it),
        TEST(what_was_let_go_leaves_no_file_and_can_be_taken),
        TEST(a_dead_holder_holds_nothing),
        TEST(it_is_held_as_long_as_anybody_has_it),
        TEST(a_link_is_not_followed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "core/base/channel.h"
#include "core/host/process.h"
#include "snapshot/socket_folder.h"
#include "tests/fakes/temp_folder.h"

struct fixture {
    struct temp_folder folder;
    struct socket_folder socket;
    struct error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->folder);
    f->socket = SOCKET_FOLDER_INIT;
    setenv("XDG_RUNTIME_DIR", f->folder.path, 1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    socket_folder_close(&f->socket);
    assert_int_equal(temp_folder_count(&f->folder), 0);
    temp_folder_release(&f->folder);
    unsetenv("XDG_RUNTIME_DIR");
    free(f);
    return 0;
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void qemu_can_connect_and_others_cannot_look(void **state)
{
    struct fixture *f = *state;
    cleanup_close int fd = -1;
    char folder[128];

    assert_ok(socket_folder_open(&f->socket, geteuid(), &f->err), &f->err);
    assert_int_equal(
        strncmp(f->socket.path, f->folder.path, strlen(f->folder.path)), 0);
    snprintf(folder, sizeof(folder), "%s", f->socket.path);
    *strrchr(folder, '/') = '\0';

    assert_int_equal(mode_of(folder), 0700);
    assert_int_equal(mode_of(f->socket.path), 0600);
    assert_ok(channel_connect(f->socket.path, &fd, &f->err), &f->err);
}

static void names_go_at_once_and_the_socket_stays(void **state)
{
    struct fixture *f = *state;
    cleanup_close int fd = -1;
    cleanup_close int accepted = -1;
    struct stopper stop;

    assert_ok(stopper_init(&stop, &f->err), &f->err);
    assert_ok(socket_folder_open(&f->socket, geteuid(), &f->err), &f->err);
    assert_ok(channel_connect(f->socket.path, &fd, &f->err), &f->err);
    socket_folder_unlink(&f->socket);

    assert_int_equal(temp_folder_count(&f->folder), 0);
    assert_ok(channel_accept(f->socket.listen_fd, &stop, 0, &accepted, &f->err),
              &f->err);
    socket_folder_unlink(&f->socket);
    stopper_release(&stop);
}

static void a_runtime_folder_that_is_too_long_is_not_used(void **state)
{
    struct fixture *f = *state;
    char longer[256];

    snprintf(longer, sizeof(longer), "%s/%050d", f->folder.path, 1);
    assert_int_equal(mkdir(longer, 0700), 0);
    setenv("XDG_RUNTIME_DIR", longer, 1);

    assert_string_equal(socket_folder_base(), "/tmp");
    rmdir(longer);
}

static void make_folder(struct fixture *f, const char *name, bool with_socket)
{
    char path[300];

    snprintf(path, sizeof(path), "%s/%s", f->folder.path, name);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/%s/migrate.sock", f->folder.path, name);
    if (with_socket)
        assert_int_equal(mknod(path, S_IFREG | 0600, 0), 0);
}

static bool has_folder(struct fixture *f, const char *name)
{
    struct stat st;

    return fstatat(f->folder.fd, name, &st, 0) == 0;
}

static void folders_of_the_dead_are_swept_and_no_others(void **state)
{
    struct fixture *f = *state;
    uint64_t start;
    char mine[64];

    assert_ok(process_start_time(getpid(), &start, &f->err), &f->err);
    snprintf(mine, sizeof(mine), "firn-capture-%d-%" PRIu64 "-abcdef", getpid(),
             start);
    make_folder(f, mine, false);
    make_folder(f, "firn-capture-1-0-abcdef", true);
    make_folder(f, "firn-capture-999999999-7-abcdef", false);
    make_folder(f, "firn-capture-x", false);
    make_folder(f, "somebody-else-1-0", false);

    assert_int_equal(socket_folder_sweep(f->folder.path), 2);

    assert_true(has_folder(f, mine));
    assert_true(has_folder(f, "firn-capture-x"));
    assert_true(has_folder(f, "somebody-else-1-0"));
    assert_false(has_folder(f, "firn-capture-1-0-abcdef"));
}

static void a_folder_with_other_things_in_it_is_left_alone(void **state)
{
    struct fixture *f = *state;
    cleanup_close int fd = -1;
    char path[300];

    make_folder(f, "firn-capture-1-0-abcdef", false);
    snprintf(path, sizeof(path), "%s/firn-capture-1-0-abcdef/precious",
             f->folder.path);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);

    assert_int_equal(socket_folder_sweep(f->folder.path), 0);

    assert_int_equal(unlink(path), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(qemu_can_connect_and_others_cannot_look),
        TEST(names_go_at_once_and_the_socket_stays),
        TEST(a_runtime_folder_that_is_too_long_is_not_used),
        TEST(folders_of_the_dead_are_swept_and_no_others),
        TEST(a_folder_with_other_things_in_it_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

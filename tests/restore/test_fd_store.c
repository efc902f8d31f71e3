#include "tests/fakes/assert_error.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "restore/fd_store.h"
#include "tests/fakes/temp_folder.h"

/* A service manager: a socket for datagrams. */
struct fixture {
    struct temp_folder folder;
    struct sockaddr_un address;
    int socket;
    char text[200]; /* of the last datagram */
    int fd;         /* that came with it; -1: none */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->folder);
    f->address.sun_family = AF_UNIX;
    snprintf(f->address.sun_path, sizeof(f->address.sun_path), "%.90s/notify",
             f->folder.path);
    f->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->socket, (struct sockaddr *)&f->address,
                          sizeof(f->address)),
                     0);
    setenv("NOTIFY_SOCKET", f->address.sun_path, 1);
    f->fd = -1;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    unsetenv("NOTIFY_SOCKET");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    close(f->socket);
    if (f->fd >= 0)
        close(f->fd);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

static void hear(struct fixture *f)
{
    _Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {.iov_base = f->text, .iov_len = sizeof(f->text) - 1};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = room,
        .msg_controllen = sizeof(room),
    };
    ssize_t n = recvmsg(f->socket, &msg, MSG_DONTWAIT);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    assert_true(n > 0);
    f->text[n] = '\0';
    if (c)
        memcpy(&f->fd, CMSG_DATA(c), sizeof(int));
}

static void what_is_put_arrives_with_its_name(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct stat ours, theirs;

    assert_ok(fd_store_put("firn-qemu-7", f->folder.fd, &err), &err);
    hear(f);
    assert_string_equal(f->text, "FDSTORE=1\nFDNAME=firn-qemu-7");
    assert_int_equal(fstat(f->folder.fd, &ours), 0);
    assert_int_equal(fstat(f->fd, &theirs), 0);
    assert_int_equal(ours.st_ino, theirs.st_ino);
}

static void what_is_removed_is_named(void **state)
{
    struct fixture *f = *state;
    char name[FD_STORE_NAME_LEN];

    fd_store_name(4711, name);
    fd_store_remove(name);
    hear(f);
    assert_string_equal(f->text, "FDSTOREREMOVE=1\nFDNAME=firn-qemu-4711");
    assert_int_equal(f->fd, -1);
}

static void without_a_manager_nothing_happens(void **state)
{
    static const char *const names[] = {"", "relative", "/"};
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        assert_ok(fd_store_put("a", f->folder.fd, &err), &err);
    }
    unsetenv("NOTIFY_SOCKET");
    assert_ok(fd_store_put("a", f->folder.fd, &err), &err);
    fd_store_remove("a");
    assert_int_equal(fd_store_take("a"), -1);
}

static void a_manager_that_is_gone_is_told(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    unlink(f->address.sun_path);
    assert_int_equal(fd_store_put("a", f->folder.fd, &err), ERR_PEER);
    assert_non_null(strstr(err.message, "service manager"));
}

static void say_what_we_were_given(pid_t pid, const char *n, const char *names)
{
    char text[20];

    snprintf(text, sizeof(text), "%d", (int)pid);
    setenv("LISTEN_PID", text, 1);
    setenv("LISTEN_FDS", n, 1);
    setenv("LISTEN_FDNAMES", names, 1);
}

static void what_was_kept_is_found_by_its_name(void **state)
{
    int kept[3];

    for (int i = 0; i < 3; i++)
        kept[i] = fcntl(3 + i, F_GETFD) < 0 ? dup2(1, 3 + i) : 3 + i;
    assert_int_equal(kept[2], 5);
    say_what_we_were_given(getpid(), "3", "stored:firn-qemu-8:firn-qemu-88");
    assert_int_equal(fd_store_count(), 3);
    assert_int_equal(fd_store_take("firn-qemu-88"), 5);
    assert_int_equal(fd_store_take("firn-qemu-8"), 4);
    assert_int_equal(fcntl(4, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fd_store_take("firn-qemu"), -1);
    /* The keeper is a child of the process that was started. */
    say_what_we_were_given(getppid(), "2", "a:b");
    assert_int_equal(fd_store_take("b"), 4);
    /* Fewer names than descriptors, or the other way round. */
    say_what_we_were_given(getpid(), "3", "a");
    assert_int_equal(fd_store_take("b"), -1);
    say_what_we_were_given(getpid(), "1", "a:b");
    assert_int_equal(fd_store_take("b"), -1);
}

static void what_was_meant_for_others_is_not_ours(void **state)
{
    say_what_we_were_given(1, "2", "a:b");
    assert_true(getppid() == 1 || fd_store_count() == 0);
    say_what_we_were_given(getpid(), "-2", "a:b");
    assert_int_equal(fd_store_count(), 0);
    say_what_we_were_given(getpid(), "99999999", "a:b");
    assert_int_equal(fd_store_count(), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_put_arrives_with_its_name),
        TEST(what_is_removed_is_named),
        TEST(without_a_manager_nothing_happens),
        TEST(a_manager_that_is_gone_is_told),
        TEST(what_was_kept_is_found_by_its_name),
        TEST(what_was_meant_for_others_is_not_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"
#include "tests/fakes/temp_folder.h"

#include <pthread.h>
#include <sys/socket.h>

#include "core/base/channel.h"
#include "core/base/clock.h"

#define LARGE (4u << 20)

struct fixture {
    struct temp_folder folder;
    struct stopper stop;
    char path[160];
    int listener;
    int here;
    int there;
    struct error err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->folder);
    assert_ok(stopper_init(&f->stop, &f->err), &f->err);
    snprintf(f->path, sizeof(f->path), "%s/socket", f->folder.path);
    assert_ok(channel_listen(f->path, 4, &f->listener, &f->err), &f->err);
    assert_ok(channel_connect(f->path, &f->here, &f->err), &f->err);
    assert_ok(channel_accept(f->listener, &f->stop, 0, &f->there, &f->err),
              &f->err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    close(f->listener);
    close(f->here);
    close(f->there);
    stopper_release(&f->stop);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

static void hang_up(int *fd)
{
    close(*fd);
    *fd = -1;
}

static uint64_t soon(void)
{
    return clock_monotonic_ns() + 2 * NS_PER_MS;
}

static void bytes_go_both_ways(void **state)
{
    struct fixture *f = *state;
    char got[16];
    size_t n;

    assert_ok(channel_write(f->here, "ask", 3, &f->stop, 0, &f->err), &f->err);
    assert_ok(channel_read(f->there, got, 16, &f->stop, 0, &n, &f->err),
              &f->err);
    assert_int_equal(n, 3);
    assert_memory_equal(got, "ask", 3);
    assert_ok(channel_write(f->there, "tell", 4, &f->stop, 0, &f->err),
              &f->err);
    assert_ok(channel_read(f->here, got, 2, &f->stop, 0, &n, &f->err), &f->err);
    assert_int_equal(n, 2);
}

static void descriptors_do_not_leak_into_children(void **state)
{
    struct fixture *f = *state;

    assert_true(fcntl(f->listener, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(f->here, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(f->there, F_GETFD) & FD_CLOEXEC);
}

static void a_listening_socket_is_for_its_owner_alone(void **state)
{
    struct fixture *f = *state;
    char path[170];
    struct stat st;
    mode_t before = umask(0);
    int fd;

    snprintf(path, sizeof(path), "%s-2", f->path);
    assert_ok(channel_listen(path, 1, &fd, &f->err), &f->err);
    assert_int_equal(umask(before), 0); /* it was put back */
    close(fd);

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void the_peer_is_known(void **state)
{
    struct fixture *f = *state;
    struct channel_peer peer;

    assert_ok(channel_peer(f->there, &peer, &f->err), &f->err);
    assert_int_equal(peer.pid, getpid());
    assert_int_equal(peer.uid, geteuid());
}

static void nobody_there_is_a_peer_error(void **state)
{
    struct fixture *f = *state;
    int fd = -1;

    assert_error(channel_connect("/nowhere/at-all", &fd, &f->err), &f->err,
                 ERR_PEER, "cannot connect to socket '/nowhere/at-all': No");
    hang_up(&f->listener);
    assert_error(channel_connect(f->path, &fd, &f->err), &f->err, ERR_PEER,
                 "Connection refused");
    assert_int_equal(fd, -1);
}

static void paths_too_long_for_a_socket_are_told(void **state)
{
    struct fixture *f = *state;
    char path[200];
    int fd;

    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_error(channel_connect(path, &fd, &f->err), &f->err, ERR_INVALID,
                 "is longer than 107 bytes");
    assert_error(channel_listen(path, 1, &fd, &f->err), &f->err, ERR_INVALID,
                 "is longer than 107 bytes");
}

static void a_path_that_is_taken_is_not_listened_at(void **state)
{
    struct fixture *f = *state;
    int fd;

    assert_error(channel_listen(f->path, 1, &fd, &f->err), &f->err, ERR_IO,
                 "Address already in use");
}

static void waits_end_by_deadline(void **state)
{
    struct fixture *f = *state;
    char got[4];
    size_t n;
    int fd;

    assert_error(channel_accept(f->listener, &f->stop, soon(), &fd, &f->err),
                 &f->err, ERR_TIMEOUT, "time limit");
    assert_error(channel_read(f->here, got, 4, &f->stop, soon(), &n, &f->err),
                 &f->err, ERR_TIMEOUT, "time limit");
}

static void a_write_nobody_reads_ends_by_deadline(void **state)
{
    struct fixture *f = *state;
    cleanup_free uint8_t *data = calloc(1, LARGE);

    assert_error(channel_write(f->here, data, LARGE, &f->stop, soon(), &f->err),
                 &f->err, ERR_TIMEOUT, "time limit");
}

static void waits_end_when_stopped(void **state)
{
    struct fixture *f = *state;
    cleanup_free uint8_t *data = calloc(1, LARGE);
    size_t n;
    int fd;

    stopper_pull(&f->stop, ERR_INTERRUPTED);
    assert_error(channel_accept(f->listener, &f->stop, 0, &fd, &f->err),
                 &f->err, ERR_INTERRUPTED, "interrupted");
    assert_error(channel_read(f->here, data, 4, &f->stop, 0, &n, &f->err),
                 &f->err, ERR_INTERRUPTED, "interrupted");
    assert_error(channel_write(f->here, data, LARGE, &f->stop, 0, &f->err),
                 &f->err, ERR_INTERRUPTED, "interrupted");
}

static void the_end_of_the_stream_reads_as_nothing(void **state)
{
    struct fixture *f = *state;
    char got[8];
    size_t n = 99;

    assert_ok(channel_write(f->there, "last", 4, &f->stop, 0, &f->err),
              &f->err);
    hang_up(&f->there);

    assert_ok(channel_read(f->here, got, 8, &f->stop, 0, &n, &f->err), &f->err);
    assert_int_equal(n, 4);
    assert_ok(channel_read(f->here, got, 8, &f->stop, 0, &n, &f->err), &f->err);
    assert_int_equal(n, 0);
}

static void a_reset_reads_as_the_end(void **state)
{
    struct fixture *f = *state;
    char got[8];
    size_t n = 99;

    /* Closing with unread bytes resets the other side. */
    assert_ok(channel_write(f->here, "unread", 6, &f->stop, 0, &f->err),
              &f->err);
    hang_up(&f->there);

    assert_ok(channel_read(f->here, got, 8, &f->stop, 0, &n, &f->err), &f->err);
    assert_int_equal(n, 0);
}

static void writing_to_who_hung_up_is_a_peer_error(void **state)
{
    struct fixture *f = *state;

    hang_up(&f->there);
    assert_error(channel_write(f->here, "x", 1, &f->stop, 0, &f->err), &f->err,
                 ERR_PEER, "the peer closed the socket");
}

struct flow {
    struct fixture *f;
    uint8_t *data;
};

static void *read_all(void *arg)
{
    struct flow *flow = arg;
    struct error err;
    size_t at = 0;
    size_t n = 1;

    while (at < LARGE && n > 0) {
        if (channel_read(flow->f->there, flow->data + at, 5000, &flow->f->stop,
                         0, &n, &err) < 0)
            break;
        at += n;
    }
    return (void *)(uintptr_t)at;
}

static void a_write_goes_on_until_all_is_taken(void **state)
{
    struct fixture *f = *state;
    cleanup_free uint8_t *sent = malloc(LARGE);
    cleanup_free uint8_t *got = calloc(1, LARGE + 5000);
    struct flow flow = {f, got};
    pthread_t reader;
    void *n;

    for (size_t i = 0; i < LARGE; i++)
        sent[i] = (uint8_t)(i * 2654435761u >> 13);
    pthread_create(&reader, NULL, read_all, &flow);
    assert_ok(channel_write(f->here, sent, LARGE, &f->stop, 0, &f->err),
              &f->err);
    pthread_join(reader, &n);

    assert_int_equal((uintptr_t)n, LARGE);
    assert_memory_equal(sent, got, LARGE);
}

static int receive_fd(int from, char *byte)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof(control.space)};
    int fd;

    assert_int_equal(recvmsg(from, &msg, MSG_CMSG_CLOEXEC), 1);
    assert_non_null(CMSG_FIRSTHDR(&msg));
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
    return fd;
}

static void a_descriptor_goes_with_the_bytes(void **state)
{
    struct fixture *f = *state;
    int ends[2];
    char byte = 0;
    int fd;

    assert_int_equal(pipe(ends), 0);
    assert_ok(channel_write_with_fd(f->here, "Z", 1, ends[1], &f->err),
              &f->err);
    close(ends[1]);
    fd = receive_fd(f->there, &byte);

    assert_int_equal(byte, 'Z');
    assert_int_equal(write(fd, "y", 1), 1);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    close(fd);
    close(ends[0]);
}

static void a_descriptor_cannot_be_passed_to_nobody(void **state)
{
    struct fixture *f = *state;

    hang_up(&f->there);
    assert_error(channel_write_with_fd(f->here, "Z", 1, f->listener, &f->err),
                 &f->err, ERR_PEER, "cannot pass a descriptor");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void a_listener_that_accepts_nobody_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    int fds[16];
    size_t n = 0;

    /* Its queue has room for some; a further client must not wait for ever. */
    while (n < ARRAY_LEN(fds) &&
           channel_connect(f->path, &fds[n], &f->err) == 0)
        n++;
    assert_in_range(n, 1, ARRAY_LEN(fds) - 1);
    assert_int_equal(f->err.code, ERR_PEER);
    assert_int_equal(f->err.sys_errno, EAGAIN);
    assert_non_null(strstr(f->err.hint, "accepts nobody"));
    while (n > 0)
        close(fds[--n]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_listener_that_accepts_nobody_is_not_waited_for),
        TEST(bytes_go_both_ways),
        TEST(descriptors_do_not_leak_into_children),
        TEST(a_listening_socket_is_for_its_owner_alone),
        TEST(the_peer_is_known),
        TEST(nobody_there_is_a_peer_error),
        TEST(paths_too_long_for_a_socket_are_told),
        TEST(a_path_that_is_taken_is_not_listened_at),
        TEST(waits_end_by_deadline),
        TEST(a_write_nobody_reads_ends_by_deadline),
        TEST(waits_end_when_stopped),
        TEST(the_end_of_the_stream_reads_as_nothing),
        TEST(a_reset_reads_as_the_end),
        TEST(writing_to_who_hung_up_is_a_peer_error),
        TEST(a_write_goes_on_until_all_is_taken),
        TEST(a_descriptor_goes_with_the_bytes),
        TEST(a_descriptor_cannot_be_passed_to_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

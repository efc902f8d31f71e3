#include "tests/fakes/assert_error.h"

#include <pthread.h>
#include <sys/socket.h>

#include "core/base/bytes.h"
#include "core/base/channel.h"
#include "core/base/clock.h"
#include "snapshot/qemu_connections.h"
#include "tests/fakes/temp_folder.h"

#define QEMU_MAX   6u
#define IN_A_WHILE (clock_monotonic_ns() + 20 * NS_PER_SEC)
#define SOON       (clock_monotonic_ns() + 20 * NS_PER_MS)

struct fixture {
    struct temp_folder folder;
    char path[160];
    int listen_fd;
    struct stopper stop;
    int qemu[QEMU_MAX]; /* the test plays QEMU */
    unsigned n;
    int main_fd;
    int channels[QEMU_MAX];
    struct error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->folder);
    snprintf(f->path, sizeof(f->path), "%s/s", f->folder.path);
    assert_ok(stopper_init(&f->stop, &f->err), &f->err);
    assert_ok(channel_listen(f->path, 32, &f->listen_fd, &f->err), &f->err);
    f->main_fd = -1;
    for (unsigned i = 0; i < QEMU_MAX; i++)
        f->channels[i] = -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < f->n; i++)
        close(f->qemu[i]);
    for (unsigned i = 0; i < QEMU_MAX; i++) {
        if (f->channels[i] >= 0)
            close(f->channels[i]);
    }
    if (f->main_fd >= 0)
        close(f->main_fd);
    close(f->listen_fd);
    stopper_release(&f->stop);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

/* Connects and says so many bytes of a magic; a number follows it. */
static void connect_saying(struct fixture *f, uint32_t magic, size_t n)
{
    uint8_t bytes[8];

    store_be32(bytes, magic);
    store_be32(bytes + 4, f->n);
    assert_ok(channel_connect(f->path, &f->qemu[f->n], &f->err), &f->err);
    assert_int_equal(write(f->qemu[f->n], bytes, n), n);
    f->n++;
}

static int accept_them(struct fixture *f, unsigned n_channels,
                       uint64_t deadline_ns)
{
    return qemu_connections_accept(f->listen_fd, n_channels, &f->stop,
                                   deadline_ns, &f->main_fd, f->channels,
                                   &f->err);
}

/* The connection, from its magic on. */
static void assert_says(int fd, uint32_t magic, uint32_t number)
{
    uint8_t bytes[8];

    assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
    assert_int_equal(load_be32(bytes), magic);
    assert_int_equal(load_be32(bytes + 4), number);
}

static void they_are_told_apart_wherever_the_main_one_stands(void **state)
{
    for (unsigned at = 0; at < 4; at++) {
        struct fixture *f;

        setup(state);
        f = *state;
        for (unsigned i = 0; i < 4; i++)
            connect_saying(f, i == at ? QEMU_MAGIC : QEMU_MULTIFD_MAGIC, 8);
        assert_ok(accept_them(f, 3, IN_A_WHILE), &f->err);

        assert_says(f->main_fd, QEMU_MAGIC, at);
        for (unsigned i = 0; i < 3; i++)
            assert_says(f->channels[i], QEMU_MULTIFD_MAGIC, i < at ? i : i + 1);
        teardown(state);
    }
}

static void alone_the_main_one_is_not_waited_for(void **state)
{
    struct fixture *f = *state;

    connect_saying(f, 0, 0);
    assert_ok(accept_them(f, 0, IN_A_WHILE), &f->err);
    assert_true(f->main_fd >= 0);
}

/* It says its magic when it has seen all others accepted, in pieces. */
static void *speak_late(void *arg)
{
    struct fixture *f = arg;
    uint8_t bytes[8];

    store_be32(bytes, QEMU_MAGIC);
    store_be32(bytes + 4, 0);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        usleep(2000);
        if (write(f->qemu[0], bytes + i, 1) != 1)
            abort();
    }
    return NULL;
}

static void the_main_one_may_speak_last_and_in_pieces(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    connect_saying(f, 0, 0);
    connect_saying(f, QEMU_MULTIFD_MAGIC, 8);
    assert_int_equal(pthread_create(&thread, NULL, speak_late, f), 0);
    assert_ok(accept_them(f, 1, IN_A_WHILE), &f->err);
    pthread_join(thread, NULL);
    assert_says(f->main_fd, QEMU_MAGIC, 0);
}

static void a_missing_channel_is_told_in_time(void **state)
{
    struct fixture *f = *state;

    connect_saying(f, QEMU_MAGIC, 8);
    connect_saying(f, QEMU_MULTIFD_MAGIC, 8);
    assert_error(accept_them(f, 2, SOON), &f->err, ERR_PEER,
                 "QEMU made 2 of 3 connections (main stream, 2 multifd");
}

static void a_qemu_that_never_connects_is_told_in_time(void **state)
{
    struct fixture *f = *state;

    assert_error(accept_them(f, 2, SOON), &f->err, ERR_PEER,
                 "QEMU did not connect");
}

static void a_silent_channel_is_told_in_time(void **state)
{
    struct fixture *f = *state;

    connect_saying(f, QEMU_MAGIC, 8);
    connect_saying(f, 0, 0);
    assert_error(accept_them(f, 1, SOON), &f->err, ERR_PEER, "silent in one");
}

static void half_a_magic_is_told_in_time(void **state)
{
    struct fixture *f = *state;

    connect_saying(f, QEMU_MAGIC, 8);
    connect_saying(f, QEMU_MULTIFD_MAGIC, 3);
    assert_error(accept_them(f, 1, SOON), &f->err, ERR_PEER, "3 bytes");
}

static void a_closed_channel_is_told(void **state)
{
    struct fixture *f = *state;

    connect_saying(f, QEMU_MAGIC, 8);
    connect_saying(f, 0, 0);
    shutdown(f->qemu[1], SHUT_RDWR);
    assert_error(accept_them(f, 1, IN_A_WHILE), &f->err, ERR_PEER,
                 "closed a connection at once");
}

static void the_right_number_of_the_wrong_kind_is_told(void **state)
{
    struct fixture *f = *state;

    connect_saying(f, QEMU_MAGIC, 8);
    connect_saying(f, QEMU_MAGIC, 8);
    assert_error(accept_them(f, 1, IN_A_WHILE), &f->err, ERR_PROTOCOL,
                 "more than one is a main stream");
    teardown(state);
    setup(state);
    f = *state;
    connect_saying(f, QEMU_MULTIFD_MAGIC, 8);
    connect_saying(f, QEMU_MULTIFD_MAGIC, 8);
    assert_error(accept_them(f, 1, IN_A_WHILE), &f->err, ERR_PROTOCOL,
                 "none is a main stream");
}

static void a_stop_ends_the_wait(void **state)
{
    struct fixture *f = *state;

    connect_saying(f, QEMU_MAGIC, 8);
    stopper_pull(&f->stop, ERR_CANCELLED);
    assert_int_equal(accept_them(f, 1, IN_A_WHILE), ERR_CANCELLED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_are_told_apart_wherever_the_main_one_stands),
        TEST(alone_the_main_one_is_not_waited_for),
        TEST(the_main_one_may_speak_last_and_in_pieces),
        TEST(a_missing_channel_is_told_in_time),
        TEST(a_qemu_that_never_connects_is_told_in_time),
        TEST(a_silent_channel_is_told_in_time),
        TEST(half_a_magic_is_told_in_time),
        TEST(a_closed_channel_is_told),
        TEST(the_right_number_of_the_wrong_kind_is_told),
        TEST(a_stop_ends_the_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

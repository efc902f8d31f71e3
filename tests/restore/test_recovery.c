#include "tests/fakes/assert_error.h"

#include <sys/socket.h>
#include <unistd.h>

#include "restore/pages/postcopy_prologue.h"
#include "restore/recovery.h"
#include "tests/fakes/fake_session.h"
#include "tests/fakes/temp_folder.h"

#define DEPOSIT(n)                                       \
    {FAKE_KEEP_FD, "\"fdname\":\"firn-recover-" n "\""}, \
    {                                                    \
        FAKE_ANSWER, "{}"                                \
    }
#define STOCK                                                             \
    FAKE_OPENING, DEPOSIT("0"), DEPOSIT("1"), DEPOSIT("2"), DEPOSIT("3"), \
        DEPOSIT("4"), DEPOSIT("5"), DEPOSIT("6"), DEPOSIT("7")
#define RECOVER(uri)                                                \
    {                                                               \
        FAKE_EXPECT, "{\"exec-oob\":\"migrate-recover\",\"id\":10," \
                     "\"arguments\":{\"uri\":\"" uri "\"}}"         \
    }

struct fixture {
    struct fake_monitor monitor;
    struct stopper stop;
    struct qmp_session *qmp;
    struct ramblock_list blocks;
    struct temp_folder folder;
    char path[200]; /* of the socket that a recovery names */
    struct recovery recovery;
    struct connection connection;
    struct error err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct ramblock block = {.idstr = "pc.ram",
                                   .used_bytes = 40 * PAGE_BYTES,
                                   .host_page_bytes = PAGE_BYTES};

    assert_ok(stopper_init(&f->stop, &f->err), &f->err);
    assert_ok(ramblock_list_add(&f->blocks, &block, &f->err), &f->err);
    temp_folder_init(&f->folder);
    snprintf(f->path, sizeof(f->path), "%s/snap-%d.recover.sock",
             f->folder.path, (int)getpid());
    f->connection = CONNECTION_NONE;
    recovery_init(&f->recovery);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < f->monitor.n_kept; i++)
        close(f->monitor.kept_fds[i]);
    connection_close(&f->connection);
    recovery_release(&f->recovery);
    ramblock_list_release(&f->blocks);
    temp_folder_release(&f->folder);
    stopper_release(&f->stop);
    free(f);
    return 0;
}

static void open_monitor(struct fixture *f, const struct fake_step *steps,
                         size_t n)
{
    f->qmp = fake_session_open(&f->monitor, steps, n, &f->stop);
    f->recovery.qmp = f->qmp;
    f->recovery.blocks = &f->blocks;
    f->recovery.folder = f->folder.path;
    f->recovery.snapshot = "snap";
    f->recovery.stop = &f->stop;
}

static void close_monitor(struct fixture *f)
{
    qmp_session_close(f->qmp);
    assert_string_equal(fake_monitor_stop(&f->monitor), "");
}

static void stock(struct fixture *f)
{
    assert_ok(recovery_restock(&f->recovery, &f->err), &f->err);
    assert_int_equal(spares_left(&f->recovery.spares), SPARES_N);
}

static int connect_qemu(struct fixture *f)
{
    return recovery_connect(&f->recovery, &f->connection, &f->err);
}

static size_t read_what_is_there(int fd, uint8_t *to, size_t max)
{
    ssize_t n = recv(fd, to, max, MSG_DONTWAIT);

    return n < 0 ? 0 : (size_t)n;
}

/* The whole of it, once, and nothing behind it. */
static void assert_handshake(struct fixture *f, int fd)
{
    cleanup_buf struct buf wanted = BUF_INIT;
    uint8_t got[4096];

    assert_ok(postcopy_put_recovery(&wanted, &f->blocks, &f->err), &f->err);
    assert_true(wanted.len > 0);
    assert_int_equal(read_what_is_there(fd, got, sizeof(got)), wanted.len);
    assert_memory_equal(got, wanted.data, wanted.len);
    assert_int_equal(read_what_is_there(fd, got, sizeof(got)), 0);
}

static void assert_joined(int ours, int theirs)
{
    char byte = 0;

    assert_int_equal(write(theirs, "x", 1), 1);
    assert_int_equal(read(ours, &byte, 1), 1);
    assert_int_equal(byte, 'x');
}

static void a_spare_is_handed_out_with_the_handshake_in_it(void **state)
{
    static const struct fake_step steps[] = {STOCK,
                                             RECOVER("fd:firn-recover-0"),
                                             {FAKE_ANSWER, "{}"},
                                             {FAKE_HOLD, NULL}};
    struct fixture *f = *state;

    open_monitor(f, steps, ARRAY_LEN(steps));
    stock(f);
    assert_ok(connect_qemu(f), &f->err);
    close_monitor(f);
    assert_handshake(f, f->monitor.kept_fds[0]);
    assert_joined(f->connection.main, f->monitor.kept_fds[0]);
    assert_int_equal(f->connection.urgent, -1);
    assert_int_equal(spares_left(&f->recovery.spares), SPARES_N - 1);
}

static void a_refusal_keeps_the_spare_and_its_handshake(void **state)
{
    static const struct fake_step steps[] = {
        STOCK,
        RECOVER("fd:firn-recover-0"),
        {FAKE_REFUSE, "Migrate recover can only be run when postcopy is "
                      "paused."},
        {FAKE_EXPECT, "\"uri\":\"fd:firn-recover-0\""},
        {FAKE_ANSWER, "{}"},
        {FAKE_HOLD, NULL}};
    struct fixture *f = *state;

    open_monitor(f, steps, ARRAY_LEN(steps));
    stock(f);
    assert_int_equal(connect_qemu(f), ERR_UNSUPPORTED);
    assert_int_equal(f->connection.main, -1);
    assert_int_equal(spares_left(&f->recovery.spares), SPARES_N);
    assert_ok(connect_qemu(f), &f->err);
    close_monitor(f);
    assert_handshake(f, f->monitor.kept_fds[0]);
}

static void a_spare_that_qemu_has_lost_is_dropped(void **state)
{
    static const struct fake_step steps[] = {
        STOCK,
        RECOVER("fd:firn-recover-0"),
        {FAKE_REFUSE,
         "File descriptor named 'firn-recover-0' has not been found"},
        {FAKE_EXPECT, "\"uri\":\"fd:firn-recover-1\""},
        {FAKE_ANSWER, "{}"},
        {FAKE_HOLD, NULL}};
    struct fixture *f = *state;

    open_monitor(f, steps, ARRAY_LEN(steps));
    stock(f);
    assert_int_equal(connect_qemu(f), ERR_UNSUPPORTED);
    assert_int_equal(spares_left(&f->recovery.spares), SPARES_N - 1);
    assert_ok(connect_qemu(f), &f->err);
    close_monitor(f);
    assert_handshake(f, f->monitor.kept_fds[1]);
    assert_int_equal(spares_left(&f->recovery.spares), SPARES_N - 2);
}

static void a_spare_whose_fate_is_not_known_is_dropped_whole(void **state)
{
    static const struct fake_step steps[] = {STOCK,
                                             RECOVER("fd:firn-recover-0")};
    struct fixture *f = *state;

    open_monitor(f, steps, ARRAY_LEN(steps));
    stock(f);
    assert_int_equal(connect_qemu(f), ERR_PEER);
    close_monitor(f);
    assert_int_equal(spares_left(&f->recovery.spares), SPARES_N - 1);
    assert_int_equal(f->connection.main, -1);
    /* QEMU may take it all the same: it finds all of it, and its end. */
    assert_handshake(f, f->monitor.kept_fds[0]);
}

static void without_spares_a_socket_in_the_folder_does(void **state)
{
    struct fixture *f = *state;
    const struct fake_step steps[] = {FAKE_OPENING,
                                      {FAKE_EXPECT,
                                       "\"exec-oob\":\"migrate-recover\""},
                                      {FAKE_LISTEN, f->path},
                                      {FAKE_ANSWER, "{}"},
                                      {FAKE_HOLD, NULL}};
    int fd;

    open_monitor(f, steps, ARRAY_LEN(steps));
    assert_ok(connect_qemu(f), &f->err);
    close_monitor(f);
    fd = accept(f->monitor.kept_fds[0], NULL, NULL);
    assert_handshake(f, fd);
    assert_joined(f->connection.main, fd);
    assert_int_equal(f->connection.urgent, -1);
    assert_int_equal(access(f->path, F_OK), -1);
    close(fd);
}

#define ASKED                                      \
    {FAKE_EXPECT, "{\"exec-oob\":\"query-yank\""}, \
    {                                              \
        FAKE_ANSWER, "[]"                          \
    }

static void of_two_sockets_the_first_has_the_handshake(void **state)
{
    struct fixture *f = *state;
    const struct fake_step steps[] = {FAKE_OPENING,
                                      {FAKE_EXPECT,
                                       "\"exec-oob\":\"migrate-recover\""},
                                      {FAKE_LISTEN, f->path},
                                      {FAKE_ANSWER, "{}"},
                                      ASKED,
                                      ASKED,
                                      ASKED,
                                      {FAKE_HOLD, NULL}};
    uint8_t byte;
    int first, second;

    f->recovery.preempt = true;
    open_monitor(f, steps, ARRAY_LEN(steps));
    assert_ok(recovery_restock(&f->recovery, &f->err), &f->err);
    assert_int_equal(spares_left(&f->recovery.spares), 0);
    assert_ok(connect_qemu(f), &f->err);
    close_monitor(f);
    first = accept(f->monitor.kept_fds[0], NULL, NULL);
    second = accept(f->monitor.kept_fds[0], NULL, NULL);
    assert_handshake(f, first);
    assert_int_equal(read_what_is_there(second, &byte, 1), 0);
    assert_joined(f->connection.main, first);
    assert_joined(f->connection.urgent, second);
    close(first);
    close(second);
}

static void nothing_is_said_before_the_second_is_accepted(void **state)
{
    struct fixture *f = *state;
    const struct fake_step steps[] = {
        FAKE_OPENING,
        {FAKE_EXPECT, "\"exec-oob\":\"migrate-recover\""},
        {FAKE_LISTEN, f->path},
        {FAKE_ANSWER, "{}"},
        ASKED,
        ASKED,
        {FAKE_EXPECT, "{\"exec-oob\":\"query-yank\""},
        {FAKE_REFUSE, "no"},
        {FAKE_HOLD, NULL}};
    uint8_t byte;

    f->recovery.preempt = true;
    open_monitor(f, steps, ARRAY_LEN(steps));
    assert_int_equal(connect_qemu(f), ERR_UNSUPPORTED);
    close_monitor(f);
    for (unsigned i = 0; i < 2; i++) {
        int fd = accept(f->monitor.kept_fds[0], NULL, NULL);

        assert_int_equal(recv(fd, &byte, 1, 0), 0);
        close(fd);
    }
    assert_int_equal(f->connection.main, -1);
    assert_int_equal(access(f->path, F_OK), -1);
}

static void a_main_loop_that_waits_is_asked_for_nothing_more(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING,
        DEPOSIT("0"),
        {FAKE_KEEP_FD, "firn-recover-1"},
        {FAKE_EXPECT, "{\"exec-oob\":\"migrate-pause\""},
        {FAKE_ANSWER, "{}"},
        {FAKE_HOLD, NULL}};
    struct fixture *f = *state;

    open_monitor(f, steps, ARRAY_LEN(steps));
    assert_int_equal(recovery_restock(&f->recovery, &f->err), ERR_PEER);
    assert_int_equal(recovery_restock(&f->recovery, &f->err), ERR_PEER);
    assert_non_null(strstr(f->err.message, "main loop"));
    assert_int_equal(spares_left(&f->recovery.spares), 1);
    /* The next command is this one: nothing was sent between. */
    assert_ok(recovery_pause(&f->recovery, &f->err), &f->err);
    close_monitor(f);
}

#define RECOVERY_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RECOVERY_TEST(a_spare_is_handed_out_with_the_handshake_in_it),
        RECOVERY_TEST(a_refusal_keeps_the_spare_and_its_handshake),
        RECOVERY_TEST(a_spare_that_qemu_has_lost_is_dropped),
        RECOVERY_TEST(a_spare_whose_fate_is_not_known_is_dropped_whole),
        RECOVERY_TEST(without_spares_a_socket_in_the_folder_does),
        RECOVERY_TEST(of_two_sockets_the_first_has_the_handshake),
        RECOVERY_TEST(nothing_is_said_before_the_second_is_accepted),
        RECOVERY_TEST(a_main_loop_that_waits_is_asked_for_nothing_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

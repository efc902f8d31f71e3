#include "tests/fakes/assert_error.h"

#include <sys/socket.h>

#include "core/base/channel.h"
#include "core/base/clock.h"
#include "core/wire/return_path.h"
#include "snapshot/stream_receiver.h"
#include "tests/core/wire/stream_maker.h"
#include "tests/fakes/fake_store.h"
#include "tests/fakes/temp_folder.h"

#define IN_A_WHILE (clock_monotonic_ns() + 20 * NS_PER_SEC)

struct fixture {
    struct temp_folder folder;
    char path[160];
    int listen_fd;
    int spool_fd;
    int qemu_fd; /* the test plays QEMU */
    int peek_fd; /* the same, for the receiver's thread, where that is asked */
    struct stopper work;
    struct stopper calm;
    struct snapshot_writer *store;
    struct page_writer *pages;
    struct stream_receiver *receiver;
    struct worker_group group;
    struct buf stream;
    struct throttle throttle;
    struct fault_order faults;
    bool takes_faults;
    unsigned n_proved;
    bool shut_before_proved;
    struct error err;
};

static void cancel(void *arg)
{
    struct fixture *f = arg;

    stopper_pull(&f->work, ERR_CANCELLED);
    page_writer_cancel(f->pages);
}

static int setup(void **state)
{
    struct snapshot_writer_args args = {.vm = "vm", .lanes = 2};
    struct fixture *f = calloc(1, sizeof(*f));

    fake_store_reset();
    temp_folder_init(&f->folder);
    snprintf(f->path, sizeof(f->path), "%s/s", f->folder.path);
    f->listen_fd = -1;
    f->spool_fd = -1;
    f->qemu_fd = -1;
    f->peek_fd = -1;
    assert_ok(stopper_init(&f->work, &f->err), &f->err);
    assert_ok(stopper_init(&f->calm, &f->err), &f->err);
    assert_ok(snapshot_writer_new(&args, &f->store, &f->err), &f->err);
    assert_ok(page_writer_new(f->store, 2, &f->pages, &f->err), &f->err);
    worker_group_init(&f->group, cancel, f);
    *state = f;
    return 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    cancel(f);
    worker_group_release(&f->group);
    stream_receiver_free(f->receiver);
    fault_order_release(&f->faults);
    page_writer_free(f->pages);
    snapshot_writer_free(f->store);
    assert_string_equal(fake_store.broken, "");
    fake_store_reset();
    stopper_release(&f->work);
    stopper_release(&f->calm);
    close_fd(&f->listen_fd);
    close_fd(&f->spool_fd);
    close_fd(&f->qemu_fd);
    buf_release(&f->stream);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

/* What our side has said so far is the PONG alone. */
static int on_proved(void *arg, struct error *err)
{
    struct fixture *f = arg;
    uint8_t bytes[64];

    f->n_proved++;
    if (f->peek_fd >= 0)
        f->shut_before_proved =
            recv(f->peek_fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT) > 8;
    return 0;
}

static void start(struct fixture *f, uint64_t accept_deadline_ns)
{
    struct stream_receiver_args args = {
        .pages = f->pages,
        .store = f->store,
        .stop = &f->work,
        .throttle = &f->throttle,
        .faults = f->takes_faults ? &f->faults : NULL,
        .listen_fd = f->listen_fd,
        .spool_fd = f->spool_fd,
        .accept_deadline_ns = accept_deadline_ns,
        .proved = on_proved,
        .arg = f,
    };

    assert_ok(stream_receiver_new(&args, &f->receiver, &f->err), &f->err);
    assert_ok(page_writer_start(f->pages, &f->group, &f->err), &f->err);
    assert_ok(worker_start(&f->group, "receiver", stream_receiver_main,
                           f->receiver, &f->err),
              &f->err);
}

static void listen_for_qemu(struct fixture *f)
{
    assert_ok(channel_listen(f->path, 4, &f->listen_fd, &f->err), &f->err);
}

static void connect_qemu(struct fixture *f)
{
    listen_for_qemu(f);
    assert_ok(channel_connect(f->path, &f->qemu_fd, &f->err), &f->err);
    start(f, IN_A_WHILE);
}

static void connect_and_peek(struct fixture *f)
{
    listen_for_qemu(f);
    assert_ok(channel_connect(f->path, &f->qemu_fd, &f->err), &f->err);
    f->peek_fd = f->qemu_fd;
    start(f, IN_A_WHILE);
}

/* Sends all but what the receiver no longer wants. */
static void send_bytes(struct fixture *f, const void *data, size_t len,
                       size_t piece)
{
    struct error ignored = ERROR_INIT;

    for (size_t i = 0; i < len; i += piece) {
        if (channel_write(f->qemu_fd, (const uint8_t *)data + i,
                          MIN(piece, len - i), &f->calm, IN_A_WHILE,
                          &ignored) < 0)
            return;
    }
}

static void send_stream(struct fixture *f, size_t piece)
{
    send_bytes(f, f->stream.data, f->stream.len, piece);
}

static void hear(struct fixture *f, uint16_t type, uint32_t value)
{
    uint8_t heard[8];
    size_t got = 0;

    while (got < sizeof(heard)) {
        size_t n = 0;

        assert_ok(channel_read(f->qemu_fd, heard + got, sizeof(heard) - got,
                               &f->calm, IN_A_WHILE, &n, &f->err),
                  &f->err);
        assert_int_not_equal(n, 0);
        got += n;
    }
    assert_int_equal(load_be16(heard), type);
    assert_int_equal(load_be16(heard + 2), 4);
    assert_int_equal(load_be32(heard + 4), value);
}

#define HEAR_PONG(f) hear((f), 2, 1)
#define HEAR_SHUT(f) hear((f), 1, 1)

/* The store holds what a plain reading of the stream gives. */
static void assert_stored(const struct buf *stream)
{
    struct listener l = {0};
    struct stream_decoder *d = NULL;
    struct ramblock_list blocks = made_blocks();
    struct error err = ERROR_INIT;

    must(stream_decoder_new(&listener_ops, &l, &d, &err), &err);
    must(stream_decoder_feed(d, stream->data, stream->len, &err), &err);
    for (uint32_t b = 0; b < blocks.n; b++) {
        for (pgno_t p = 0; p < ramblock_pages(&blocks.blocks[b]); p++) {
            assert_non_null(fake_store_page(b, p));
            assert_memory_equal(fake_store_page(b, p),
                                l.content[b] + p * PAGE_BYTES, PAGE_BYTES);
        }
    }
    stream_decoder_free(d);
    listener_release(&l);
    ramblock_list_release(&blocks);
}

static void join(struct fixture *f)
{
    assert_ok(worker_group_join(&f->group, &f->err), &f->err);
}

static void a_stream_is_stored_and_ended_by_our_word(void **state)
{
    struct fixture *f = *state;

    made_stream(&f->stream, (struct made_stream_args){.return_path = true});
    connect_and_peek(f);
    send_stream(f, f->stream.len);
    HEAR_PONG(f);
    HEAR_SHUT(f);
    assert_true(stream_receiver_proved(f->receiver));
    close_fd(&f->qemu_fd);
    join(f);

    assert_stored(&f->stream);
    assert_int_equal(f->n_proved, 1);
    assert_false(f->shut_before_proved);
    assert_int_equal(stream_receiver_bytes(f->receiver), f->stream.len);
    assert_int_equal(stream_receiver_ram_bytes(f->receiver), 45 * PAGE_BYTES);
    assert_string_equal(stream_decoder_device_state(
                            stream_receiver_decoder(f->receiver))
                            ->run_state,
                        "running");
}

static void the_connection_stays_until_qemu_closes_it(void **state)
{
    struct fixture *f = *state;
    char byte;

    made_stream(&f->stream, (struct made_stream_args){.return_path = true});
    connect_qemu(f);
    send_stream(f, f->stream.len);
    HEAR_PONG(f);
    HEAR_SHUT(f);

    assert_int_equal(recv(f->qemu_fd, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
    assert_false(stream_receiver_ended(f->receiver));
    close_fd(&f->qemu_fd);
    join(f);
    assert_true(stream_receiver_ended(f->receiver));
}

static void a_stream_in_small_pieces_is_the_same(void **state)
{
    struct fixture *f = *state;

    made_stream(&f->stream, (struct made_stream_args){.return_path = true,
                                                      .switchover = true,
                                                      .flush = true});
    connect_qemu(f);
    send_stream(f, 13);
    HEAR_PONG(f);
    HEAR_SHUT(f);
    close_fd(&f->qemu_fd);
    join(f);

    assert_stored(&f->stream);
}

static void without_a_return_path_the_end_is_qemus_close(void **state)
{
    struct fixture *f = *state;

    made_stream(&f->stream, (struct made_stream_args){0});
    connect_qemu(f);
    send_stream(f, f->stream.len);
    /* The end of file is all that is seen of a close. */
    assert_int_equal(shutdown(f->qemu_fd, SHUT_WR), 0);
    join(f);

    assert_stored(&f->stream);
    assert_true(stream_receiver_proved(f->receiver));
}

static void cut_at(void **state, size_t len)
{
    struct fixture *f;
    void *own = NULL;
    int rc;

    setup(&own);
    f = own;
    made_stream(&f->stream, (struct made_stream_args){.return_path = true});
    connect_qemu(f);
    send_bytes(f, f->stream.data, MIN(len, f->stream.len - 1), 4096);
    close_fd(&f->qemu_fd);

    /* ERR_PEER: our PONG came too late for it. */
    rc = worker_group_join(&f->group, &f->err);
    assert_true(rc == ERR_PROTOCOL || rc == ERR_PEER);
    assert_true(stream_receiver_cut(f->receiver));
    assert_false(stream_receiver_proved(f->receiver));
    assert_int_equal(f->n_proved, 0);
    teardown(&own);
}

static void a_stream_that_breaks_off_proves_nothing(void **state)
{
    for (size_t len = 0; len < 180000; len += 1999)
        cut_at(state, len);
}

static void the_last_byte_is_needed(void **state)
{
    cut_at(state, SIZE_MAX);
}

static void garbage_is_no_stream(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: firn\r\n\r\n";
    struct fixture *f = *state;

    connect_qemu(f);
    send_bytes(f, text, strlen(text), sizeof(text));

    assert_int_equal(worker_group_join(&f->group, &f->err), ERR_PROTOCOL);
    assert_false(stream_receiver_cut(f->receiver));
}

static void a_failed_receiver_closes_at_once(void **state)
{
    struct fixture *f = *state;
    uint8_t byte;
    size_t n = 1;

    connect_qemu(f);
    send_bytes(f, "no stream at all", 16, 16);
    while (n > 0)
        assert_ok(channel_read(f->qemu_fd, &byte, 1, &f->calm, IN_A_WHILE, &n,
                               &f->err),
                  &f->err);

    assert_int_equal(worker_group_join(&f->group, &f->err), ERR_PROTOCOL);
}

static void a_qemu_that_never_connects_is_told(void **state)
{
    struct fixture *f = *state;

    listen_for_qemu(f);
    start(f, clock_monotonic_ns() + NS_PER_MS);

    assert_error(worker_group_join(&f->group, &f->err), &f->err, ERR_PEER,
                 "did not connect");
}

static void a_stop_ends_the_wait_for_a_connection(void **state)
{
    struct fixture *f = *state;

    listen_for_qemu(f);
    start(f, IN_A_WHILE);
    cancel(f);

    assert_int_equal(worker_group_join(&f->group, &f->err), ERR_CANCELLED);
}

static void a_stop_ends_the_wait_for_bytes(void **state)
{
    struct fixture *f = *state;

    made_stream(&f->stream, (struct made_stream_args){.return_path = true});
    connect_qemu(f);
    send_bytes(f, f->stream.data, f->stream.len / 2, 4096);
    HEAR_PONG(f);
    cancel(f);

    assert_int_equal(worker_group_join(&f->group, &f->err), ERR_CANCELLED);
    assert_false(stream_receiver_cut(f->receiver));
}

static void a_full_disk_ends_the_stream_with_its_error(void **state)
{
    struct fixture *f = *state;

    fake_store.fail_put_at = 1;
    fake_store.fail_put_code = ERR_NOSPC;
    made_stream(&f->stream, (struct made_stream_args){.return_path = true});
    connect_qemu(f);
    send_bytes(f, f->stream.data, f->stream.len - 1, 4096);

    assert_int_equal(worker_group_join(&f->group, &f->err), ERR_NOSPC);
}

static void a_ping_without_return_path_is_refused(void **state)
{
    struct fixture *f = *state;
    struct error err;

    must(stream_put_header(&f->stream, &err), &err);
    must(buf_append(&f->stream, "\x07\x00\x00\x00\x02pc", 7, &err), &err);
    must(stream_put_ping(&f->stream, 1, &err), &err);
    connect_qemu(f);
    send_stream(f, f->stream.len);

    assert_error(worker_group_join(&f->group, &f->err), &f->err, ERR_PROTOCOL,
                 "without a return path");
}

/* A spool: the file grows while it is read. */

static void open_spool_file(struct fixture *f)
{
    f->spool_fd =
        openat(f->folder.fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(f->spool_fd >= 0);
}

static void grow(struct fixture *f, size_t from, size_t to)
{
    assert_int_equal(pwrite(f->spool_fd, f->stream.data + from, to - from,
                            (off_t)from),
                     to - from);
}

static void await_bytes(struct fixture *f, size_t n)
{
    while (stream_receiver_bytes(f->receiver) < n)
        sched_yield();
}

static void a_spool_is_read_while_it_grows(void **state)
{
    struct fixture *f = *state;
    size_t half;

    made_stream(&f->stream, (struct made_stream_args){.background = true});
    half = f->stream.len / 2;
    open_spool_file(f);
    start(f, 0);
    grow(f, 0, half);
    await_bytes(f, half);
    assert_false(stream_receiver_ended(f->receiver));
    grow(f, half, f->stream.len);
    stream_receiver_spool_done(f->receiver);
    join(f);

    assert_stored(&f->stream);
    assert_true(stream_receiver_proved(f->receiver));
}

/* It would be read at a byte a second for hours. */
static void the_last_section_of_ram_ends_the_limit(void **state)
{
    struct fixture *f = *state;

    throttle_init(&f->throttle, 1);
    made_stream(&f->stream, (struct made_stream_args){.return_path = false});
    open_spool_file(f);
    grow(f, 0, f->stream.len);
    start(f, 0);
    stream_receiver_spool_done(f->receiver);
    assert_ok(worker_group_join(&f->group, &f->err), &f->err);
    assert_true(f->throttle.open);
    assert_int_equal(f->n_proved, 1);
}

static void a_limit_waits_and_is_ended_by_a_stop(void **state)
{
    struct fixture *f = *state;

    throttle_init(&f->throttle, 1);
    made_stream(&f->stream, (struct made_stream_args){.background = true});
    open_spool_file(f);
    grow(f, 0, f->stream.len);
    start(f, 0);
    stream_receiver_spool_done(f->receiver);
    while (stream_receiver_bytes(f->receiver) == 0)
        sched_yield();
    stopper_pull(&f->work, ERR_INTERRUPTED);
    assert_int_equal(worker_group_join(&f->group, &f->err), ERR_INTERRUPTED);
    assert_int_equal(f->n_proved, 0);
}

static void who_wrote_first_is_read_off_a_save(void **state)
{
    struct fixture *f = *state;

    f->takes_faults = true;
    made_stream(&f->stream, (struct made_stream_args){0});
    open_spool_file(f);
    grow(f, 0, f->stream.len);
    start(f, 0);
    stream_receiver_spool_done(f->receiver);
    assert_ok(worker_group_join(&f->group, &f->err), &f->err);
    /* Here every third page comes a second time, out of the scan's turn. */
    assert_true(f->faults.n > 0);
    assert_int_equal(f->faults.list[0].block, 0);
}

static void a_spool_that_is_whole_is_not_over_until_qemu_says_so(void **state)
{
    struct fixture *f = *state;

    made_stream(&f->stream, (struct made_stream_args){.background = true});
    open_spool_file(f);
    start(f, 0);
    grow(f, 0, f->stream.len);
    await_bytes(f, f->stream.len);

    assert_false(stream_receiver_proved(f->receiver));
    stream_receiver_spool_done(f->receiver);
    join(f);
    assert_true(stream_receiver_proved(f->receiver));
}

static void a_spool_that_ends_too_early_proves_nothing(void **state)
{
    struct fixture *f = *state;

    made_stream(&f->stream, (struct made_stream_args){.background = true});
    open_spool_file(f);
    grow(f, 0, f->stream.len - 1);
    start(f, 0);
    stream_receiver_spool_done(f->receiver);

    assert_int_equal(worker_group_join(&f->group, &f->err), ERR_PROTOCOL);
    assert_false(stream_receiver_proved(f->receiver));
}

static void a_stop_ends_the_wait_for_a_spool(void **state)
{
    struct fixture *f = *state;

    open_spool_file(f);
    start(f, 0);
    cancel(f);

    assert_int_equal(worker_group_join(&f->group, &f->err), ERR_CANCELLED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_stream_is_stored_and_ended_by_our_word),
        TEST(the_connection_stays_until_qemu_closes_it),
        TEST(a_stream_in_small_pieces_is_the_same),
        TEST(without_a_return_path_the_end_is_qemus_close),
        cmocka_unit_test(a_stream_that_breaks_off_proves_nothing),
        cmocka_unit_test(the_last_byte_is_needed),
        TEST(garbage_is_no_stream),
        TEST(a_failed_receiver_closes_at_once),
        TEST(a_qemu_that_never_connects_is_told),
        TEST(a_stop_ends_the_wait_for_a_connection),
        TEST(a_stop_ends_the_wait_for_bytes),
        TEST(a_full_disk_ends_the_stream_with_its_error),
        TEST(a_ping_without_return_path_is_refused),
        TEST(a_spool_is_read_while_it_grows),
        TEST(the_last_section_of_ram_ends_the_limit),
        TEST(a_limit_waits_and_is_ended_by_a_stop),
        TEST(who_wrote_first_is_read_off_a_save),
        TEST(a_spool_that_is_whole_is_not_over_until_qemu_says_so),
        TEST(a_spool_that_ends_too_early_proves_nothing),
        TEST(a_stop_ends_the_wait_for_a_spool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

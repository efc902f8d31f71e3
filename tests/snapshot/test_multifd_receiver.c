/*
 * A stream receiver with channels, and the test as QEMU. In what order the
 * connections are read is in the test's hand: it writes one to its end before
 * it begins the next.
 */
#include "tests/fakes/assert_error.h"

#include <sys/socket.h>

#include "core/base/channel.h"
#include "core/base/clock.h"
#include "snapshot/stream_receiver.h"
#include "tests/core/wire/multifd_maker.h"
#include "tests/core/wire/stream_maker.h"
#include "tests/fakes/fake_store.h"
#include "tests/fakes/temp_folder.h"

#define IN_A_WHILE (clock_monotonic_ns() + 20 * NS_PER_SEC)
#define MAIN       (-1)

struct fixture {
    struct temp_folder folder;
    char path[160];
    int listen_fd;
    int qemu_main;
    int qemu[MULTIFD_CHANNELS_MAX];
    struct made_multifd_args made;
    struct made_multifd stream;
    enum multifd_method asked; /* what the receiver expects */
    struct stopper work;
    struct stopper calm;
    struct snapshot_writer *store;
    struct page_writer *pages;
    struct stream_receiver *receiver;
    struct multifd_receiver *multifd;
    struct worker_group group;
    struct error err;
};

static void cancel(void *arg)
{
    struct fixture *f = arg;

    stopper_pull(&f->work, ERR_CANCELLED);
    page_writer_cancel(f->pages);
    if (f->multifd)
        multifd_receiver_cancel(f->multifd);
}

static int setup(void **state)
{
    struct snapshot_writer_args args = {.vm = "vm", .lanes = 2};
    struct fixture *f = calloc(1, sizeof(*f));

    fake_store_reset();
    temp_folder_init(&f->folder);
    snprintf(f->path, sizeof(f->path), "%s/s", f->folder.path);
    f->qemu_main = -1;
    for (unsigned i = 0; i < MULTIFD_CHANNELS_MAX; i++)
        f->qemu[i] = -1;
    f->made.n_channels = 4;
    assert_ok(stopper_init(&f->work, &f->err), &f->err);
    assert_ok(stopper_init(&f->calm, &f->err), &f->err);
    assert_ok(snapshot_writer_new(&args, &f->store, &f->err), &f->err);
    assert_ok(page_writer_new(f->store, 2, &f->pages, &f->err), &f->err);
    assert_ok(channel_listen(f->path, 32, &f->listen_fd, &f->err), &f->err);
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
    multifd_receiver_free(f->multifd);
    page_writer_free(f->pages);
    snapshot_writer_free(f->store);
    assert_string_equal(fake_store.broken, "");
    fake_store_reset();
    stopper_release(&f->work);
    stopper_release(&f->calm);
    close_fd(&f->listen_fd);
    close_fd(&f->qemu_main);
    for (unsigned i = 0; i < MULTIFD_CHANNELS_MAX; i++)
        close_fd(&f->qemu[i]);
    made_multifd_release(&f->stream);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

/* QEMU's side connects, the receiver starts. */
static void begin(struct fixture *f)
{
    struct multifd_receiver_args multifd = {
        .pages = f->pages,
        .store = f->store,
        .stop = &f->work,
        .n_channels = f->made.n_channels,
        .method = f->asked ? f->asked : f->made.method,
    };
    struct stream_receiver_args args = {
        .pages = f->pages,
        .store = f->store,
        .stop = &f->work,
        .listen_fd = f->listen_fd,
        .spool_fd = -1,
        .n_channels = f->made.n_channels,
        .accept_deadline_ns = IN_A_WHILE,
    };

    made_multifd(&f->stream, &f->made);
    assert_ok(channel_connect(f->path, &f->qemu_main, &f->err), &f->err);
    for (unsigned i = 0; i < f->made.n_channels; i++)
        assert_ok(channel_connect(f->path, &f->qemu[i], &f->err), &f->err);
    assert_ok(multifd_receiver_new(&multifd, &f->multifd, &f->err), &f->err);
    args.multifd = f->multifd;
    assert_ok(stream_receiver_new(&args, &f->receiver, &f->err), &f->err);
    assert_ok(page_writer_start(f->pages, &f->group, &f->err), &f->err);
    assert_ok(multifd_receiver_start(f->multifd, &f->group, &f->err), &f->err);
    assert_ok(worker_start(&f->group, "receiver", stream_receiver_main,
                           f->receiver, &f->err),
              &f->err);
}

/* Part of a connection's bytes; no error when they are no longer wanted. */
static void send_part(struct fixture *f, int which, size_t from, size_t to)
{
    const struct buf *b =
        which == MAIN ? &f->stream.main : &f->stream.channels[which];
    struct error ignored = ERROR_INIT;

    if (channel_write(which == MAIN ? f->qemu_main : f->qemu[which],
                      b->data + from, MIN(to, b->len) - from, &f->calm,
                      IN_A_WHILE, &ignored) < 0)
        assert_int_equal(ignored.code, ERR_PEER);
}

/* Hellos and the beginning of the main stream: else nobody is known. */
static void send_hellos(struct fixture *f)
{
    send_part(f, MAIN, 0, 8);
    for (unsigned i = 0; i < f->made.n_channels; i++)
        send_part(f, (int)i, 0, QEMU_MULTIFD_HELLO_BYTES);
}

static void send_rest(struct fixture *f, int which)
{
    send_part(f, which, which == MAIN ? 8 : QEMU_MULTIFD_HELLO_BYTES, SIZE_MAX);
}

/* Our word at the end, behind the PONG. */
static void hear_shut(struct fixture *f)
{
    uint8_t heard[16];
    size_t got = 0;

    while (got < sizeof(heard)) {
        size_t n = 0;

        assert_ok(channel_read(f->qemu_main, heard + got, sizeof(heard) - got,
                               &f->calm, IN_A_WHILE, &n, &f->err),
                  &f->err);
        assert_int_not_equal(n, 0);
        got += n;
    }
    assert_int_equal(load_be16(heard + 8), 1);
    assert_true(stream_receiver_proved(f->receiver));
}

static void close_qemu(struct fixture *f)
{
    close_fd(&f->qemu_main);
    for (unsigned i = 0; i < MULTIFD_CHANNELS_MAX; i++)
        close_fd(&f->qemu[i]);
}

static void assert_stored(void)
{
    struct listener l = {0};
    struct stream_decoder *d = NULL;
    struct ramblock_list blocks = made_blocks();
    cleanup_buf struct buf plain = BUF_INIT;
    struct error err = ERROR_INIT;

    made_stream(&plain, (struct made_stream_args){.return_path = true});
    must(stream_decoder_new(&listener_ops, &l, &d, &err), &err);
    must(stream_decoder_feed(d, plain.data, plain.len, &err), &err);
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

static void end_well(struct fixture *f)
{
    uint64_t bytes = f->stream.main.len;

    hear_shut(f);
    close_qemu(f);
    assert_ok(worker_group_join(&f->group, &f->err), &f->err);
    assert_stored();
    for (unsigned i = 0; i < f->made.n_channels; i++)
        bytes += f->stream.channels[i].len;
    assert_int_equal(stream_receiver_bytes(f->receiver), bytes);
    assert_true(fake_store.spent_ns[CPU_RECEIVE] > 0);
}

#define FAILS(f, code, text)                                                   \
    assert_error(worker_group_join(&(f)->group, &(f)->err), &(f)->err, (code), \
                 (text))

/* Orders. The newer content of a page is in another channel than the older
 * one, or in another kind of connection. */

static void main_first(struct fixture *f)
{
    begin(f);
    send_hellos(f);
    send_rest(f, MAIN);
    for (unsigned i = 0; i < f->made.n_channels; i++)
        send_rest(f, (int)i);
    end_well(f);
}

static void channels_first_and_backwards(struct fixture *f)
{
    begin(f);
    send_hellos(f);
    /* Up to here the block list is not read: all waits for it. */
    for (unsigned i = f->made.n_channels; i-- > 0;)
        send_rest(f, (int)i);
    send_rest(f, MAIN);
    end_well(f);
}

static void in_small_pieces(struct fixture *f)
{
    bool any = true;

    begin(f);
    for (size_t at = 0; any; at += 1000) {
        any = at < f->stream.main.len;
        if (any)
            send_part(f, MAIN, at, at + 1000);
        for (unsigned i = 0; i < f->made.n_channels; i++) {
            if (at < f->stream.channels[i].len) {
                send_part(f, (int)i, at, at + 1000);
                any = true;
            }
        }
    }
    end_well(f);
}

static void in_every_order(void (*order)(struct fixture *f))
{
    for (unsigned i = 0; i < 6; i++) {
        void *state = NULL;
        struct fixture *f;

        setup(&state);
        f = state;
        f->made.old = i >= 3;
        f->made.method = (enum multifd_method)(i % 3);
        order(f);
        teardown(&state);
    }
}

static void the_newest_counts_when_the_main_stream_is_read_first(void **state)
{
    in_every_order(main_first);
}

static void the_newest_counts_when_channels_are_read_first(void **state)
{
    in_every_order(channels_first_and_backwards);
}

static void the_newest_counts_when_all_comes_in_pieces(void **state)
{
    in_every_order(in_small_pieces);
}

static void one_channel_is_enough(void **state)
{
    struct fixture *f = *state;

    f->made.n_channels = 1;
    main_first(f);
}

static void sixteen_channels_are_not_too_many(void **state)
{
    struct fixture *f = *state;

    f->made.n_channels = 16;
    in_small_pieces(f);
}

static void a_channel_that_qemu_leaves_open_is_let_go(void **state)
{
    struct fixture *f = *state;

    begin(f);
    send_hellos(f);
    send_rest(f, MAIN);
    for (unsigned i = 0; i < f->made.n_channels; i++)
        send_rest(f, (int)i);
    hear_shut(f);
    close_fd(&f->qemu_main);
    assert_ok(worker_group_join(&f->group, &f->err), &f->err);
    assert_stored();
}

/* Faults. */

static void a_channel_that_ends_too_early_proves_nothing(void **state)
{
    struct fixture *f = *state;

    f->made.no_end = true;
    begin(f);
    send_hellos(f);
    send_rest(f, MAIN);
    for (unsigned i = 0; i < f->made.n_channels; i++)
        send_rest(f, (int)i);
    close_fd(&f->qemu[2]);
    FAILS(f, ERR_PROTOCOL, "multifd channel 2 ends after 2 of 3 sync points");
    assert_false(stream_receiver_proved(f->receiver));
}

static void a_mark_too_few_proves_nothing(void **state)
{
    struct fixture *f = *state;

    f->made.no_mark = true;
    begin(f);
    send_hellos(f);
    for (unsigned i = 0; i < f->made.n_channels; i++)
        send_rest(f, (int)i);
    send_rest(f, MAIN);
    FAILS(f, ERR_PROTOCOL, "goes on behind the last sync point");
    assert_false(stream_receiver_proved(f->receiver));
}

static void pages_behind_the_last_sync_point_are_refused(void **state)
{
    struct fixture *f = *state;

    f->made.goes_on = true;
    begin(f);
    send_hellos(f);
    for (unsigned i = 0; i < f->made.n_channels; i++)
        send_rest(f, (int)i);
    send_rest(f, MAIN);
    FAILS(f, ERR_PROTOCOL, "goes on behind the last sync point");
}

static void cut_channel(size_t at)
{
    void *state = NULL;
    struct fixture *f;
    int rc;

    setup(&state);
    f = state;
    begin(f);
    send_hellos(f);
    send_rest(f, MAIN);
    for (unsigned i = 0; i < f->made.n_channels; i++) {
        if (i != 1)
            send_rest(f, (int)i);
    }
    send_part(f, 1, QEMU_MULTIFD_HELLO_BYTES,
              MIN(QEMU_MULTIFD_HELLO_BYTES + at,
                  f->stream.channels[1].len - 1));
    close_fd(&f->qemu[1]);
    rc = worker_group_join(&f->group, &f->err);
    assert_int_equal(rc, ERR_PROTOCOL);
    assert_message(&f->err, "channel 1");
    assert_false(stream_receiver_proved(f->receiver));
    teardown(&state);
}

static void a_channel_cut_anywhere_proves_nothing(void **state)
{
    for (size_t at = 0; at < 60000; at += 1999)
        cut_channel(at);
    cut_channel(MULTIFD_HEADER_BYTES);
    cut_channel(SIZE_MAX / 2);
}

static void a_cut_within_a_packet_is_told_with_channel_and_offset(void **state)
{
    struct fixture *f = *state;

    begin(f);
    send_hellos(f);
    send_rest(f, MAIN);
    send_part(f, 3, QEMU_MULTIFD_HELLO_BYTES,
              QEMU_MULTIFD_HELLO_BYTES + MULTIFD_HEADER_BYTES + 100);
    close_fd(&f->qemu[3]);
    FAILS(f, ERR_PROTOCOL,
          "multifd channel 3, packet at offset 1408: the channel ends within");
    assert_true(stream_receiver_cut(f->receiver));
}

static void garbage_in_a_channel_is_told_with_its_offset(void **state)
{
    struct fixture *f = *state;

    begin(f);
    memset(f->stream.channels[0].data + 64 + MULTIFD_HEADER_BYTES, 0x5a, 2000);
    send_hellos(f);
    send_rest(f, MAIN);
    send_rest(f, 0);
    FAILS(f, ERR_PROTOCOL,
          "multifd channel 0, packet at offset 1408: multifd packet begins "
          "with 0x5a5a5a5a");
}

static void another_method_than_asked_for_is_refused(void **state)
{
    struct fixture *f = *state;

    f->made.method = MULTIFD_ZLIB;
    f->asked = MULTIFD_ZSTD;
    begin(f);
    send_hellos(f);
    send_rest(f, MAIN);
    for (unsigned i = 0; i < f->made.n_channels; i++)
        send_rest(f, (int)i);
    FAILS(f, ERR_PROTOCOL, "method 'zlib', 'zstd' was asked for");
}

static void a_damaged_payload_is_told(void **state)
{
    struct fixture *f = *state;

    f->made.method = MULTIFD_ZSTD;
    begin(f);
    /* Behind the first SYNC: a header, then a payload. */
    memset(f->stream.channels[0].data + 64 + 2 * MULTIFD_HEADER_BYTES, 0xff,
           64);
    send_hellos(f);
    send_rest(f, MAIN);
    send_rest(f, 0);
    FAILS(f, ERR_CORRUPT, "multifd channel 0, packet at offset 1408: zstd");
}

static void two_channels_of_one_name_are_refused(void **state)
{
    struct fixture *f = *state;

    f->made.same_id = true;
    begin(f);
    send_hellos(f);
    FAILS(f, ERR_PROTOCOL, "two channels are called 0");
}

static void channels_of_another_vm_are_refused(void **state)
{
    struct fixture *f = *state;

    f->made.other_uuid = true;
    begin(f);
    send_hellos(f);
    FAILS(f, ERR_PROTOCOL, "the channels are of different VMs");
}

static void a_full_disk_ends_all_with_its_error(void **state)
{
    struct fixture *f = *state;

    fake_store.fail_put_at = 3;
    fake_store.fail_put_code = ERR_NOSPC;
    begin(f);
    send_hellos(f);
    for (unsigned i = 0; i < f->made.n_channels; i++)
        send_part(f, (int)i, QEMU_MULTIFD_HELLO_BYTES, SIZE_MAX);
    send_part(f, MAIN, 8, f->stream.main.len - 1);
    FAILS(f, ERR_NOSPC, "the fake store fails");
}

static void a_stop_ends_every_wait(void **state)
{
    struct fixture *f = *state;

    begin(f);
    send_hellos(f);
    send_part(f, 0, QEMU_MULTIFD_HELLO_BYTES, SIZE_MAX);
    cancel(f);
    assert_int_equal(worker_group_join(&f->group, &f->err), ERR_CANCELLED);
    assert_false(stream_receiver_cut(f->receiver));
}

static void a_stop_ends_the_wait_for_connections(void **state)
{
    struct fixture *f = *state;

    begin(f);
    cancel(f);
    assert_int_equal(worker_group_join(&f->group, &f->err), ERR_CANCELLED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_counts_when_the_main_stream_is_read_first),
        cmocka_unit_test(the_newest_counts_when_channels_are_read_first),
        cmocka_unit_test(the_newest_counts_when_all_comes_in_pieces),
        TEST(one_channel_is_enough),
        TEST(sixteen_channels_are_not_too_many),
        TEST(a_channel_that_qemu_leaves_open_is_let_go),
        TEST(a_channel_that_ends_too_early_proves_nothing),
        TEST(a_mark_too_few_proves_nothing),
        TEST(pages_behind_the_last_sync_point_are_refused),
        cmocka_unit_test(a_channel_cut_anywhere_proves_nothing),
        TEST(a_cut_within_a_packet_is_told_with_channel_and_offset),
        TEST(garbage_in_a_channel_is_told_with_its_offset),
        TEST(another_method_than_asked_for_is_refused),
        TEST(a_damaged_payload_is_told),
        TEST(two_channels_of_one_name_are_refused),
        TEST(channels_of_another_vm_are_refused),
        TEST(a_full_disk_ends_all_with_its_error),
        TEST(a_stop_ends_every_wait),
        TEST(a_stop_ends_the_wait_for_connections),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include <pthread.h>
#include <sys/socket.h>

#include "restore/precopy_sender.h"
#include "tests/fakes/fake_destination.h"
#include "tests/fakes/memory_pages.h"

/* The sender runs in a thread of its own; the test plays QEMU. Block "pc.ram"
 * has 40 pages (30 with data), "rom" 6 (4 with data). */
struct fixture {
    struct ramblock_list blocks;
    struct memory_pages memory;
    struct page_source source;
    struct machine_config config;
    struct device_state devices;
    struct precopy_args args;
    int fds[2];
    struct fake_destination d;
    pthread_t thread;
    bool started;

    /* only the sender's thread until it is joined */
    int rc;
    uint64_t pages;
    struct error err;
};

static void add_block(struct fixture *f, const char *idstr, uint64_t pages)
{
    struct ramblock b = {
        .used_bytes = pages * PAGE_BYTES,
        .host_page_bytes = PAGE_BYTES,
    };
    struct error err = ERROR_INIT;

    snprintf(b.idstr, sizeof(b.idstr), "%s", idstr);
    assert_ok(ramblock_list_add(&f->blocks, &b, &err), &err);
}

static int set_up(void **state)
{
    static const char tail[] = "\x04the devices";
    static const char vmdesc[] = "{\"page_size\":4096}";
    struct fixture *f = calloc(1, sizeof(*f));
    struct timeval limit = {.tv_sec = 10};
    struct error err = ERROR_INIT;

    add_block(f, "pc.ram", 40);
    add_block(f, "rom", 6);
    f->memory.blocks = &f->blocks;
    f->source = memory_pages_source(&f->memory);
    snprintf(f->config.machine, sizeof(f->config.machine), "pc-i440fx-10.0");
    assert_ok(buf_append(&f->devices.tail, tail, strlen(tail), &err), &err);
    assert_ok(buf_append(&f->devices.vmdesc, vmdesc, strlen(vmdesc), &err),
              &err);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, f->fds), 0);
    setsockopt(f->fds[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    f->d.fd = f->fds[1];
    f->args = (struct precopy_args){
        .fd = f->fds[0],
        .source = &f->source,
        .blocks = &f->blocks,
        .config = &f->config,
        .devices = &f->devices,
        .ram_section_id = 2,
    };
    *state = f;
    return 0;
}

static void *send_all(void *arg)
{
    struct fixture *f = arg;

    f->rc = precopy_send(&f->args, &f->pages, &f->err);
    shutdown(f->fds[0], SHUT_RDWR);
    return NULL;
}

static void start(struct fixture *f)
{
    assert_int_equal(pthread_create(&f->thread, NULL, send_all, f), 0);
    f->started = true;
}

static int finish(struct fixture *f)
{
    pthread_join(f->thread, NULL);
    f->started = false;
    return f->rc;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    fake_release(&f->d);
    if (f->started)
        finish(f);
    close(f->fds[0]);
    ramblock_list_release(&f->blocks);
    device_state_release(&f->devices);
    free(f);
    return 0;
}

static void assert_reads(struct fixture *f, const void *wanted, size_t len)
{
    char got[256];

    assert_true(len <= sizeof(got));
    assert_int_equal(recv(f->fds[1], got, len, MSG_WAITALL), len);
    assert_memory_equal(got, wanted, len);
}

/* Until the RAM section is over; the device sections are next. */
static void read_pages(struct fixture *f, unsigned n)
{
    fake_read_precopy_prologue(&f->d);
    while (f->d.n_placed < n)
        assert_true(fake_read_page(&f->d));
    assert_reads(f, "\0\0\0\0\0\0\0\x10\x7e\0\0\0\2", 13);
}

static void everything_is_sent_in_order_zero_pages_too(void **state)
{
    struct fixture *f = *state;

    start(f);
    read_pages(f, 46);
    assert_reads(f, "\x04the devices", 12);
    assert_reads(f, "\0\x06\0\0\0\x12{\"page_size\":4096}", 24);

    assert_int_equal(fake_count(&f->d, "pc.ram"), 40);
    assert_true(fake_find(&f->d, "rom", 0)->zero);
    assert_false(fake_find(&f->d, "rom", 1)->zero);
    assert_string_equal(buf_str(&f->d.blocks),
                        "pc.ram 163840 4096\nrom 24576 4096\n");
    fake_release(&f->d);
    assert_int_equal(finish(f), 0);
    assert_int_equal(f->pages, 34);
}

static void zero_pages_of_a_fresh_block_are_left_out(void **state)
{
    struct fixture *f = *state;

    f->args.zeroed_block = "pc.ram";
    start(f);
    read_pages(f, 36);

    assert_int_equal(fake_count(&f->d, "pc.ram"), 30);
    assert_int_equal(fake_count(&f->d, "rom"), 6);
    assert_null(fake_find(&f->d, "pc.ram", 36));
}

static void nothing_follows_a_damaged_page(void **state)
{
    struct fixture *f = *state;

    f->memory.damaged[0].pgno = 33;
    f->memory.n_damaged = 1;
    start(f);
    fake_read_precopy_prologue(&f->d);
    while (fake_read_page(&f->d))
        if (f->d.n_placed == 32)
            break;

    fake_await_close(&f->d);
    assert_error(finish(f), &f->err, ERR_CORRUPT, "frame 7 of pack 'x'");
}

static void a_socket_that_is_cut_is_told(void **state)
{
    struct fixture *f = *state;

    start(f);
    fake_read_precopy_prologue(&f->d);
    fake_read_page(&f->d);
    fake_release(&f->d);

    /* What QEMU did not read is lost without an error once all is written. */
    if (finish(f) < 0)
        assert_int_equal(f->rc, ERR_PEER);
}

static void a_qemu_that_speaks_is_refused(void **state)
{
    struct fixture *f = *state;

    start(f);
    read_pages(f, 46);
    assert_int_equal(send(f->fds[1], "x", 1, 0), 1);

    assert_error(finish(f), &f->err, ERR_PROTOCOL, "silent");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(everything_is_sent_in_order_zero_pages_too),
        T(zero_pages_of_a_fresh_block_are_left_out),
        T(nothing_follows_a_damaged_page),
        T(a_socket_that_is_cut_is_told),
        T(a_qemu_that_speaks_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

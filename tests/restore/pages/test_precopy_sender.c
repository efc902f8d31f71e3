#include "tests/fakes/assert_error.h"

#include <pthread.h>

#include "restore/pages/precopy_sender.h"
#include "tests/fakes/small_vm.h"

/* The sender runs in a thread of its own; the test plays QEMU. Block "pc.ram"
 * has 40 pages (30 with data), "rom" 6 (4 with data). */
struct fixture {
    struct small_vm vm;
    struct precopy_args args;
    pthread_t thread;
    bool started;

    /* only the sender's thread until it is joined */
    int rc;
    uint64_t pages;
    struct error err;
};

static int set_up(void **state)
{
    static const char vmdesc[] = "{\"page_size\":4096}";
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    small_vm_init(&f->vm);
    assert_ok(buf_append(&f->vm.devices.vmdesc, vmdesc, strlen(vmdesc), &err),
              &err);
    f->args = (struct precopy_args){
        .fd = f->vm.fds[0],
        .source = &f->vm.source,
        .blocks = &f->vm.blocks,
        .config = &f->vm.config,
        .devices = &f->vm.devices,
        .ram_section_id = 2,
    };
    *state = f;
    return 0;
}

static void *send_all(void *arg)
{
    struct fixture *f = arg;

    f->rc = precopy_send(&f->args, &f->pages, &f->err);
    shutdown(f->vm.fds[0], SHUT_RDWR);
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

    small_vm_hang_up(&f->vm);
    if (f->started)
        finish(f);
    small_vm_release(&f->vm);
    free(f);
    return 0;
}

static void assert_reads(struct fixture *f, const void *wanted, size_t len)
{
    char got[256];

    assert_true(len <= sizeof(got));
    assert_int_equal(recv(f->vm.fds[1], got, len, MSG_WAITALL), len);
    assert_memory_equal(got, wanted, len);
}

/* Until the RAM section is over; the device sections are next. */
static void read_pages(struct fixture *f, unsigned n)
{
    fake_read_precopy_prologue(&f->vm.d);
    while (f->vm.d.n_placed < n)
        assert_true(fake_read_page(&f->vm.d));
    assert_reads(f, "\0\0\0\0\0\0\0\x10\x7e\0\0\0\2", 13);
}

static void everything_is_sent_in_order_zero_pages_too(void **state)
{
    struct fixture *f = *state;

    start(f);
    read_pages(f, 46);
    assert_reads(f, "\x04the devices", 12);
    assert_reads(f, "\0\x06\0\0\0\x12{\"page_size\":4096}", 24);

    assert_int_equal(fake_count(&f->vm.d, "pc.ram"), 40);
    assert_true(fake_find(&f->vm.d, "rom", 0)->zero);
    assert_false(fake_find(&f->vm.d, "rom", 1)->zero);
    assert_string_equal(buf_str(&f->vm.d.blocks),
                        "pc.ram 163840 4096\nrom 24576 4096\n");
    fake_release(&f->vm.d);
    assert_int_equal(finish(f), 0);
    assert_int_equal(f->pages, 34);
}

static void zero_pages_of_a_fresh_block_are_left_out(void **state)
{
    struct fixture *f = *state;

    f->args.zeroed_block = "pc.ram";
    start(f);
    read_pages(f, 36);

    assert_int_equal(fake_count(&f->vm.d, "pc.ram"), 30);
    assert_int_equal(fake_count(&f->vm.d, "rom"), 6);
    assert_null(fake_find(&f->vm.d, "pc.ram", 36));
}

static void nothing_follows_a_damaged_page(void **state)
{
    struct fixture *f = *state;

    f->vm.memory.damaged[0].pgno = 33;
    f->vm.memory.n_damaged = 1;
    start(f);
    fake_read_precopy_prologue(&f->vm.d);
    while (fake_read_page(&f->vm.d))
        if (f->vm.d.n_placed == 32)
            break;

    fake_await_close(&f->vm.d);
    assert_error(finish(f), &f->err, ERR_CORRUPT, "frame 7 of pack 'x'");
}

static void a_socket_that_is_cut_is_told(void **state)
{
    struct fixture *f = *state;

    start(f);
    fake_read_precopy_prologue(&f->vm.d);
    fake_read_page(&f->vm.d);
    fake_release(&f->vm.d);

    /* What QEMU did not read is lost without an error once all is written. */
    if (finish(f) < 0)
        assert_int_equal(f->rc, ERR_PEER);
}

static void a_qemu_that_speaks_is_refused(void **state)
{
    struct fixture *f = *state;

    start(f);
    read_pages(f, 46);
    assert_int_equal(send(f->vm.fds[1], "x", 1, 0), 1);

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

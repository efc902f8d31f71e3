#include "tests/fakes/assert_error.h"

#include <pthread.h>

#include "core/base/bitmap.h"
#include "core/base/bytes.h"
#include "core/wire/return_path.h"
#include "restore/pages/postcopy_prologue.h"
#include "tests/fakes/small_vm.h"

/*
 * The server runs in a thread of its own; the test plays QEMU. Block "pc.ram"
 * has 40 pages (30 with data), "rom" 6 (4 with data).
 */
struct fixture {
    struct small_vm vm;
    struct postcopy_watch watch;
    struct postcopy_args args;
    pthread_t thread;
    bool started;

    /* only the server's thread until it is joined */
    int rc;
    struct error err;
    struct postcopy_result result;
    unsigned n_fed, n_loaded, n_damage, n_asked_for, n_exhausted;
    uint64_t lost;

    _Atomic bool is_exhausted;
};

static void on_fed(void *arg)
{
    ((struct fixture *)arg)->n_fed++;
}

static void on_loaded(void *arg)
{
    ((struct fixture *)arg)->n_loaded++;
}

static void on_damage(void *arg, const struct error *why, bool asked_for)
{
    struct fixture *f = arg;

    f->n_damage++;
    f->n_asked_for += asked_for;
}

static void on_exhausted(void *arg, uint64_t lost_units)
{
    struct fixture *f = arg;

    f->n_exhausted++;
    f->lost = lost_units;
    f->is_exhausted = true;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    small_vm_init(&f->vm);
    f->watch = (struct postcopy_watch){
        .arg = f,
        .fed = on_fed,
        .loaded = on_loaded,
        .damage = on_damage,
        .exhausted = on_exhausted,
    };
    f->args = (struct postcopy_args){
        .fd = f->vm.fds[0],
        .source = &f->vm.source,
        .blocks = &f->vm.blocks,
        .config = &f->vm.config,
        .devices = &f->vm.devices,
        .ram_section_id = 2,
        .watch = &f->watch,
    };
    *state = f;
    return 0;
}

static void *serve(void *arg)
{
    struct fixture *f = arg;

    f->rc = postcopy_serve(&f->args, &f->result, &f->err);
    /* As at the end of the process. */
    shutdown(f->vm.fds[0], SHUT_RDWR);
    return NULL;
}

static void start(struct fixture *f)
{
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
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

/* To the point where the guest runs. */
static void load(struct fixture *f)
{
    start(f);
    fake_read_prologue(&f->vm.d);
    fake_pong(&f->vm.d, 1);
    fake_pong(&f->vm.d, 3);
}

static void assert_content(const struct fixture *f, const char *idstr,
                           uint32_t block, pgno_t pgno)
{
    const struct fake_placed *p = fake_find(&f->vm.d, idstr, pgno);
    uint8_t page[PAGE_BYTES];

    assert_non_null(p);
    assert_int_equal(p->zero, memory_page_is_zero(pgno));
    memory_page_fill(block, pgno, page);
    if (!p->zero)
        assert_memory_equal(p->first, page, sizeof(p->first));
}

static void the_prologue_says_what_qemu_needs(void **state)
{
    struct fixture *f = *state;
    static const uint8_t listen[] = {8, 0, 4, 0, 0};
    static const uint8_t end[] = {8, 0, 2, 0, 4, 0, 0, 0, 3, 8, 0, 5, 0, 0};
    const uint8_t *p;

    start(f);
    fake_read_prologue(&f->vm.d);

    assert_string_equal(f->vm.d.machine, "pc-i440fx-10.0");
    assert_int_equal(f->vm.d.pings, 1);
    assert_int_equal(f->vm.d.advised_sizes, 4096);
    assert_int_equal(f->vm.d.ram_section_id, 2);
    assert_string_equal(buf_str(&f->vm.d.blocks),
                        "pc.ram 163840 4096\nrom 24576 4096\n");
    /* Without one, LISTEN hangs. */
    assert_int_equal(f->vm.d.discards, 1);
    p = f->vm.d.package.data;
    assert_int_equal(f->vm.d.package.len,
                     sizeof(listen) + f->vm.devices.tail.len + sizeof(end));
    assert_memory_equal(p, listen, sizeof(listen));
    assert_memory_equal(p + sizeof(listen), f->vm.devices.tail.data,
                        f->vm.devices.tail.len);
    assert_memory_equal(p + sizeof(listen) + f->vm.devices.tail.len, end,
                        sizeof(end));
}

static void a_vm_that_asks_for_nothing_gets_every_data_page_once(void **state)
{
    struct fixture *f = *state;

    load(f);
    while (fake_read_page(&f->vm.d))
        continue;
    assert_true(f->vm.d.ended);
    fake_shut(&f->vm.d, 0);

    assert_int_equal(finish(f), 0);
    assert_int_equal(fake_count(&f->vm.d, "pc.ram"), 30);
    assert_int_equal(fake_count(&f->vm.d, "rom"), 4);
    for (pgno_t p = 0; p < 40; p++) {
        if (memory_page_is_zero(p))
            assert_null(fake_find(&f->vm.d, "pc.ram", p));
        else
            assert_content(f, "pc.ram", 0, p);
    }
    assert_content(f, "rom", 1, 5);
    assert_int_equal(f->n_fed, 1);
    assert_int_equal(f->n_loaded, 1);
    assert_int_equal(f->result.faults, 0);
    assert_int_equal(f->result.filled_pages, 34);
}

static void before_the_devices_are_loaded_only_requests_are_served(void **state)
{
    struct fixture *f = *state;

    start(f);
    fake_read_prologue(&f->vm.d);
    fake_pong(&f->vm.d, 1);
    fake_ask(&f->vm.d, "rom", 5, 1);
    fake_await_page(&f->vm.d, "rom", 5);
    fake_ask(&f->vm.d, "pc.ram", 39, 1);
    fake_await_page(&f->vm.d, "pc.ram", 39);
    fake_ask(&f->vm.d, NULL, 8, 1);
    fake_await_page(&f->vm.d, "pc.ram", 8);

    assert_int_equal(f->vm.d.n_placed, 3);
    assert_content(f, "rom", 1, 5);
    assert_content(f, "pc.ram", 0, 39);
    assert_content(f, "pc.ram", 0, 8);
    fake_pong(&f->vm.d, 3);
    while (fake_read_page(&f->vm.d))
        continue;
    fake_shut(&f->vm.d, 0);
    assert_int_equal(finish(f), 0);
    assert_int_equal(f->result.faults, 3);
    assert_int_equal(f->result.filled_pages, 32);
}

static void neighbours_follow_the_page_asked_for(void **state)
{
    struct fixture *f = *state;

    f->vm.memory.near = 2;
    start(f);
    fake_read_prologue(&f->vm.d);
    fake_pong(&f->vm.d, 1);
    fake_ask(&f->vm.d, "pc.ram", 22, 1);
    fake_await_page(&f->vm.d, "pc.ram", 22);
    fake_await_page(&f->vm.d, "pc.ram", 23);

    /* 20 and 24 are zero: nobody asked for them. */
    assert_int_equal(f->vm.d.placed[0].pgno, 22);
    assert_int_equal(f->vm.d.placed[1].pgno, 21);
    assert_int_equal(f->vm.d.placed[2].pgno, 23);
    assert_int_equal(f->vm.d.n_placed, 3);
}

static void a_page_asked_for_twice_is_sent_once(void **state)
{
    struct fixture *f = *state;

    start(f);
    fake_read_prologue(&f->vm.d);
    fake_ask(&f->vm.d, "pc.ram", 9, 1);
    fake_ask(&f->vm.d, "pc.ram", 9, 1);
    fake_await_page(&f->vm.d, "pc.ram", 9);
    fake_ask(&f->vm.d, "pc.ram", 9, 1);
    fake_pong(&f->vm.d, 3);
    /* place() fails the test when it comes again. */
    while (fake_read_page(&f->vm.d))
        continue;
    fake_shut(&f->vm.d, 0);

    assert_int_equal(finish(f), 0);
    assert_int_equal(f->result.faults, 1);
}

/* A second socket: only records, with a "block named last" of its own. */
static void with_two_sockets_requests_use_the_second(void **state)
{
    struct fixture *f = *state;
    struct fake_destination urgent = {.in_section = true};
    struct timeval limit = {.tv_sec = 10};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    setsockopt(fds[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    f->args.urgent_fd = fds[0];
    urgent.fd = fds[1];
    start(f);
    fake_read_prologue(&f->vm.d);
    fake_pong(&f->vm.d, 1);
    fake_ask(&f->vm.d, "rom", 5, 1);
    fake_await_page(&urgent, "rom", 5);
    fake_pong(&f->vm.d, 3);
    while (fake_read_page(&f->vm.d))
        continue;
    assert_true(f->vm.d.ended);
    fake_shut(&f->vm.d, 0);

    assert_int_equal(finish(f), 0);
    assert_int_equal(f->result.faults, 1);
    assert_int_equal(urgent.n_placed, 1);
    assert_null(fake_find(&f->vm.d, "rom", 5));
    /* Zero pages too: at the end QEMU waits for all that it has asked for. */
    assert_int_equal(fake_count(&f->vm.d, "pc.ram"), 40);
    assert_int_equal(fake_count(&f->vm.d, "rom"), 5);
    assert_true(fake_find(&f->vm.d, "pc.ram", 4)->zero);
    assert_content(f, "pc.ram", 0, 39);
    close(fds[0]);
    fake_release(&urgent);
}

/* What fills the first socket does not keep a request waiting. */
static void with_two_sockets_a_full_one_is_no_wait(void **state)
{
    struct fixture *f = *state;
    struct fake_destination urgent = {.in_section = true};
    struct timeval limit = {.tv_sec = 10};
    int size = 64 << 10; /* one batch and a half */
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    f->args.urgent_fd = fds[0];
    urgent.fd = fds[1];
    setsockopt(f->vm.fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    setsockopt(fds[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    load(f);
    /* Nobody reads the first one any more. */
    fake_await_page(&f->vm.d, "pc.ram", 1);
    fake_ask(&f->vm.d, "vga.vram", 700, 1);
    fake_await_page(&urgent, "vga.vram", 700);
    close(fds[0]);
    fake_release(&urgent);
    shutdown(f->vm.fds[0], SHUT_RDWR);
    finish(f);
}

static void a_block_unknown_to_the_snapshot_is_zero(void **state)
{
    struct fixture *f = *state;

    start(f);
    fake_read_prologue(&f->vm.d);
    fake_ask(&f->vm.d, "vga.vram", 700, 1);
    fake_await_page(&f->vm.d, "vga.vram", 700);
    fake_ask(&f->vm.d, "pc.ram", 7, 1);
    fake_await_page(&f->vm.d, "pc.ram", 7);
    fake_ask(&f->vm.d, "vga.vram", 701, 1);
    fake_await_page(&f->vm.d, "vga.vram", 701);

    assert_true(fake_find(&f->vm.d, "vga.vram", 700)->zero);
    assert_true(fake_find(&f->vm.d, "vga.vram", 701)->zero);
    assert_content(f, "pc.ram", 0, 7);
}

static void huge_host_pages_come_whole(void **state)
{
    struct fixture *f = *state;

    small_vm_add_block(&f->vm, "huge.ram", 1024, 2 << 20);
    start(f);
    fake_read_prologue(&f->vm.d);
    assert_int_equal(f->vm.d.advised_sizes, 0x201000);
    assert_non_null(
        strstr(buf_str(&f->vm.d.blocks), "huge.ram 4194304 2097152\n"));
    fake_ask(&f->vm.d, "huge.ram", 512, 512);
    fake_await_page(&f->vm.d, "huge.ram", 1023);

    assert_int_equal(fake_count(&f->vm.d, "huge.ram"), 512);
    assert_int_equal(f->vm.d.n_placed, 512);
    for (unsigned i = 0; i < 512; i++)
        assert_int_equal(f->vm.d.placed[i].pgno, 512 + i);
    assert_content(f, "huge.ram", 2, 512);
    assert_content(f, "huge.ram", 2, 1023);
}

/* Damage. */

static void damage_at(struct fixture *f, uint32_t block, pgno_t pgno)
{
    f->vm.memory.damaged[f->vm.memory.n_damaged].block = block;
    f->vm.memory.damaged[f->vm.memory.n_damaged++].pgno = pgno;
}

static void a_damaged_page_is_never_sent_and_all_others_are(void **state)
{
    struct fixture *f = *state;

    damage_at(f, 0, 17);
    start(f);
    fake_read_prologue(&f->vm.d);
    fake_ask(&f->vm.d, "pc.ram", 17, 1);
    fake_ask(&f->vm.d, "pc.ram", 18, 1);
    fake_await_page(&f->vm.d, "pc.ram", 18);
    fake_pong(&f->vm.d, 3);
    fake_await_page(&f->vm.d, "rom", 5);
    while (!f->is_exhausted)
        continue;
    /* A zero page is still to be had, and again the damaged one is not. */
    fake_ask(&f->vm.d, "pc.ram", 17, 1);
    fake_ask(&f->vm.d, "pc.ram", 20, 1);
    fake_await_page(&f->vm.d, "pc.ram", 20);
    assert_null(fake_find(&f->vm.d, "pc.ram", 17));
    assert_int_equal(fake_count(&f->vm.d, "pc.ram"), 30);
    assert_false(f->vm.d.ended);
    /* QEMU ends: only now the server does. */
    fake_release(&f->vm.d);

    assert_int_equal(finish(f), ERR_CORRUPT);
    assert_message(&f->err, "frame 7 of pack 'x'");
    assert_int_equal(f->n_damage, 1);
    assert_int_equal(f->n_asked_for, 1);
    assert_int_equal(f->n_exhausted, 1);
    assert_int_equal(f->lost, 1);
}

static void a_lost_page_that_is_asked_for_later_is_told(void **state)
{
    struct fixture *f = *state;

    damage_at(f, 0, 17);
    load(f);
    fake_await_page(&f->vm.d, "rom", 5);
    while (!f->is_exhausted)
        continue;
    fake_ask(&f->vm.d, "pc.ram", 17, 1);
    fake_ask(&f->vm.d, "pc.ram", 20, 1);
    fake_await_page(&f->vm.d, "pc.ram", 20);
    fake_release(&f->vm.d);

    assert_int_equal(finish(f), ERR_CORRUPT);
    assert_int_equal(f->n_damage, 2);
    assert_int_equal(f->n_asked_for, 1);
}

static void damage_in_a_huge_page_loses_it_whole(void **state)
{
    struct fixture *f = *state;

    small_vm_add_block(&f->vm, "huge.ram", 1024, 2 << 20);
    damage_at(f, 2, 600);
    load(f);
    fake_await_page(&f->vm.d, "huge.ram", 511);
    while (!f->is_exhausted)
        continue;
    fake_ask(&f->vm.d, "pc.ram", 0, 1);
    fake_await_page(&f->vm.d, "pc.ram", 0);

    assert_int_equal(fake_count(&f->vm.d, "huge.ram"), 512);
    fake_release(&f->vm.d);
    assert_int_equal(finish(f), ERR_CORRUPT);
    assert_int_equal(f->lost, 1);
}

static void a_damaged_index_loses_only_pages_that_cannot_be_had(void **state)
{
    struct fixture *f = *state;

    f->vm.memory.index_damaged = true;
    damage_at(f, 0, 30);
    load(f);
    fake_await_page(&f->vm.d, "rom", 5);
    while (!f->is_exhausted)
        continue;
    assert_int_equal(fake_count(&f->vm.d, "pc.ram"), 29);
    assert_int_equal(fake_count(&f->vm.d, "rom"), 4);
    fake_release(&f->vm.d);

    assert_int_equal(finish(f), ERR_CORRUPT);
    assert_int_equal(f->lost, 1);
}

/* Peers that break off or lie. */

static void a_socket_cut_at_any_page_ends_the_server(void **state)
{
    for (unsigned cut = 0; cut < 34; cut += 3) {
        struct fixture *f;
        void *fresh;

        set_up(&fresh);
        f = fresh;
        load(f);
        while (f->vm.d.n_placed < cut)
            assert_true(fake_read_page(&f->vm.d));
        fake_release(&f->vm.d);

        assert_int_equal(finish(f), ERR_PEER);
        assert_message(&f->err, "closed");
        tear_down(&fresh);
    }
}

static void a_qemu_that_says_it_failed_is_believed(void **state)
{
    struct fixture *f = *state;

    start(f);
    fake_read_prologue(&f->vm.d);
    fake_pong(&f->vm.d, 1);
    fake_shut(&f->vm.d, 1);

    assert_error(finish(f), &f->err, ERR_PEER, "could not load");
}

static void a_shut_before_the_end_is_no_success(void **state)
{
    struct fixture *f = *state;

    start(f);
    fake_read_prologue(&f->vm.d);
    fake_pong(&f->vm.d, 1);
    fake_shut(&f->vm.d, 0);
    fake_release(&f->vm.d);

    assert_error(finish(f), &f->err, ERR_PEER, "closed");
}

static void garbage_on_the_return_path_is_named(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    cleanup_buf struct buf b = BUF_INIT;

    start(f);
    fake_read_prologue(&f->vm.d);
    /* A request whose block name is longer than the message. */
    assert_ok(buf_append_be16(&b, 3, &err), &err);
    assert_ok(buf_append_be16(&b, 2, &err), &err);
    assert_ok(buf_append_be16(&b, 0xffff, &err), &err);
    fake_send(&f->vm.d, &b);

    assert_error(finish(f), &f->err, ERR_PROTOCOL, "return path");
}

static void a_request_across_no_page_border_is_refused(void **state)
{
    struct fixture *f = *state;
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    start(f);
    fake_read_prologue(&f->vm.d);
    assert_ok(return_path_put_request(&b, "pc.ram", 100, 4096, &err), &err);
    fake_send(&f->vm.d, &b);

    assert_error(finish(f), &f->err, ERR_PROTOCOL, "0x64 of 'pc.ram'");
}

/* A pager that takes over. */

static void send_bitmap(struct fixture *f, const char *idstr,
                        const struct bitmap *bits)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    assert_ok(return_path_put_bitmap(&b, idstr, bits->words, bits->n_bits,
                                     &err),
              &err);
    fake_send(&f->vm.d, &b);
}

static void send_ack(struct fixture *f)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    assert_ok(return_path_put_resume_ack(&b, &err), &err);
    fake_send(&f->vm.d, &b);
}

static void a_new_pager_sends_what_was_not_received(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct bitmap ram, rom;

    assert_ok(bitmap_init(&ram, 40, &err), &err);
    assert_ok(bitmap_init(&rom, 6, &err), &err);
    bitmap_set_range(&ram, 0, 25);
    bitmap_set(&rom, 4);
    f->args.resume = true;
    f->vm.d.ram_section_id = 2;
    start(f);
    send_bitmap(f, "pc.ram", &ram);
    send_bitmap(f, "rom", &rom);
    send_ack(f);
    fake_ask(&f->vm.d, "pc.ram", 28, 1);
    while (fake_read_page(&f->vm.d))
        continue;
    assert_true(f->vm.d.ended);
    fake_shut(&f->vm.d, 0);

    assert_int_equal(finish(f), 0);
    assert_int_equal(f->vm.d.placed[0].pgno, 28);
    /* 25 to 39 without 32 and 36, and 28 although it is zero. */
    assert_int_equal(fake_count(&f->vm.d, "pc.ram"), 13);
    assert_null(fake_find(&f->vm.d, "pc.ram", 24));
    assert_int_equal(fake_count(&f->vm.d, "rom"), 4);
    assert_int_equal(f->n_fed, 0);
    bitmap_release(&ram);
    bitmap_release(&rom);
}

static void a_new_pager_sends_no_page_before_all_bitmaps_came(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct bitmap ram;

    assert_ok(bitmap_init(&ram, 40, &err), &err);
    f->args.resume = true;
    start(f);
    send_bitmap(f, "pc.ram", &ram);
    send_ack(f);

    assert_error(finish(f), &f->err, ERR_PROTOCOL, "1 bitmaps of 2");
    fake_await_close(&f->vm.d);
    bitmap_release(&ram);
}

static void a_bitmap_of_another_length_is_refused(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct bitmap ram, rom;

    small_vm_add_block(&f->vm, "big", 1000, PAGE_BYTES);
    assert_ok(bitmap_init(&ram, 40, &err), &err);
    assert_ok(bitmap_init(&rom, 6, &err), &err);
    f->args.resume = true;
    start(f);
    send_bitmap(f, "pc.ram", &ram);
    send_bitmap(f, "rom", &rom);
    send_bitmap(f, "big", &ram);
    send_ack(f);

    assert_error(finish(f), &f->err, ERR_PROTOCOL,
                 "64 bits for a block of 1000 pages");
    bitmap_release(&ram);
    bitmap_release(&rom);
}

static void a_prologue_is_not_said_twice(void **state)
{
    struct fixture *f = *state;
    struct postcopy conversation = {0};
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    assert_ok(postcopy_put_prologue(&b, &f->args, &conversation, &err), &err);
    assert_int_equal(conversation.state, POSTCOPY_RUNNING);

    /* ADVISE once the guest runs would end QEMU. */
    assert_error(postcopy_put_prologue(&b, &f->args, &conversation, &err), &err,
                 ERR_INVALID, "CONFIG");
}

static void a_snapshot_without_blocks_is_refused(void **state)
{
    struct ramblock_list none = {0};
    struct postcopy conversation = {0};
    struct postcopy_args args = {.blocks = &none};
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    assert_error(postcopy_put_prologue(&b, &args, &conversation, &err), &err,
                 ERR_CORRUPT, "no RAM block");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_prologue_says_what_qemu_needs),
        T(a_vm_that_asks_for_nothing_gets_every_data_page_once),
        T(before_the_devices_are_loaded_only_requests_are_served),
        T(neighbours_follow_the_page_asked_for),
        T(a_page_asked_for_twice_is_sent_once),
        T(with_two_sockets_requests_use_the_second),
        T(with_two_sockets_a_full_one_is_no_wait),
        T(a_block_unknown_to_the_snapshot_is_zero),
        T(huge_host_pages_come_whole),
        T(a_damaged_page_is_never_sent_and_all_others_are),
        T(a_lost_page_that_is_asked_for_later_is_told),
        T(damage_in_a_huge_page_loses_it_whole),
        T(a_damaged_index_loses_only_pages_that_cannot_be_had),
        T(a_socket_cut_at_any_page_ends_the_server),
        T(a_qemu_that_says_it_failed_is_believed),
        T(a_shut_before_the_end_is_no_success),
        T(garbage_on_the_return_path_is_named),
        T(a_request_across_no_page_border_is_refused),
        T(a_new_pager_sends_what_was_not_received),
        T(a_new_pager_sends_no_page_before_all_bitmaps_came),
        T(a_bitmap_of_another_length_is_refused),
        T(a_prologue_is_not_said_twice),
        cmocka_unit_test(a_snapshot_without_blocks_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

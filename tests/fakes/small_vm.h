/*
 * small_vm.h - a VM of two blocks, and a socket to a destination for it.
 *
 * Block "pc.ram" has 40 pages (30 with data), "rom" 6 (4 with data), see
 * memory_pages.h; what a restore is told of a VM besides. Header only; asserts
 * by cmocka, whose headers come first. The sources of fake_destination.h are
 * linked by who uses it.
 */
#ifndef FIRN_TESTS_FAKES_SMALL_VM_H
#define FIRN_TESTS_FAKES_SMALL_VM_H

#include <sys/socket.h>

#include "restore/pages/postcopy_server.h"
#include "tests/fakes/fake_destination.h"
#include "tests/fakes/memory_pages.h"

struct small_vm {
    struct ramblock_list blocks;
    struct memory_pages memory;
    struct page_source source;
    struct machine_config config;
    struct device_state devices;
    int fds[2]; /* the tested code's end, the fake's end */
    struct fake_destination d;
};

static inline UNUSED void small_vm_add_block(struct small_vm *v,
                                             const char *idstr, uint64_t pages,
                                             uint64_t host_page)
{
    struct ramblock b = {
        .used_bytes = pages * PAGE_BYTES,
        .host_page_bytes = host_page,
    };
    struct error err = ERROR_INIT;

    snprintf(b.idstr, sizeof(b.idstr), "%s", idstr);
    assert_ok(ramblock_list_add(&v->blocks, &b, &err), &err);
}

/* All zero before. */
static inline UNUSED void small_vm_init(struct small_vm *v)
{
    static const char tail[] = "\x04the devices";
    struct timeval limit = {.tv_sec = 10};
    struct error err = ERROR_INIT;

    small_vm_add_block(v, "pc.ram", 40, PAGE_BYTES);
    small_vm_add_block(v, "rom", 6, PAGE_BYTES);
    v->memory.blocks = &v->blocks;
    v->source = memory_pages_source(&v->memory);
    snprintf(v->config.machine, sizeof(v->config.machine), "pc-i440fx-10.0");
    assert_ok(buf_append(&v->devices.tail, tail, strlen(tail), &err), &err);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, v->fds), 0);
    setsockopt(v->fds[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    v->d.fd = v->fds[1];
}

/* The destination goes: a thread that serves it ends. */
static inline UNUSED void small_vm_hang_up(struct small_vm *v)
{
    fake_release(&v->d);
}

/* After it hung up, and that thread was joined. */
static inline UNUSED void small_vm_release(struct small_vm *v)
{
    close(v->fds[0]);
    ramblock_list_release(&v->blocks);
    device_state_release(&v->devices);
}

#endif

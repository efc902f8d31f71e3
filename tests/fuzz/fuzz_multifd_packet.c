/*
 * A channel: a hello, then headers, each with its payload where it announces
 * one. What is read lies within the blocks, and a payload that decompresses
 * gives just the pages that were announced.
 */
#include <string.h>

#include "core/codec/inflater.h"
#include "core/wire/multifd_packet.h"
#include "tests/core/wire/stream_maker.h"
#include "tests/fuzz/fuzz.h"

struct channel {
    struct ramblock_list blocks;
    struct inflater *inflaters[MULTIFD_ZSTD + 1];
    uint8_t pages[PAGE_BATCH_MAX * PAGE_BYTES];
    const uint8_t *at;
    size_t left;
};

static void check_packet(const struct channel *c,
                         const struct multifd_packet *p)
{
    uint32_t n = p->n_data + p->n_zero;

    promise(n <= PAGE_BATCH_MAX);
    promise((p->n_data == 0) == (p->payload_bytes == 0));
    promise(p->payload_bytes <= MULTIFD_PAYLOAD_MAX);
    promise((n == 0) == (p->block == RAMBLOCK_NOT_FOUND));
    promise(n == 0 || p->block < c->blocks.n);
    for (uint32_t i = 0; i < n; i++)
        promise(p->pgno[i] < ramblock_pages(&c->blocks.blocks[p->block]));
}

static bool read_payload(struct channel *c, const struct multifd_packet *p)
{
    struct inflater **s = &c->inflaters[p->method];
    struct error err;
    int rc = 0;

    if (p->payload_bytes > c->left)
        return false;
    if (p->method != MULTIFD_NONE && p->n_data > 0) {
        if (!*s)
            must(inflater_new(p->method == MULTIFD_ZLIB ? INFLATER_ZLIB
                                                        : INFLATER_ZSTD,
                              s, &err),
                 &err);
        rc = inflater_read(*s, c->at, p->payload_bytes, c->pages,
                           p->n_data * PAGE_BYTES, &err);
    }
    c->at += p->payload_bytes;
    c->left -= p->payload_bytes;
    return rc == 0;
}

static bool read_packet(struct channel *c)
{
    struct multifd_packet p;
    struct error err;

    if (c->left < MULTIFD_HEADER_BYTES ||
        multifd_packet_read(c->at, &c->blocks, &p, &err) < 0)
        return false;
    c->at += MULTIFD_HEADER_BYTES;
    c->left -= MULTIFD_HEADER_BYTES;
    check_packet(c, &p);
    return read_payload(c, &p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct channel c;
    struct multifd_hello hello;
    struct error err;

    if (size < QEMU_MULTIFD_HELLO_BYTES ||
        multifd_hello_read(data, 4, &hello, &err) < 0)
        return 0;
    promise(hello.channel < 4);
    c.blocks = made_blocks();
    c.at = data + QEMU_MULTIFD_HELLO_BYTES;
    c.left = size - QEMU_MULTIFD_HELLO_BYTES;
    while (read_packet(&c)) {
    }
    for (size_t i = 0; i < ARRAY_LEN(c.inflaters); i++) {
        inflater_free(c.inflaters[i]);
        c.inflaters[i] = NULL;
    }
    ramblock_list_release(&c.blocks);
    return 0;
}

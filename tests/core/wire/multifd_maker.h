/*
 * multifd_maker.h - packets of a multifd channel, as QEMU would write them.
 *
 * Header only; for tests and seeds. Memory that runs out ends the program.
 */
#ifndef FIRN_TESTS_CORE_WIRE_MULTIFD_MAKER_H
#define FIRN_TESTS_CORE_WIRE_MULTIFD_MAKER_H

#include "core/base/buf.h"
#include "core/base/bytes.h"
#include "core/wire/multifd_packet.h"

struct made_packet {
    uint32_t flags;
    uint32_t alloc; /* 0 is written as PAGE_BATCH_MAX, unless `no_alloc` */
    bool no_alloc;
    uint32_t n_data;
    uint32_t n_zero;
    uint32_t payload_bytes;
    uint64_t number;
    const char *block; /* NULL: empty */
    const pgno_t *pgno;
};

static inline UNUSED void make_hello(uint8_t *hello, uint8_t channel,
                                     const uint8_t *uuid)
{
    memset(hello, 0, QEMU_MULTIFD_HELLO_BYTES);
    store_be32(hello, QEMU_MULTIFD_MAGIC);
    store_be32(hello + 4, QEMU_MULTIFD_VERSION);
    if (uuid)
        memcpy(hello + 8, uuid, 16);
    hello[24] = channel;
}

static inline UNUSED void make_header(uint8_t *header,
                                      const struct made_packet *p)
{
    memset(header, 0, MULTIFD_HEADER_BYTES);
    store_be32(header, QEMU_MULTIFD_MAGIC);
    store_be32(header + 4, QEMU_MULTIFD_VERSION);
    store_be32(header + 8, p->flags);
    store_be32(header + 12, p->no_alloc ? 0
                            : p->alloc  ? p->alloc
                                        : PAGE_BATCH_MAX);
    store_be32(header + 16, p->n_data);
    store_be32(header + 20, p->payload_bytes);
    store_be64(header + 24, p->number);
    store_be32(header + 32, p->n_zero);
    if (p->block)
        snprintf((char *)header + QEMU_MULTIFD_NAME_AT, 256, "%s", p->block);
    for (uint32_t i = 0; p->pgno && i < p->n_data + p->n_zero; i++)
        store_be64(header + QEMU_MULTIFD_OFFSETS_AT + i * sizeof(uint64_t),
                   p->pgno[i] * PAGE_BYTES);
}

#endif

/*
 * multifd_maker.h - a migration through multifd channels, as QEMU would send
 * it. Failures end the program, as in stream_maker.h.
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

void make_hello(uint8_t hello[static QEMU_MULTIFD_HELLO_BYTES], uint8_t channel,
                const uint8_t *uuid);
void make_header(uint8_t header[static MULTIFD_HEADER_BYTES],
                 const struct made_packet *p);

struct made_multifd_args {
    unsigned n_channels;
    enum multifd_method method;
    bool old;        /* as 7.2: sync points at each section's end, SYNC packets
                      * with pages, zero pages in the main channel */
    bool no_end;     /* the last SYNC packets are missing */
    bool no_mark;    /* the last mark is missing */
    bool goes_on;    /* pages behind the last sync point */
    bool other_uuid; /* the last channel is of another VM */
    bool same_id;    /* the last channel calls itself 0 */
};

struct made_multifd {
    struct buf main;
    struct buf channels[MULTIFD_CHANNELS_MAX];
};

/* The machine and the pages of made_stream(.return_path): every page, and some
 * of them again, in another channel, behind the next sync point. */
void made_multifd(struct made_multifd *m, const struct made_multifd_args *args);
void made_multifd_release(struct made_multifd *m);

#endif

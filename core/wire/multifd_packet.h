/*
 * multifd_packet.h - what QEMU writes into a multifd channel.
 *
 *   channel := HELLO (HEADER payload)*
 *
 * RAM pages travel in these channels, everything else stays in the main one. A
 * packet has pages of one block: first those with content, whose bytes are the
 * payload in the same order, then those that are all zero. Its header has one
 * size, however many pages there are.
 *
 * What differs by sender; a decoder takes all of it, always:
 *
 *                                  7.2             8.x, 9.x       10.0
 *   sync point, mark in the main   EOS of `ram`    8.1: flush     flush
 *     channel (old machine types of any QEMU: EOS; START tells)
 *   SYNC packet with pages         yes             up to 8.2      no
 *   packet with neither            behind such     up to 8.2      no
 *   zero pages                     main channel    9.0: packets   packets
 *     (old machine types, and zero-page-detection=legacy: main channel)
 *   pages_alloc                    128             128            0 if SYNC
 *   next_packet_size if no pages   stale           stale          0
 *   methods besides zlib and zstd  none            QPL, UADK      QATzip, too
 *   device state in channels       no              no             with VFIO
 *
 * Pure: bytes in, values out; any thread. Errors give the reason; the caller,
 * who knows them, adds channel and offset.
 */
#ifndef FIRN_CORE_WIRE_MULTIFD_PACKET_H
#define FIRN_CORE_WIRE_MULTIFD_PACKET_H

#include "core/vm/ramblock.h"
#include "core/wire/qemu_wire.h"

#define MULTIFD_CHANNELS_MAX 16u
#define MULTIFD_HEADER_BYTES \
    (QEMU_MULTIFD_OFFSETS_AT + PAGE_BATCH_MAX * sizeof(uint64_t))
/* The most that a compressed payload may have; it always has less. */
#define MULTIFD_PAYLOAD_MAX (2u * QEMU_MULTIFD_PACKET_BYTES)

static_assert(PAGE_BATCH_MAX * PAGE_BYTES == QEMU_MULTIFD_PACKET_BYTES,
              "a packet of QEMU is a packet of ours");

enum multifd_method {
    MULTIFD_NONE = 0,
    MULTIFD_ZLIB,
    MULTIFD_ZSTD,
};

/* As QEMU calls it in parameter multifd-compression. */
const char *multifd_method_name(enum multifd_method method);

struct multifd_hello {
    uint8_t uuid[16]; /* of the VM; all zero if it has none */
    uint8_t channel;
};

struct multifd_packet {
    bool sync; /* after its pages: a sync point of this channel */
    enum multifd_method method;
    uint64_t number;
    uint32_t block; /* RAMBLOCK_NOT_FOUND when there are no pages */
    uint32_t n_data;
    uint32_t n_zero;
    uint32_t payload_bytes;      /* 0 when n_data is */
    pgno_t pgno[PAGE_BATCH_MAX]; /* n_data, then n_zero */
};

/* ERR_PROTOCOL: no hello, or of a channel that was not asked for. */
int multifd_hello_read(const uint8_t hello[static QEMU_MULTIFD_HELLO_BYTES],
                       unsigned n_channels, struct multifd_hello *ret,
                       struct error *err) NODISCARD;

/* ERR_PROTOCOL: no header, or one that does not fit the blocks;
 * ERR_UNSUPPORTED: a method or a kind of packet that QEMU may send and firn
 * does not take. */
int multifd_packet_read(const uint8_t header[static MULTIFD_HEADER_BYTES],
                        const struct ramblock_list *blocks,
                        struct multifd_packet *ret,
                        struct error *err) NODISCARD;

#endif

/*
 * channel_method.h - whether QEMU should compress what it sends to us.
 *
 * The connection is a local socket, so compression saves one thing, copying,
 * and costs another, computing, on the same processors. What that is on this
 * host is measured each time: a few ms with a sample like a guest's memory.
 */
#ifndef FIRN_SNAPSHOT_CHANNEL_METHOD_H
#define FIRN_SNAPSHOT_CHANNEL_METHOD_H

#include "core/base/error.h"
#include "core/wire/multifd_packet.h"

/* Processor time for the same bytes, by the one thread that measures. */
struct channel_costs {
    uint64_t raw_bytes;
    uint64_t packed_bytes;  /* what zstd -1 makes of them */
    uint64_t copy_ns;       /* raw through a socket, both ends */
    uint64_t compress_ns;   /* in QEMU, */
    uint64_t decompress_ns; /* and here */
};

int channel_costs_measure(struct channel_costs *ret,
                          struct error *err) NODISCARD;

/* What takes less; never zlib, which zstd beats in both. Pure. */
enum multifd_method channel_method_choose(const struct channel_costs *c);

#endif

/*
 * channel_method.h - how many multifd channels, and whether QEMU should
 * compress what it sends through them.
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

/* On the calling thread, some ms. ERR_NOMEM, or what sockets and zstd give. */
int channel_costs_measure(struct channel_costs *ret,
                          struct error *err) NODISCARD;

/* What takes less; never zlib, which zstd beats in both. Pure. */
enum multifd_method channel_method_choose(const struct channel_costs *c);

/* Both together; the figures go to the log. NONE when it cannot be measured. */
enum multifd_method channel_method_measured(void);

/* Half as many as there are cores, at most 4: each channel keeps a thread of
 * ours and one of QEMU's busy, and the writers want processors as well. */
unsigned channel_count_default(void);

#endif

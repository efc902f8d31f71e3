/*
 * multifd_receiver.h - the threads that take in QEMU's multifd channels.
 *
 * One thread a channel. It reads a packet's header, takes an empty packet of
 * the page writers and has the payload read (or decompressed) right into its
 * memory: pages are not copied on their way. The main channel's reader
 * (stream_receiver.c) hands over the connections and the block list, tells
 * each mark it reads, and asks at the end whether everything is there.
 *
 * Nobody waits at a sync point; sync_points.h says why that is right.
 */
#ifndef FIRN_SNAPSHOT_MULTIFD_RECEIVER_H
#define FIRN_SNAPSHOT_MULTIFD_RECEIVER_H

#include "core/base/throttle.h"
#include "core/wire/multifd_packet.h"
#include "snapshot/page_writer.h"

struct multifd_receiver_args {
    struct page_writer *pages;
    struct snapshot_writer *store; /* is told what the threads spent */
    struct throttle *throttle;     /* shared with others; may be NULL */
    struct stopper *stop;
    unsigned n_channels; /* 1 to MULTIFD_CHANNELS_MAX */
    enum multifd_method method;
};

struct multifd_receiver;

/* Nothing runs, no channel is connected. What `args` points to must outlive
 * it. ERR_NOMEM is the only error. */
int multifd_receiver_new(const struct multifd_receiver_args *args,
                         struct multifd_receiver **ret,
                         struct error *err) NODISCARD;
/* The threads must have ended. */
void multifd_receiver_free(struct multifd_receiver *m);

/* A thread a channel; each ends with its channel, with its first error, or
 * when the stopper is pulled and cancel() was called. */
int multifd_receiver_start(struct multifd_receiver *m,
                           struct worker_group *group,
                           struct error *err) NODISCARD;
/* Whoever waits here for a connection, the block list or the other channels
 * returns. Any thread. */
void multifd_receiver_cancel(struct multifd_receiver *m);

/* By the main channel's reader, in this order. */

/* One connection a channel, in any order; takes them over. The channels must
 * have said who they are by then (monotonic ns). */
void multifd_receiver_connect(struct multifd_receiver *m, const int *fds,
                              uint64_t hello_deadline_ns);
/* Borrowed until free(). */
void multifd_receiver_set_blocks(struct multifd_receiver *m,
                                 const struct ramblock_list *blocks);
/* A sync point's mark. */
void multifd_receiver_mark(struct multifd_receiver *m);
/* No mark follows: waits until every channel has passed them all and handed
 * its pages to the writers. ERR_PROTOCOL if one does not. */
int multifd_receiver_await(struct multifd_receiver *m, uint64_t deadline_ns,
                           struct error *err) NODISCARD;
/* What still comes does not matter: ends channels that QEMU has not closed. */
void multifd_receiver_finish(struct multifd_receiver *m);

/* Read so far in all channels, headers included. Any thread. */
uint64_t multifd_receiver_bytes(struct multifd_receiver *m);
/* A channel failed, or cancel() was called: what QEMU closes now it closes
 * because of us. */
bool multifd_receiver_cancelled(struct multifd_receiver *m);
/* QEMU closed a channel within a packet, and by itself. */
bool multifd_receiver_cut(struct multifd_receiver *m);

DEFINE_CLEANUP(multifd_receiver, struct multifd_receiver *,
               multifd_receiver_free)

#endif

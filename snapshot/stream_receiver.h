/*
 * stream_receiver.h - the thread that takes QEMU's stream in.
 *
 * From a socket on which QEMU connects to us (a *stream*), or from a file that
 * QEMU is writing (a *spool*). Feeds the decoder, packs the pages for the
 * writers, answers PING, proves the end. It never waits for QMP: a guest under
 * background capture waits for this thread.
 *
 * A stream with a return path is ended by us, with SHUT(1) as soon as the tail
 * is proved: QEMU calls that a failure, takes its disks back and lets the VM
 * go on by itself. Our death at any earlier instant does the same.
 *
 * new(), free() and the results: by the owner, before start and after the
 * join. The counters may be read by any thread.
 */
#ifndef FIRN_SNAPSHOT_STREAM_RECEIVER_H
#define FIRN_SNAPSHOT_STREAM_RECEIVER_H

#include "core/base/throttle.h"
#include "core/wire/stream_decoder.h"
#include "snapshot/multifd_receiver.h"
#include "snapshot/fault_order.h"
#include "snapshot/page_writer.h"

struct stream_receiver_args {
    struct page_writer *pages;
    struct snapshot_writer *store;
    struct stopper *stop;
    /* Of all that is read; opened here when the VM stands still. May be NULL.
     */
    struct throttle *throttle;
    /* Of a background save: who wrote first. May be NULL. */
    struct fault_order *faults;
    /* One of the two, borrowed; the other is -1. */
    int listen_fd;
    int spool_fd;
    /* A stream with multifd channels: who takes them in; else NULL, and
     * n_channels 0. */
    struct multifd_receiver *multifd;
    unsigned n_channels;
    /* When QEMU must have connected (monotonic ns). */
    uint64_t accept_deadline_ns;
    /* In the receiver's thread, when the tail is proved and before the VM may
     * go on: it stands still. May be NULL. */
    int (*proved)(void *arg, struct error *err);
    void *arg;
};

struct stream_receiver;

/* What `args` points to must outlive it. ERR_NOMEM, ERR_IO. */
int stream_receiver_new(const struct stream_receiver_args *args,
                        struct stream_receiver **ret,
                        struct error *err) NODISCARD;
/* The thread has ended. Takes NULL. */
void stream_receiver_free(struct stream_receiver *r);

/* The thread's function, `arg` being the receiver. When it has everything it
 * closes the page writer; in any case it closes the connection. */
int stream_receiver_main(void *arg, struct error *err);

/* A spool: QEMU has written all of it. Any thread. */
void stream_receiver_spool_done(struct stream_receiver *r);

/* Any thread. Bytes of the channels, too. */
uint64_t stream_receiver_bytes(struct stream_receiver *r);
uint64_t stream_receiver_ram_bytes(struct stream_receiver *r); /* 0: unknown */
/* QEMU has made all its connections. */
bool stream_receiver_connected(struct stream_receiver *r);
/* The device tail was proved: every page and device came. */
bool stream_receiver_proved(struct stream_receiver *r);
/* The thread's function has returned, or is about to. */
bool stream_receiver_ended(struct stream_receiver *r);
/* For poll(): readable when it has ended. */
int stream_receiver_fd(struct stream_receiver *r);
/* QEMU closed a connection before the stream's end. */
bool stream_receiver_cut(struct stream_receiver *r);

/* After the join. Borrowed. */
const struct stream_decoder *
stream_receiver_decoder(const struct stream_receiver *r);

DEFINE_CLEANUP(stream_receiver, struct stream_receiver *, stream_receiver_free)

#endif

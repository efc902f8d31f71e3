/*
 * capture.h - one capture, from an examined QEMU to a stored, proved stream.
 *
 * Starts the threads, has QEMU migrate to them, follows it and ends with the
 * VM in the state in which it was found, whatever happened. What then remains
 * is the commit. One thread; the card of all threads is in snapshot_job.c.
 */
#ifndef FIRN_SNAPSHOT_CAPTURE_H
#define FIRN_SNAPSHOT_CAPTURE_H

#include "core/vm/migration_state.h"
#include "snapshot/precopy_watch.h"
#include "snapshot/socket_folder.h"
#include "snapshot/spool.h"
#include "snapshot/stream_receiver.h"

struct capture {
    const struct snapshot_args *args;

    /* set by the caller before capture_run() */
    struct qemu_source *source;
    struct snapshot_writer *store;
    json_t *facts; /* borrowed; "disks" is looked at again at the instant */
    unsigned lanes;
    uint64_t deadline_ns; /* 0: none */
    bool needs_standstill; /* of capture_mode.h */
    unsigned channels;    /* of multifd, in mode stream; 0: without it */
    enum multifd_method method;

    /* The capture's own state, which need not be QEMU's: completed when the
     * stream is proved and the VM is where it was found. Only the thread of
     * capture_run() moves it. */
    struct migration migration;

    /* only capture.c, but for `receiver` and `watch` after capture_run() */
    struct stream_receiver *receiver;
    struct multifd_receiver *multifd;
    struct precopy_watch watch;
    struct throttle throttle;  /* of all that is received */
    struct fault_order faults; /* of a background save, after capture_run() */
    struct page_writer *pages;
    struct worker_group group;
    struct stopper work; /* ends the threads */
    struct stopper calm; /* never pulled: for putting the VM right */
    struct socket_folder socket;
    struct spool spool;
};

/* Nothing runs yet; release() is then always right. `args` must outlive it. */
void capture_init(struct capture *c, const struct snapshot_args *args);
/* All of it, from the first thread to the VM as it was found, once. ERR_BUDGET:
 * it does not converge and was given up before the VM was stopped. On success
 * the store has every page, and `receiver` the device state. */
int capture_run(struct capture *c, enum snapshot_mode mode,
                struct error *err) NODISCARD;
/* Joins what still runs, closes sockets and spool. The VM is not touched. */
void capture_release(struct capture *c);

#endif

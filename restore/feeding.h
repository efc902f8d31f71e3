/*
 * feeding.h - from the connected socket to `completed`: the keeper's vigil.
 *
 * Starts the pager and follows three voices: events of QEMU, reports of the
 * pager, and (until the VM runs) the front's signals. Tells the front what
 * happens. One thread, the keeper's.
 */
#ifndef FIRN_RESTORE_FEEDING_H
#define FIRN_RESTORE_FEEDING_H

#include "core/vm/ramblock.h"
#include "restore/link.h"
#include "restore/recovery.h"
#include "restore/restore_job.h"
#include "restore/target.h"
#include "storage/lease.h"

struct feeding_args {
    const struct restore_args *job;
    struct target *target;
    struct link *front; /* replaced by whoever comes to the door */
    int door;           /* a listening socket; -1: none */
    struct lease *lease;
    uint64_t begun_ns; /* when `firn restore` began */
    /* To QEMU; closed once the pager has it. None: the VM runs, and its pager
     * is gone. */
    struct connection connection;
    json_t *feed;      /* the pager's assignment, see pager.c */
    /* The VM comes back standing still: no RESUME is to be expected. */
    bool paused;
    /* It stands still until the pager says "ahead": then it is let go. */
    bool head_start;
    /* The keeper before ended during a head start: it goes with the pager. */
    bool held;
    struct recovery *recovery;
    /* A pager was started: what is on disk about it changes. */
    void (*pager_started)(void *arg, pid_t pid);
    /* The head start is over: nobody has to let the VM go any more. */
    void (*went)(void *arg);
    void *arg;
};

/*
 * 0: completed. Else an error; what has become of QEMU then depends on how far
 * it came, and the caller ends a QEMU of ours that never ran: *ret_ran. With
 * damage and `hang`, or when no pager could be made to go on, it returns only
 * when QEMU has ended; the front was told before.
 */
int feeding_run(struct feeding_args *args, bool *ret_ran,
                struct error *err) NODISCARD;

#endif

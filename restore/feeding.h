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
#include "restore/restore_job.h"
#include "restore/target.h"
#include "storage/lease.h"

#define FEEDING_SPARES 8u

struct feeding_args {
    const struct restore_args *job;
    struct target *target;
    struct link *front;
    struct lease *lease;
    uint64_t begun_ns; /* when `firn restore` began */
    int socket;        /* to QEMU; borrowed, closed once the pager has it */
    json_t *feed;      /* the pager's assignment, see pager.c */
    const struct ramblock_list *blocks;
    /* The VM comes back standing still: no RESUME is to be expected. */
    bool paused;
    /* Ends of socketpairs whose other ends QEMU holds under the names
     * "firn-recover-N": for pagers that take over. -1: used or none. */
    int spares[FEEDING_SPARES];
};

/*
 * 0: completed. Else an error; what has become of QEMU then depends on how far
 * it came, and the caller ends a QEMU of ours that never ran: *ret_ran. With
 * damage and `hang` it returns ERR_CORRUPT only when QEMU has ended.
 */
int feeding_run(struct feeding_args *args, bool *ret_ran,
                struct error *err) NODISCARD;

#endif

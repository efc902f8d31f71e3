/*
 * precopy_watch.h - follows a precopy, and ends one that cannot hold its
 * downtime budget.
 *
 * Tells the rounds apart by QEMU's events, asks query-migrate now and then
 * (never while the VM stands still: the answer would come after that), raises
 * the downtime limit when that is needed. ERR_BUDGET, with a hint, is for the
 * caller to give up on: either the end will not come, and the VM was never
 * stopped, or the VM was stopped and that goes on without end. One thread.
 */
#ifndef FIRN_SNAPSHOT_PRECOPY_WATCH_H
#define FIRN_SNAPSHOT_PRECOPY_WATCH_H

#include "snapshot/convergence.h"
#include "snapshot/qemu_source.h"

struct precopy_watch {
    struct qemu_source *source; /* borrowed */
    uint64_t budget_ms;
    struct convergence convergence;
    unsigned rounds_seen;
    bool ask_soon; /* a round has begun */
    uint64_t asked_ns;
    uint64_t stopped_ns; /* when the VM's stop was seen; 0: not yet */
};

/* The first round begins at `now_ns`. */
void precopy_watch_init(struct precopy_watch *w, struct qemu_source *source,
                        uint64_t budget_ms, bool auto_converge,
                        uint64_t now_ns);

/* Now and then, and when QEMU had news; `bytes`: of the stream, until now.
 * Does nothing for a background save. */
int precopy_watch_look(struct precopy_watch *w, uint64_t bytes, uint64_t now_ns,
                       struct error *err) NODISCARD;
/* The stream has ended. */
void precopy_watch_end(struct precopy_watch *w, uint64_t bytes,
                       uint64_t now_ns);

#endif

/*
 * run_state.h - QEMU's run states and migration states, judged. Pure.
 */
#ifndef FIRN_SNAPSHOT_RUN_STATE_H
#define FIRN_SNAPSHOT_RUN_STATE_H

#include "core/base/error.h"

/* A capture may begin in this state; else ERR_UNSUPPORTED with the way out. */
int run_state_check_start(const char *state, struct error *err) NODISCARD;

/* A migration with this status of query-migrate ("" when there was none) is
 * under way. Unknown words are not: QEMU may add some. */
bool migration_is_active(const char *status);

/* What brings a VM back to the state found, asked again and again after the
 * capture's migration. */
enum settle_step {
    SETTLE_DONE = 0, /* it is in the state found, or as near as can be */
    SETTLE_DONE_POSTMIGRATE, /* found stopped, is stopped: "postmigrate" */
    SETTLE_WAIT,             /* QEMU is on its way */
    SETTLE_CANCEL,           /* migrate_cancel, then ask again */
    SETTLE_CONT,             /* cont, then ask again */
};

struct settle_view {
    const char *found;  /* run state before the capture */
    char state[32];     /* run state seen */
    char status[32];    /* of the migration, as seen */
    uint64_t waited_ms; /* since the capture ended */
    bool cancelled;     /* migrate_cancel was sent */
    bool may_cancel;    /* it does no harm (background before 9.0: it does) */
};

/* The one step to take now. Decides by what is seen, not by what was done
 * before, so that it can be asked again after any step or any pause. */
enum settle_step settle_next(const struct settle_view *v);

#endif

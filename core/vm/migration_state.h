/*
 * migration_state.h - the states of a capture, in QEMU's words.
 *
 *   none -> setup -> active -> [pre-switchover] -> [device] -> completed
 *            |         |             |                |
 *            +---------+-------------+----------------+--> failed
 *            +---------+-------------+----------------+--> cancelling
 *                                                             |
 *                                                         cancelled
 *
 * The struct is plain data of the job that owns it; its control thread alone
 * moves it. QEMU's own status, as QMP tells it, is read with
 * migration_state_parse(): it need not be that of the job (a capture that is
 * complete for us may end as `failed` for QEMU, on purpose).
 */
#ifndef FIRN_CORE_VM_MIGRATION_STATE_H
#define FIRN_CORE_VM_MIGRATION_STATE_H

#include "core/base/error.h"

enum migration_state {
    /* Nothing was asked of QEMU. No block list, no device state. */
    MIGRATION_NONE = 0,
    /* `migrate` was sent; the channels are being connected. */
    MIGRATION_SETUP,
    /* Pages come. The block list may be read as soon as it is known. */
    MIGRATION_ACTIVE,
    /* The VM is stopped, its disks are still its own: whoever snapshots them
     * does it here, and QEMU waits for migrate-continue. */
    MIGRATION_PRE_SWITCHOVER,
    /* The VM is stopped; last pages and device state come. */
    MIGRATION_DEVICE,
    /* Everything came: block list and device state may be read, and commit is
     * allowed. Final, as the next and the last one. */
    MIGRATION_COMPLETED,
    /* Nothing may be committed. */
    MIGRATION_FAILED,
    /* migrate_cancel was sent; QEMU lets go. */
    MIGRATION_CANCELLING,
    MIGRATION_CANCELLED,
    MIGRATION__COUNT,
};

struct migration {
    enum migration_state state;
    bool vm_stopped;   /* by this migration, and not running again */
    bool blocks_known; /* the RAM block list came */
    bool tail_proved;  /* the device state is whole */
};

/* "pre-switchover"; as QEMU prints it. */
const char *migration_state_name(enum migration_state s);

/* A status of query-migrate or of event MIGRATION. False, with *ret untouched,
 * for any other: QEMU has more of them and may get new ones; none is an
 * error. */
bool migration_state_parse(const char *status, enum migration_state *ret);

/* No move leads out of it. */
bool migration_state_is_final(enum migration_state s);

/* Whether moves lead from one to the other, several if need be: who polls may
 * miss some in between. A state reaches itself. */
bool migration_state_reaches(enum migration_state from,
                             enum migration_state to);

/* ERR_INVALID, and nothing changes, when `m` is not in `from` or the table has
 * no such move. */
int migration_state_move(struct migration *m, enum migration_state from,
                         enum migration_state to, struct error *err) NODISCARD;

/* Whether what the states above promise holds; move() asserts it. */
bool migration_state_check(const struct migration *m);

#endif

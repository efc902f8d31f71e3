/*
 * uffd_state.h - the life of an engine, in the words of QEMU's postcopy.
 *
 *   none -> advise -> discard -> listening -> running -> end
 *     |        |         |           |           |        ^
 *     |        +---------|-----------^           |        |
 *     +--------+---------+-----------+-----------+--------+
 *
 * Pure; the engine's lock guards the value.
 */
#ifndef FIRN_RESTORE_UFFD_UFFD_STATE_H
#define FIRN_RESTORE_UFFD_UFFD_STATE_H

#include "core/base/error.h"

enum uffd_state {
    /* Made. Nothing was asked of the host. */
    UFFD_STATE_NONE = 0,
    /* The host can do it; descriptors may be attached. [uffd_engine_advise] */
    UFFD_STATE_ADVISE,
    /* Pages were dropped, to be asked for later. [uffd_engine_discard] */
    UFFD_STATE_DISCARD,
    /* Ranges are registered, threads answer faults: whoever touches a missing
     * page waits for it. [uffd_engine_listen] */
    UFFD_STATE_LISTENING,
    /* The memory is in use by its owner. [uffd_engine_run] */
    UFFD_STATE_RUNNING,
    /* No thread, no range, no descriptor. [uffd_engine_end] */
    UFFD_STATE_END,
    UFFD_STATE__COUNT,
};

/* "listening", for messages. */
const char *uffd_state_name(enum uffd_state s);
/* Whether the table has this move. */
bool uffd_state_allows(enum uffd_state from, enum uffd_state to);
/* ERR_INVALID, with *s as it was, for what the table does not have. */
int uffd_state_move(enum uffd_state *s, enum uffd_state to,
                    struct error *err) NODISCARD;

#endif

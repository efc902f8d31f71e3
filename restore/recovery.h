/*
 * recovery.h - a connection for the next pager, the handshake already in it.
 *
 * The handshake (received bitmap of every block, RESUME) is written into a
 * spare connection before QEMU is told, out of band, to take the other end. It
 * is out of band since QEMU's main loop may be waiting for a page; it is one
 * piece since QEMU 7.2 does not survive a connection that breaks in the middle
 * of it. When the spares are used up, a socket in the runtime folder does as
 * well, but for an instant between connecting and writing.
 *
 * With two sockets (`preempt`) QEMU takes no descriptors, so the socket in the
 * runtime folder is the only way. There the handshake must not be read before
 * the second socket was accepted: QEMU would go on without it, or end by an
 * assertion. QEMU accepts in the monitor's thread, so the monitor is asked
 * until that is certain. One thread.
 */
#ifndef FIRN_RESTORE_RECOVERY_H
#define FIRN_RESTORE_RECOVERY_H

#include "core/vm/ramblock.h"
#include "restore/connection.h"
#include "restore/spares.h"

struct recovery {
    bool preempt; /* two sockets; set before anything is asked of it */
    struct spares spares;
    int primed;                         /* the spare that holds it; -1: none */
    struct qmp_session *qmp;            /* borrowed, as are those below */
    const struct ramblock_list *blocks; /* of the snapshot */
    const char *folder;                 /* for sockets */
    const char *snapshot;
    struct stopper *stop;
};

/* No spare yet; the caller sets what is borrowed. */
void recovery_init(struct recovery *r);
/* Closes the spares: QEMU's ends of them become useless, no more. */
void recovery_release(struct recovery *r);

/*
 * 0: QEMU listens to the other end of *ret, which the caller closes.
 * ERR_UNSUPPORTED: QEMU refuses, since it is not in postcopy-paused (yet).
 * ERR_PEER: it does not answer. Both may be tried again.
 */
int recovery_connect(struct recovery *r, struct connection *ret,
                     struct error *err) NODISCARD;

/* Breaks the connection of a pager that is stuck or unknown, out of band, so
 * that QEMU comes to postcopy-paused. Refused in any other state but active. */
int recovery_pause(struct recovery *r, struct error *err) NODISCARD;

/* Makes up for the spares that were used. While QEMU's main loop waits for a
 * page this fails, after half a second. */
int recovery_restock(struct recovery *r, struct error *err) NODISCARD;

#endif

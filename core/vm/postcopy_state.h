/*
 * postcopy_state.h - what the source knows of a destination in postcopy.
 *
 *   none -> advise -> discard -> listening -> running -> end
 *     |        |          |           |        |   ^      ^
 *     +--------+----------+-----------+--------|---|------+
 *                                              v   |      |
 *                                           paused |      |
 *                                            ^  |  |      |
 *                                            |  v  |      |
 *                                           recover-------+
 *
 * A destination refuses, hangs or dies when it gets a message in the wrong
 * state, and after LISTEN the VM is lost with it. So the source asks here
 * first: postcopy_state_send() knows which message is legal in which state and
 * where it leads. Plain data of the thread that writes the main channel.
 */
#ifndef FIRN_CORE_VM_POSTCOPY_STATE_H
#define FIRN_CORE_VM_POSTCOPY_STATE_H

#include "core/base/error.h"

/* The first six are QEMU's, with its numbers, which it prints in errors. */
enum postcopy_state {
    /* Nothing of postcopy was said; pages may be sent as in precopy. */
    POSTCOPY_NONE = 0,
    /* ADVISE emptied all blocks of the destination. */
    POSTCOPY_ADVISE = 1,
    /* At least one DISCARD: without one, LISTEN hangs the destination. */
    POSTCOPY_DISCARD = 2,
    /* LISTEN, in the package: pages are placed on arrival and asked for, device
     * state is being loaded. A failure loses the VM. */
    POSTCOPY_LISTENING = 3,
    /* RUN: the guest executes. A failure only pauses the restore. */
    POSTCOPY_RUNNING = 4,
    /* Nothing is read any more: all was sent, or the VM is lost. */
    POSTCOPY_END = 5,
    /* The channels broke after RUN; vCPUs wait on missing pages only. */
    POSTCOPY_PAUSED,
    /* New channels are connected: bitmaps are asked for, then RESUME. */
    POSTCOPY_RECOVER,
    POSTCOPY__COUNT,
};

enum postcopy_message {
    POSTCOPY_SEND_CONFIG = 0,
    POSTCOPY_SEND_OPEN_RETURN_PATH,
    POSTCOPY_SEND_PING,
    POSTCOPY_SEND_ADVISE,
    POSTCOPY_SEND_RAM_SETUP,
    POSTCOPY_SEND_RAM_PAGES, /* a PART or END section of RAM, or a record */
    POSTCOPY_SEND_DISCARD,
    POSTCOPY_SEND_PACKAGED, /* sent first, then its content is gone through */
    POSTCOPY_SEND_LISTEN,   /* in the package */
    POSTCOPY_SEND_DEVICES,  /* in the package */
    POSTCOPY_SEND_RUN,      /* in the package, last */
    POSTCOPY_SEND_RECV_BITMAP,
    POSTCOPY_SEND_RESUME,
    POSTCOPY_SEND_EOF,
    POSTCOPY_SEND__COUNT,
};

struct postcopy {
    enum postcopy_state state;
    bool return_path; /* OPEN_RETURN_PATH was sent */
    bool setup_sent;  /* the RAM block list was sent */
};

/* What a pager begins with that takes a running VM over from a dead one. */
#define POSTCOPY_TAKEN_OVER \
    ((struct postcopy){     \
        .state = POSTCOPY_PAUSED, .return_path = true, .setup_sent = true})

/* "listening", as QEMU's log and ours print it; and "PACKAGED", for errors. */
const char *postcopy_state_name(enum postcopy_state s);
/* As in the protocol's words: "DISCARD", "device state". */
const char *postcopy_message_name(enum postcopy_message m);

/* Whether the destination would take `m` now. Looks, and changes nothing. */
bool postcopy_state_allows(const struct postcopy *p, enum postcopy_message m);

/* Notes that `m` goes out, and moves. ERR_INVALID, with nothing changed, when
 * it must not be sent. */
int postcopy_state_send(struct postcopy *p, enum postcopy_message m,
                        struct error *err) NODISCARD;

/* A move that no message makes: to paused, recover, end. ERR_INVALID when `p`
 * is not in `from` or the table has no such move. */
int postcopy_state_move(struct postcopy *p, enum postcopy_state from,
                        enum postcopy_state to, struct error *err) NODISCARD;

/* Whether what the states promise holds; each move asserts it. */
bool postcopy_state_check(const struct postcopy *p);

#endif

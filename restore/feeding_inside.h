/*
 * feeding_inside.h - what the sources of the vigil share; nobody else's.
 */
#ifndef FIRN_RESTORE_FEEDING_INSIDE_H
#define FIRN_RESTORE_FEEDING_INSIDE_H

#include "restore/feeding.h"
#include "restore/pager_process.h"

struct feeding {
    struct feeding_args *args;

    /* The pager, and its reports. */
    struct pager_process pager;
    bool pager_gone;
    struct error pager_error;
    json_t *resident; /* its last report */
    uint64_t read_bytes;
    uint64_t image_bytes;
    bool loaded;
    bool ahead;              /* the head start is over */
    bool let_go;             /* `cont` was said */
    uint64_t pager_limit_ns; /* silent for longer, it hangs */
    struct error damage;
    bool damage_asked_for;
    bool exhausted;
    bool exhausted_told;

    /* QEMU, by its events. */
    bool resumed;
    uint64_t resumed_ns;
    bool running; /* told to the front */
    bool postcopy_paused;
    bool completed;
    bool failed;
    bool qemu_gone;

    /* A pager that takes over. */
    bool running_owed; /* a front came later: it is told then */
    uint64_t gone_ns;  /* when the last pager was missed */
    uint64_t retry_at_ns;
    unsigned lost_in_a_row; /* pagers that did not get as far as "resumed" */
    bool connect_trouble_told;
    bool stranded; /* given up, until somebody asks for another try */
    struct error stranded_why;

    uint64_t ask_at_ns; /* when to ask QEMU for its state; 0: not */
    uint64_t settle_by_ns;
    uint64_t renew_at_ns;
};

/* front_line.c: to whoever listens. */

/* Takes the reference over; a front that is gone is no error. */
void feeding_tell(struct feeding *f, json_t *message);
/* A sentence for the user. */
void feeding_note(struct feeding *f, const char *text);
/* "running", with the figures of now. */
void feeding_tell_running(struct feeding *f, uint64_t at_ns);
/* Somebody knocked: a `firn restore --resume` that listens from now on, and
 * for whose sake what was given up is tried again. */
int feeding_open_door(struct feeding *f, struct error *err) NODISCARD;

/* succession.c: pagers lost, and the next ones. */

/* The pager's own reason: damage and the like. That the peer is gone is none,
 * it only follows from one. */
bool feeding_pager_has_reason(const struct feeding *f);
/* A pager that says nothing any more, though QEMU would hear it, is killed. */
void feeding_watch_pager(struct feeding *f);
/* It was read that the pager is gone. */
void feeding_pager_ended(struct feeding *f);
/* The next one knows what QEMU has: it is the pager now. */
void feeding_pager_took_over(struct feeding *f);
/* Before the VM ran: the error that ends the restore. That is the pager's own
 * reason, else QEMU's, else that the pager ended. */
int feeding_pager_lost_early(struct feeding *f, struct error *err) NODISCARD;
/* After: the guest waits on missing pages. Starts the next pager if it is time
 * and QEMU takes a connection; 0 also when it does not yet, or is given up. */
int feeding_pager_lost_late(struct feeding *f, struct error *err) NODISCARD;
/* When the next attempt is due; 0: not by the clock. */
uint64_t feeding_attempt_ns(const struct feeding *f);
/* Forgets what made it hopeless, and has a new pager try. */
void feeding_try_again(struct feeding *f);

#endif

/*
 * spares.h - connections that QEMU holds already, for pagers to come.
 *
 * A pager that takes over needs a new connection. One end of a socketpair lies
 * in QEMU under a name, put there while its main loop answered (`getfd` is not
 * out of band); the other is kept here. What is written into ours before QEMU
 * is told to look at its own is there as a whole: so the handshake of a
 * recovery cannot break in the middle, which QEMU 7.2 would not survive.
 * One thread.
 */
#ifndef FIRN_RESTORE_SPARES_H
#define FIRN_RESTORE_SPARES_H

#include "core/qmp/qmp_session.h"

#define SPARES_N        8u
#define SPARES_NAME_LEN 32u

struct spares {
    int fds[SPARES_N]; /* our ends, owned; -1: used, or never made */
};

/* None are made yet. */
void spares_init(struct spares *s);
/* Closes our ends. */
void spares_release(struct spares *s);

/* Makes and deposits those that are missing. ERR_PEER when QEMU does not
 * answer: what was made until then stays. */
int spares_deposit(struct spares *s, struct qmp_session *qmp,
                   struct error *err) NODISCARD;

/* Made and not yet handed out. */
unsigned spares_left(const struct spares *s);

/* Index of one that is there, -1 if there is none; and its name in QEMU. */
int spares_find(const struct spares *s, char ret_name[static SPARES_NAME_LEN]);
/* Hands one out: the caller closes it. */
int spares_take(struct spares *s, int index);

#endif

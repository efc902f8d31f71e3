/*
 * connection.h - what joins a pager to QEMU: one socket, or two.
 *
 * With `postcopy-preempt` QEMU reads pages from a second socket as well, in a
 * thread of its own, so that what the guest waits for need not queue behind the
 * rest. It tells the two apart by the order in which it accepts them, and a
 * connection of which only one is left is dead: they are opened and closed
 * together. Plain data; descriptors are close-on-exec.
 */
#ifndef FIRN_RESTORE_CONNECTION_H
#define FIRN_RESTORE_CONNECTION_H

#include "core/base/channel.h"

struct connection {
    int main;   /* commands, pages, the return path; owned, -1: none */
    int urgent; /* pages that are asked for; -1: these use `main` */
};

#define CONNECTION_NONE ((struct connection){.main = -1, .urgent = -1})

/* To QEMU, which listens at `path`. Both or neither. */
int connection_open(const char *path, bool preempt, struct connection *ret,
                    struct error *err) NODISCARD;
/* Harmless when there is none. */
void connection_close(struct connection *c);
struct connection connection_steal(struct connection *c);

static inline UNUSED void cleanup_connection_fn(struct connection *c)
{
    connection_close(c);
}
#define cleanup_connection cleanup(connection)

#endif

/*
 * spares.c - pairs of sockets, one end in QEMU's keeping.
 *
 * QEMU keeps a descriptor by name until it is used, so a spare's name is its
 * number and stays the same: depositing again under it replaces what was there.
 * Our end counts as made only once QEMU has said that it has the other.
 */
#include "restore/spares.h"

#include <sys/socket.h>
#include <unistd.h>

#include "core/base/cleanup.h"

static void name_of(unsigned i, char ret[static SPARES_NAME_LEN])
{
    snprintf(ret, SPARES_NAME_LEN, "firn-recover-%u", i);
}

void spares_init(struct spares *s)
{
    for (unsigned i = 0; i < SPARES_N; i++)
        s->fds[i] = -1;
}

void spares_release(struct spares *s)
{
    for (unsigned i = 0; i < SPARES_N; i++) {
        if (s->fds[i] >= 0)
            close(s->fds[i]);
    }
    spares_init(s);
}

/* A name that QEMU knows already is replaced by it. */
static int deposit_one(struct spares *s, unsigned i, struct qmp_session *qmp,
                       struct error *err)
{
    cleanup_close int ours = -1;
    cleanup_close int theirs = -1;
    char name[SPARES_NAME_LEN];
    int fds[2];
    int rc;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return fail_errno(err, ERR_IO, "cannot make a pair of sockets");
    ours = fds[0];
    theirs = fds[1];
    name_of(i, name);
    rc = qmp_send_fd(qmp, name, theirs, err);
    if (rc == 0)
        s->fds[i] = steal_fd(&ours);
    return rc;
}

int spares_deposit(struct spares *s, struct qmp_session *qmp, struct error *err)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < SPARES_N; i++) {
        if (s->fds[i] < 0)
            rc = deposit_one(s, i, qmp, err);
    }
    return rc;
}

unsigned spares_left(const struct spares *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < SPARES_N; i++)
        n += s->fds[i] >= 0;
    return n;
}

int spares_find(const struct spares *s, char ret_name[static SPARES_NAME_LEN])
{
    for (unsigned i = 0; i < SPARES_N; i++) {
        if (s->fds[i] >= 0) {
            name_of(i, ret_name);
            return (int)i;
        }
    }
    return -1;
}

int spares_take(struct spares *s, int index)
{
    assert(index >= 0 && (unsigned)index < SPARES_N && s->fds[index] >= 0);
    return steal_fd(&s->fds[index]);
}

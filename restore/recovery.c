/*
 * recovery.c - how a pager's successor gets a connection that QEMU accepts.
 *
 * Order is everything. The handshake goes into our end first, while nobody
 * reads the other; then QEMU is told. After a refusal (it has not noticed yet
 * that the old connection broke) the same spare is tried again and already
 * holds the handshake, hence `primed`. A spare of which nobody knows whether
 * QEMU took it is closed at once: with the whole handshake in it, QEMU survives
 * that and pauses again.
 */
#include "restore/recovery.h"

#include <unistd.h>

#include "core/base/clock.h"
#include "restore/pages/postcopy_prologue.h"
#include "restore/runtime_folder.h"

#define LOG_AREA "keeper"
#include "core/base/log.h"

#define HANDSHAKE_LIMIT_NS (10 * NS_PER_SEC)
/* The monitor's thread accepts one connection in each turn of its loop, and
 * answers in the same; the first turn may have begun before we connected. */
#define ACCEPT_TURNS 3
/* While the main loop waits for a page it takes no descriptors, and the next
 * pager may be needed. */
#define RESTOCK_LIMIT_MS 500

void recovery_init(struct recovery *r)
{
    *r = (struct recovery){.primed = -1};
    spares_init(&r->spares);
}

static int write_handshake(const struct recovery *r, int socket,
                           struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc = postcopy_put_recovery(&b, r->blocks, err);

    if (rc == 0)
        rc = channel_write(socket, b.data, b.len, r->stop,
                           clock_monotonic_ns() + HANDSHAKE_LIMIT_NS, err);
    return rc;
}

static int tell_qemu(const struct recovery *r, const char *uri,
                     struct error *err)
{
    json_t *args;
    int rc = json_build(&args, err, "{s:s}", "uri", uri);

    if (rc < 0)
        return rc;
    return qmp_execute_oob(r->qmp, "migrate-recover", args, NULL, err);
}

/* A spare whose fate in QEMU is not known is closed: with the whole handshake
 * in it, that harms at no instant. */
static void drop_primed(struct recovery *r)
{
    assert(r->primed >= 0);
    close(spares_take(&r->spares, r->primed));
    r->primed = -1;
}

static int use_spare(struct recovery *r, int index, const char *name,
                     struct connection *ret, struct error *err)
{
    char uri[SPARES_NAME_LEN + 3];
    int rc = 0;

    /* After a refusal it is in there already. */
    if (r->primed != index) {
        r->primed = index;
        rc = write_handshake(r, r->spares.fds[index], err);
    }
    snprintf(uri, sizeof(uri), "fd:%s", name);
    if (rc == 0)
        rc = tell_qemu(r, uri, err);
    if (rc == 0) {
        ret->main = spares_take(&r->spares, index);
        r->primed = -1;
    } else if (rc != ERR_UNSUPPORTED ||
               strstr(qmp_error_desc(r->qmp), "has not been found")) {
        drop_primed(r);
    }
    return rc;
}

/* Both sockets are QEMU's. The question is harmless; that it is answered out
 * of band counts. */
static int await_accepted(const struct recovery *r, struct error *err)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < ACCEPT_TURNS; i++)
        rc = qmp_execute_oob(r->qmp, "query-yank", NULL, NULL, err);
    return rc;
}

static int use_socket(const struct recovery *r, struct connection *ret,
                      struct error *err)
{
    cleanup_free char *path = NULL;
    cleanup_buf struct buf uri = BUF_INIT;
    cleanup_connection struct connection c = CONNECTION_NONE;
    int rc =
        runtime_folder_name(r->folder, r->snapshot, "recover.sock", &path, err);

    if (rc == 0)
        rc = buf_printf(&uri, err, "unix:%s", path);
    if (rc == 0)
        rc = tell_qemu(r, buf_str(&uri), err);
    if (rc == 0)
        rc = connection_open(path, r->preempt, &c, err);
    if (rc == 0 && r->preempt)
        rc = await_accepted(r, err);
    if (rc == 0)
        rc = write_handshake(r, c.main, err);
    if (path)
        unlink(path);
    if (rc == 0)
        *ret = connection_steal(&c);
    return rc;
}

int recovery_connect(struct recovery *r, struct connection *ret,
                     struct error *err)
{
    char name[SPARES_NAME_LEN];
    int index = spares_find(&r->spares, name);

    if (index >= 0)
        return use_spare(r, index, name, ret, err);
    log_debug("no spare connection is left");
    return use_socket(r, ret, err);
}

int recovery_pause(struct recovery *r, struct error *err)
{
    return qmp_execute_oob(r->qmp, "migrate-pause", NULL, NULL, err);
}

int recovery_restock(struct recovery *r, struct error *err)
{
    unsigned before;
    int rc;

    if (r->preempt)
        return 0;
    if (qmp_session_owed(r->qmp) > 0)
        return fail(err, ERR_PEER, "QEMU's main loop does not answer");
    before = qmp_session_set_timeout(r->qmp, RESTOCK_LIMIT_MS);
    rc = spares_deposit(&r->spares, r->qmp, err);
    qmp_session_set_timeout(r->qmp, before);
    return rc;
}

void recovery_release(struct recovery *r)
{
    spares_release(&r->spares);
    recovery_init(r);
}

/*
 * serve_job.c - accept, join, tell.
 *
 * Thread card
 *   name      number        owns                          ends when
 *   (caller)  1             listening socket, sessions    stopper, or once
 *   client    1 a client    its socket, engine, feed      hang-up, finish
 *   fault     1 a client    a frame reader                the engine ends
 *   fill      n a client    a frame reader each           all is placed
 * Shared by all: the frames of the snapshot (snapshot_frames.h).
 *
 * Hints are loaded when a client comes and stored when it has gone, by the
 * caller's thread alone, so each run starts from what the last one found.
 */
#include "restore/uffd/serve_job.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#define LOG_AREA "serve"
#include "core/base/channel.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "restore/uffd/serve_session.h"
#include "storage/lease.h"

#define CLIENTS_DEFAULT 16u
#define WORKERS_MAX     4u
#define CACHE_BYTES     ((size_t)256 << 20)
#define BACKLOG         64

/* A run that asked for less is an accident, no habit. */
#define RUN_MIN_PAGES 8u

/* Often enough for the lease, which wants it once an hour. */
#define RENEW_MS (30 * 60 * 1000)

struct client {
    struct serve_session *session; /* NULL: a free place */
    struct hints hints;
};

struct serve_job {
    struct serve_args args;
    struct snapshot_frames *frames;
    struct lease *lease;
    int listen_fd;
    int over_fd;
    struct client clients[SERVE_CLIENTS_MAX];
    unsigned n_clients;
    uint64_t renew_ns; /* when the lease is due */
    bool stopping;
    bool served_one;
    struct error first; /* of a client */
};

/* ---- The socket ---- */

/* A socket whose server was killed is still there, but nobody answers. */
static int remove_stale_socket(const char *path, struct error *err)
{
    cleanup_close int fd = -1;
    struct error why = ERROR_INIT;
    struct stat st;

    if (lstat(path, &st) < 0)
        return 0; /* channel_listen() says what is wrong */
    if (!S_ISSOCK(st.st_mode))
        return fail(err, ERR_EXISTS, "'%s' is there and is no socket", path);
    if (channel_connect(path, &fd, &why) == 0)
        return fail(err, ERR_EXISTS, "somebody else listens at '%s'", path);
    if (why.sys_errno == ECONNREFUSED && unlink(path) < 0 && errno != ENOENT)
        return fail_errno(err, ERR_IO, "stale socket '%s' stays", path);
    return 0;
}

/* ---- Clients ---- */

static void load_hints(struct serve_job *j, struct hints *ret)
{
    struct error why = ERROR_INIT;

    *ret = (struct hints){0};
    if (hints_load(j->args.repository, j->args.id, ret, &why) < 0)
        log_warn("no hints are used: %s", why.message);
}

static int accept_client(struct serve_job *j, struct error *err)
{
    struct serve_session_args args = {
        .job = &j->args,
        .frames = j->frames,
        .image_bytes = snapshot_frames_blocks(j->frames)->blocks[0].used_bytes,
        .over_fd = j->over_fd,
    };
    struct client *c = j->clients;
    int sock = -1;
    int rc = channel_accept(j->listen_fd, j->args.stop, 0, &sock, err);

    if (rc < 0)
        return rc;
    while (c->session)
        c++;
    load_hints(j, &c->hints);
    args.hints = j->args.prefetch ? &c->hints : NULL;
    rc = serve_session_start(&args, sock, &c->session, err);
    if (rc < 0) {
        /* This client's trouble, not the others'. */
        c->session = NULL;
        hints_release(&c->hints);
        j->args.note(j->args.arg, err->message);
        return 0;
    }
    j->n_clients++;
    return 0;
}

/* What the run asked for goes into the hints that are there by now: other
 * clients may have ended since. */
static void store_hints(struct client *c)
{
    struct error why = ERROR_INIT;

    if (serve_session_was_served(c->session) &&
        serve_session_store_run(c->session, RUN_MIN_PAGES, &why) < 0)
        log_warn("hints were not kept: %s", why.message);
}

static void end_client(struct serve_job *j, struct client *c)
{
    struct serve_client report;

    serve_session_report(c->session, &report);
    if (report.error.code && j->first.code == 0)
        error_copy(&j->first, &report.error);
    if (report.error.code)
        j->args.note(j->args.arg, report.error.message);
    if (serve_session_was_served(c->session))
        j->args.client(j->args.arg, &report);
    store_hints(c);
    serve_session_free(c->session);
    c->session = NULL;
    hints_release(&c->hints);
    j->n_clients--;
    j->served_one = true;
}

static void end_clients(struct serve_job *j)
{
    for (unsigned i = 0; i < SERVE_CLIENTS_MAX; i++) {
        struct client *c = &j->clients[i];

        if (c->session && serve_session_is_over(c->session))
            end_client(j, c);
    }
}

static void report_clients(struct serve_job *j)
{
    for (unsigned i = 0; i < SERVE_CLIENTS_MAX; i++) {
        struct serve_client report;

        if (!j->clients[i].session)
            continue;
        serve_session_report(j->clients[i].session, &report);
        j->args.client(j->args.arg, &report);
    }
}

static void finish_clients(struct serve_job *j)
{
    j->stopping = true;
    for (unsigned i = 0; i < SERVE_CLIENTS_MAX; i++) {
        if (j->clients[i].session)
            serve_session_finish(j->clients[i].session);
    }
}

/* ---- The loop ---- */

enum { WATCH_LISTEN, WATCH_OVER, WATCH_REPORT, WATCH_STOP, WATCH__COUNT };

static bool takes_clients(const struct serve_job *j)
{
    if (j->stopping)
        return false;
    if (j->args.once)
        return j->n_clients == 0 && !j->served_one;
    return j->n_clients < j->args.clients;
}

static bool is_done(const struct serve_job *j)
{
    return j->n_clients == 0 &&
           (j->stopping || (j->args.once && j->served_one));
}

/* Cheap while it is not yet time. */
static void renew_lease(struct serve_job *j)
{
    uint64_t now = clock_monotonic_ns();
    struct error why = ERROR_INIT;

    if (now < j->renew_ns)
        return;
    if (j->renew_ns && lease_renew(j->lease, &why) < 0)
        log_warn("the lease is not renewed: %s", why.message);
    j->renew_ns = now + RENEW_MS * NS_PER_MS;
}

static int loop(struct serve_job *j, struct error *err)
{
    int rc = 0;

    while (rc == 0 && !is_done(j)) {
        struct pollfd polled[WATCH__COUNT] = {
            [WATCH_LISTEN] = {.fd = takes_clients(j) ? j->listen_fd : -1,
                              .events = POLLIN},
            [WATCH_OVER] = {.fd = j->over_fd, .events = POLLIN},
            [WATCH_REPORT] = {.fd = j->args.report_fd, .events = POLLIN},
            [WATCH_STOP] = {.fd = j->stopping ? -1 : stopper_fd(j->args.stop),
                            .events = POLLIN},
        };
        uint64_t ignored;

        if (poll(polled, WATCH__COUNT, RENEW_MS) < 0 && errno != EINTR)
            return fail_errno(err, ERR_IO, "poll failed");
        renew_lease(j);
        if (polled[WATCH_OVER].revents &&
            read(j->over_fd, &ignored, sizeof(ignored)) > 0)
            end_clients(j);
        if (polled[WATCH_REPORT].revents &&
            read(j->args.report_fd, &ignored, sizeof(ignored)) > 0)
            report_clients(j);
        if (polled[WATCH_STOP].revents)
            finish_clients(j);
        else if (polled[WATCH_LISTEN].revents && takes_clients(j))
            rc = accept_client(j, err);
    }
    return rc;
}

/* ---- Setting up ---- */

static int check_snapshot(struct serve_job *j, struct error *err)
{
    const struct ramblock_list *blocks = snapshot_frames_blocks(j->frames);

    if (blocks->n == 1 && !blocks->blocks[0].left_out)
        return 0;
    fail(err, ERR_INCOMPATIBLE,
         "snapshot '%s' has %u RAM blocks, and no flat image", j->args.id,
         blocks->n);
    return error_hint(err, "serve gives out what 'firn import --format raw' "
                           "took in; for QEMU use 'firn restore'");
}

static int set_up(struct serve_job *j, struct error *err)
{
    struct serve_args *a = &j->args;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t cache = a->cache_bytes ? a->cache_bytes : CACHE_BYTES;
    int rc;

    if (a->clients == 0)
        a->clients = CLIENTS_DEFAULT;
    a->clients = MIN(a->clients, SERVE_CLIENTS_MAX);
    if (a->workers == 0)
        a->workers = (unsigned)MAX(1L, MIN(cores, (long)WORKERS_MAX));
    j->over_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (j->over_fd < 0)
        return fail_errno(err, ERR_IO, "eventfd failed");
    rc = lease_acquire(a->repository, "restore", a->id, &j->lease, err);
    if (rc == 0)
        rc = snapshot_frames_open(a->repository, a->id, cache, &j->frames, err);
    if (rc == 0)
        rc = check_snapshot(j, err);
    if (rc == 0)
        rc = remove_stale_socket(a->socket_path, err);
    if (rc == 0)
        rc = channel_listen(a->socket_path, BACKLOG, &j->listen_fd, err);
    return rc;
}

static void tear_down(struct serve_job *j)
{
    /* Nobody may come any more before the name is gone. */
    if (j->listen_fd >= 0) {
        unlink(j->args.socket_path);
        close(j->listen_fd);
    }
    finish_clients(j);
    for (unsigned i = 0; i < SERVE_CLIENTS_MAX; i++) {
        serve_session_free(j->clients[i].session);
        hints_release(&j->clients[i].hints);
    }
    snapshot_frames_close(j->frames);
    lease_release(j->lease);
    if (j->over_fd >= 0)
        close(j->over_fd);
}

int serve_job_run(const struct serve_args *args, struct error *err)
{
    struct serve_job *j = calloc(1, sizeof(*j));
    int rc;

    if (!j)
        return fail_nomem(err);
    j->args = *args;
    j->listen_fd = -1;
    j->over_fd = -1;
    rc = set_up(j, err);
    if (rc == 0) {
        if (args->listening)
            args->listening(args->arg);
        rc = loop(j, err);
    }
    tear_down(j);
    if (rc == 0 && j->first.code &&
        (args->once || j->first.code == ERR_CORRUPT))
        rc = error_copy(err, &j->first);
    free(j);
    return rc;
}

/*
 * serve_session.c - hello, serve, let go.
 *
 * The ends, and what each leaves behind in the client's memory:
 *   hang-up     the client is gone, or does not want us any more: closed as it
 *               is. Pages that are missing stay missing while the client holds
 *               its own descriptor; nobody is shown zeros for them.
 *   all is in   everything is unregistered: what the snapshot does not hold
 *               and what was removed is zero, and the kernel sees to that. The
 *               session goes on until the hang-up, without faults.
 *   finish      asked for by the job: first everything is placed, then as
 *               above, then the end. If that cannot be done (damage, time), as
 *               with hang-up; `kill` then ends the client.
 *   error       as with hang-up; `kill` ends the client.
 */
#include "restore/uffd/serve_session.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define LOG_AREA "serve"
#include "core/base/channel.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/worker.h"
#include "restore/uffd/handover.h"
#include "restore/uffd/snapshot_feed.h"

/* A client sends its message at once; who does not is none. */
#define HELLO_LIMIT_NS (UINT64_C(5) * NS_PER_SEC)
/* After this a finish is given up: the image may be of 100 GiB. */
#define FINISH_LIMIT_NS (UINT64_C(60) * NS_PER_SEC)

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

struct serve_session {
    /* set before the thread starts, then read only */
    struct serve_session_args args;
    int sock;
    int pidfd; /* of the client; -1: unknown */
    pid_t pid;
    uint64_t start_ns;
    struct worker_group thread;

    /* pulled by the job; also ends the hello */
    struct stopper finish;

    /* only the session's thread */
    uint64_t finish_deadline_ns; /* 0: not asked for */
    bool warned;                 /* that the client says more than it should */

    _Atomic bool over;
    _Atomic bool served;
    _Atomic bool resident;
    _Atomic uint64_t resident_us;
    _Atomic bool killed;

    /* protected by `lock` */
    struct lock lock; /* whether engine and feed may be asked */
    struct uffd_engine *engine GUARDED_BY(lock);
    struct snapshot_feed *feed GUARDED_BY(lock);
    struct error error GUARDED_BY(lock);
    struct error damage GUARDED_BY(lock); /* the first one */
};

/* ---- The client's process ---- */

static void find_peer(struct serve_session *s)
{
    struct channel_peer peer = {0};
    struct error ignored;
    socklen_t len = sizeof(s->pidfd);

    if (channel_peer(s->sock, &peer, &ignored) == 0)
        s->pid = peer.pid;
    /* By the socket no other process can be meant; by the number, almost. */
    if (getsockopt(s->sock, SOL_SOCKET, SO_PEERPIDFD, &s->pidfd, &len) < 0)
        s->pidfd = s->pid > 0 ? (int)syscall(SYS_pidfd_open, s->pid, 0) : -1;
}

static void kill_client(struct serve_session *s)
{
    if (s->args.job->on_error != SERVE_ON_ERROR_KILL)
        return;
    if (s->pidfd < 0 ||
        syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0) < 0)
        log_warn("client %d could not be ended: %s", (int)s->pid,
                 strerror(errno));
    else
        s->killed = true;
}

static void keep_error(struct serve_session *s, const struct error *why)
{
    LOCK_SCOPE(&s->lock);

    if (s->error.code == 0)
        error_copy(&s->error, why);
}

/* Of the feed: a page that cannot be had. Any thread. */
static int on_damage(void *arg, pgno_t pgno, const struct error *why,
                     struct error *err)
{
    struct serve_session *s = arg;
    bool first;

    log_warn("client %d: page %llu cannot be served: %s", (int)s->pid,
             (unsigned long long)pgno, why->message);
    lock_take(&s->lock);
    first = s->damage.code == 0;
    if (first)
        error_copy(&s->damage, why);
    lock_drop(&s->lock);
    if (first)
        kill_client(s);
    return 0;
}

/* ---- Hello ---- */

static int make_feed(struct serve_session *s, uint32_t page_bytes,
                     struct error *err)
{
    struct snapshot_feed_args args = {
        .frames = s->args.frames,
        .block = s->args.block,
        .page_bytes = page_bytes,
        .workers = s->args.job->workers,
        .hints = s->args.hints,
        .damaged = on_damage,
        .arg = s,
    };
    struct snapshot_feed *feed;
    int rc = snapshot_feed_new(&args, &feed, err);

    if (rc < 0)
        return rc;
    lock_take(&s->lock);
    s->feed = feed;
    lock_drop(&s->lock);
    return 0;
}

static int make_engine(struct serve_session *s, uint32_t page_bytes,
                       struct error *err)
{
    struct uffd_engine_args args = {
        .image_bytes = s->args.image_bytes / page_bytes * page_bytes,
        .page_bytes = page_bytes,
        .skip_probe = true, /* the descriptor is there: that is the proof */
        .provider = snapshot_feed_provider(s->feed),
    };
    struct uffd_engine *engine;
    int rc = uffd_engine_new(&args, &engine, err);

    if (rc < 0)
        return rc;
    lock_take(&s->lock);
    s->engine = engine;
    lock_drop(&s->lock);
    return uffd_engine_advise(engine, err);
}

/* From the message to the first answer. The feed learns the engine before any
 * fault can come. */
static int hello(struct serve_session *s, struct error *err)
{
    cleanup(handover) struct handover h = HANDOVER_INIT;
    struct uffd_attach_args attach = {.fd = -1};
    int rc = handover_receive(s->sock, s->args.image_bytes, &s->finish,
                              s->start_ns + HELLO_LIMIT_NS, &h, err);

    if (rc < 0)
        return error_wrap(err, "client %d", (int)s->pid);
    if (s->args.image_bytes % h.page_bytes != 0)
        return fail(err, ERR_INCOMPATIBLE,
                    "client %d: the image is no multiple of its pages of %u "
                    "bytes",
                    (int)s->pid, h.page_bytes);
    attach.regions = h.regions;
    attach.n_regions = h.n_regions;
    attach.fd = h.fd;
    rc = make_feed(s, h.page_bytes, err);
    if (rc == 0)
        rc = make_engine(s, h.page_bytes, err);
    if (rc == 0)
        rc = uffd_engine_attach(s->engine, &attach, err);
    if (rc == 0)
        h.fd = -1; /* the engine's, to be closed by its end */
    if (rc == 0)
        snapshot_feed_set_engine(s->feed, s->engine);
    if (rc == 0)
        rc = uffd_engine_listen(s->engine, err);
    if (rc == 0)
        rc = uffd_engine_run(s->engine, err);
    if (rc == 0)
        rc = snapshot_feed_start(s->feed, s->args.job->fill, err);
    if (rc < 0)
        return error_wrap(err, "client %d", (int)s->pid);
    s->served = true;
    log_debug("client %d: %u regions, pages of %u bytes, first answer after "
              "%llu us",
              (int)s->pid, h.n_regions, h.page_bytes,
              (unsigned long long)(clock_monotonic_ns() - s->start_ns) / 1000);
    return 0;
}

/* ---- Serving ---- */

/* The client is gone. What it says besides is dropped: nothing is due. */
static bool client_left(struct serve_session *s, short revents)
{
    char dropped[4096];
    ssize_t n;

    if (revents & (POLLHUP | POLLERR | POLLNVAL))
        return true;
    if (!(revents & (POLLIN | POLLRDHUP)))
        return false;
    n = recv(s->sock, dropped, sizeof(dropped), MSG_DONTWAIT);
    if (n > 0 && !s->warned)
        log_warn("client %d says more than its memory; it is not heard",
                 (int)s->pid);
    s->warned |= n > 0;
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* The workers have nothing to do any more. *ret_end: nor has the session. */
static void on_feed_done(struct serve_session *s, bool *ret_end)
{
    struct uffd_space *space = uffd_engine_space(s->engine, 0);

    if (snapshot_feed_full(s->feed) && !s->resident) {
        s->resident_us = (clock_monotonic_ns() - s->start_ns) / 1000;
        uffd_space_unregister(space);
        s->resident = true;
    }
    *ret_end = s->finish_deadline_ns != 0;
}

static int start_finish(struct serve_session *s, bool *ret_end,
                        struct error *err)
{
    s->finish_deadline_ns = clock_monotonic_ns() + FINISH_LIMIT_NS;
    *ret_end = s->resident;
    return s->resident ? 0 : snapshot_feed_fill(s->feed, err);
}

enum { WATCH_CLIENT, WATCH_ENGINE, WATCH_FEED, WATCH_FINISH, WATCH__COUNT };

static int serve(struct serve_session *s, struct error *err)
{
    struct pollfd polled[WATCH__COUNT] = {
        [WATCH_CLIENT] = {.fd = s->sock, .events = POLLIN | POLLRDHUP},
        [WATCH_ENGINE] = {.fd = uffd_engine_over_fd(s->engine),
                          .events = POLLIN},
        [WATCH_FEED] = {.fd = snapshot_feed_done_fd(s->feed), .events = POLLIN},
        [WATCH_FINISH] = {.fd = stopper_fd(&s->finish), .events = POLLIN},
    };
    bool end = false;
    int rc = 0;

    while (!end && rc == 0) {
        uint64_t ignored;

        if (poll(polled, WATCH__COUNT, clock_poll_ms(s->finish_deadline_ns)) <
                0 &&
            errno != EINTR)
            return fail_errno(err, ERR_IO, "poll failed");
        if (client_left(s, polled[WATCH_CLIENT].revents) ||
            polled[WATCH_ENGINE].revents)
            break;
        if (polled[WATCH_FEED].revents &&
            read(polled[WATCH_FEED].fd, &ignored, sizeof(ignored)) > 0)
            on_feed_done(s, &end);
        if (polled[WATCH_FINISH].revents) {
            polled[WATCH_FINISH].fd = -1;
            rc = start_finish(s, &end, err);
        }
        if (s->finish_deadline_ns &&
            clock_monotonic_ns() >= s->finish_deadline_ns)
            end = true;
    }
    return rc;
}

/* Joins everything. Engine and feed stay to be asked for their counts. */
static int let_go(struct serve_session *s, struct error *err)
{
    struct error why = ERROR_INIT;
    int rc = 0;

    if (s->engine && s->feed)
        rc = snapshot_feed_stop(s->feed, err);
    if (s->engine &&
        uffd_engine_end(s->engine,
                        s->resident ? UFFD_END_RELEASE : UFFD_END_LEAVE,
                        &why) < 0 &&
        rc == 0)
        rc = error_copy(err, &why);
    return rc;
}

static int session_main(void *arg, struct error *err)
{
    struct serve_session *s = arg;
    struct error why = ERROR_INIT;
    struct error late = ERROR_INIT;
    uint64_t one = 1;
    int rc = hello(s, &why);

    if (rc == 0)
        rc = serve(s, &why);
    /* A session that was to finish and could not leaves a client that waits. */
    if (s->served && (rc < 0 || (s->finish_deadline_ns && !s->resident)))
        kill_client(s);
    if (let_go(s, &late) < 0 && rc == 0) {
        rc = error_copy(&why, &late);
        kill_client(s);
    }
    if (rc < 0)
        keep_error(s, &why);
    close(s->sock);
    s->sock = -1;
    s->over = true;
    if (write(s->args.over_fd, &one, sizeof(one)) < 0)
        log_debug("the job knows already");
    return 0;
}

/* ---- For the job's thread ---- */

static void cancel(void *arg)
{
    /* session_main() keeps its errors to itself. */
}

int serve_session_start(const struct serve_session_args *args, int sock,
                        struct serve_session **ret, struct error *err)
{
    struct serve_session *s = calloc(1, sizeof(*s));
    int rc;

    if (!s) {
        close(sock);
        return fail_nomem(err);
    }
    s->args = *args;
    s->sock = sock;
    s->pidfd = -1;
    s->start_ns = clock_monotonic_ns();
    lock_init(&s->lock);
    worker_group_init(&s->thread, cancel, s);
    find_peer(s);
    rc = stopper_init(&s->finish, err);
    if (rc == 0)
        rc = worker_start(&s->thread, "client", session_main, s, err);
    if (rc < 0) {
        close(sock);
        serve_session_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void serve_session_finish(struct serve_session *s)
{
    stopper_pull(&s->finish, ERR_TERMINATED);
}

bool serve_session_is_over(const struct serve_session *s)
{
    return s->over;
}

bool serve_session_was_served(const struct serve_session *s)
{
    return s->served;
}

void serve_session_report(struct serve_session *s, struct serve_client *ret)
{
    struct uffd_engine_stats engine = {0};
    struct snapshot_feed_stats feed = {0};
    struct uffd_engine *e;
    struct snapshot_feed *f;

    *ret = (struct serve_client){
        .pid = s->pid,
        .running = !s->over,
        .resident = s->resident,
        .resident_us = s->resident_us,
        .elapsed_ms = (clock_monotonic_ns() - s->start_ns) / NS_PER_MS,
    };
    lock_take(&s->lock);
    e = s->engine;
    f = s->feed;
    error_copy(&ret->error, s->error.code ? &s->error : &s->damage);
    lock_drop(&s->lock);
    /* Both live as long as the session, once they are there. */
    if (e)
        uffd_engine_stats(e, &engine);
    if (f && s->served)
        snapshot_feed_stats(f, &feed);
    ret->faults = engine.faults;
    ret->fault_p50_us = fault_stats_percentile_us(&engine.latency, 50);
    ret->fault_p99_us = fault_stats_percentile_us(&engine.latency, 99);
    ret->removed_pages = engine.removed;
    ret->prefetched_pages = feed.prefetched;
    ret->prefetch_sampled = feed.prefetch_held;
    ret->prefetch_unasked = feed.prefetch_missed;
    ret->filled_pages = feed.filled;
    ret->near_pages = feed.near_pages;
    ret->damaged_pages = feed.damaged;
    ret->read_bytes = feed.read_bytes;
    ret->worker_cpu_us = feed.worker_cpu_ns / 1000;
}

int serve_session_store_run(struct serve_session *s, size_t min_pages,
                            struct error *err)
{
    assert(s->over && s->feed);
    return snapshot_feed_store_run(s->feed, s->args.job->repository,
                                   s->args.job->id, min_pages, err);
}

void serve_session_free(struct serve_session *s)
{
    if (!s)
        return;
    worker_group_release(&s->thread);
    uffd_engine_free(s->engine);
    snapshot_feed_free(s->feed);
    if (s->pidfd >= 0)
        close(s->pidfd);
    stopper_release(&s->finish);
    lock_release(&s->lock);
    free(s);
}

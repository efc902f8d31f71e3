/*
 * Two ways of failing meet here: a thread of ours fails (disk full, a broken
 * stream), or the wait on QEMU does (a signal, the time limit, QEMU's end).
 * Either stops the threads, closes the sockets, cancels QEMU's migration and
 * then sees the VM back into its state; the error told is the one that came
 * first. When the stream merely broke off, QEMU is asked why.
 *
 * The exception is a background save before QEMU 9.0: one that is cancelled or
 * whose file cannot be written leaves the guest hanging. There the file stays
 * (its room is reserved), QEMU writes to the end, and we wait for that.
 */
#include "snapshot/capture.h"

#include <inttypes.h>
#include <poll.h>

#include "core/base/clock.h"
#include "core/qmp/vm_facts.h"
#include "storage/space.h"

#define LOG_AREA "capture"
#include "core/base/log.h"

#define ACCEPT_NS (15 * NS_PER_SEC)
#define SETTLE_NS (20 * NS_PER_SEC)

/* How long a run that gives up waits for a save that cannot be cancelled. */
#define UNCANCELLED_NS (60 * NS_PER_SEC)

/* How often the user hears of progress, at least. */
#define TICK_MS 100

static void say(struct capture *c, const char *text)
{
    log_debug("%s", text);
    if (c->args->note)
        c->args->note(c->args->arg, text);
}

/* Beginning. */

static void cancel_threads(void *arg)
{
    struct capture *c = arg;

    stopper_pull(&c->work, ERR_CANCELLED);
    page_writer_cancel(c->pages);
    if (c->multifd)
        multifd_receiver_cancel(c->multifd);
}

/* In the receiver's thread: the VM stands still at the captured instant. */
static int on_proved(void *arg, struct error *err)
{
    struct capture *c = arg;
    const struct snapshot_event event = {.moment = SNAPSHOT_PAUSED};
    int rc = vm_facts_stat_disks(c->facts, err);

    if (rc < 0 || !c->args->moment || c->source->mode == SNAPSHOT_BACKGROUND)
        return rc;
    return c->args->moment(c->args->arg, &event, err);
}

static int open_socket(struct capture *c, struct stream_receiver_args *args,
                       struct error *err)
{
    int rc = socket_folder_open(&c->socket,
                                qmp_session_peer_uid(c->source->qmp), err);

    args->listen_fd = c->socket.listen_fd;
    args->accept_deadline_ns = clock_monotonic_ns() + ACCEPT_NS;
    args->proved = on_proved;
    return rc;
}

/* The disk is left before it is full: what is free would still do for the
 * commit of a snapshot, not for many more pages. */
static int check_room(struct capture *c, struct error *err)
{
    return space_check(c->args->repository, c->args->reserve_bytes, 0, err);
}

static int make_channels(struct capture *c, struct stream_receiver_args *args,
                         struct error *err)
{
    const struct multifd_receiver_args multifd = {
        .pages = c->pages,
        .store = c->store,
        .throttle = &c->throttle,
        .stop = &c->work,
        .n_channels = c->channels,
        .method = c->method,
    };
    int rc = multifd_receiver_new(&multifd, &c->multifd, err);

    args->multifd = c->multifd;
    args->n_channels = c->channels;
    return rc;
}

static int open_spool(struct capture *c, struct stream_receiver_args *args,
                      struct error *err)
{
    uint64_t bytes =
        spool_worst_case_bytes(json_object_get(c->facts, "ramblocks"));
    int rc = spool_open(&c->spool, c->args->repository, bytes, err);

    if (rc == 0)
        rc = check_room(c, err);
    if (rc == ERR_NOSPC)
        error_wrap(err, "mode background needs %" PRIu64 " MiB for a while",
                   bytes >> 20);
    if (rc == 0)
        rc = spool_hand_over(&c->spool, c->source, err);
    args->spool_fd = c->spool.fd;
    args->faults = &c->faults;
    return rc;
}

static int make_receiver(struct capture *c, enum snapshot_mode mode,
                         struct error *err)
{
    struct stream_receiver_args args = {
        .pages = c->pages,
        .store = c->store,
        .stop = &c->work,
        .throttle = &c->throttle,
        .listen_fd = -1,
        .spool_fd = -1,
        .arg = c,
    };
    int rc = mode == SNAPSHOT_BACKGROUND ? open_spool(c, &args, err)
                                         : open_socket(c, &args, err);

    if (rc == 0 && mode == SNAPSHOT_STREAM && c->channels > 0)
        rc = make_channels(c, &args, err);
    return rc < 0 ? rc : stream_receiver_new(&args, &c->receiver, err);
}

static int start_threads(struct capture *c, struct error *err)
{
    int rc = page_writer_start(c->pages, &c->group, err);

    if (rc == 0 && c->multifd)
        rc = multifd_receiver_start(c->multifd, &c->group, err);
    if (rc < 0)
        return rc;
    return worker_start(&c->group, "receiver", stream_receiver_main,
                        c->receiver, err);
}

static int start_qemu(struct capture *c, struct error *err)
{
    char uri[sizeof("unix:") + sizeof(c->socket.path)];
    int rc;

    if (c->source->mode == SNAPSHOT_STREAM) {
        snprintf(uri, sizeof(uri), "unix:%s", c->socket.path);
        return qemu_source_start(c->source, uri, err);
    }
    rc = vm_facts_stat_disks(c->facts, err);
    if (rc == 0)
        rc = qemu_source_start(c->source, c->spool.uri, err);
    /* QEMU has just cut the file to nothing, and the reservation with it. */
    if (rc == 0 && c->spool.fdset >= 0)
        rc = spool_reserve(&c->spool, err);
    return rc;
}

static int begin(struct capture *c, enum snapshot_mode mode, struct error *err)
{
    const struct qemu_wishes wishes = {
        .mode = mode,
        .downtime_limit_ms =
            convergence_limit_ms(c->args->max_downtime_ms, false),
        .auto_converge = c->args->auto_converge,
        .bandwidth_bytes_per_s = c->args->max_bandwidth_bytes_per_s,
        .channels = c->channels,
        .method = multifd_method_name(c->method),
    };
    int rc = qemu_source_set_up(c->source, &wishes, err);

    throttle_init(&c->throttle, c->args->max_bandwidth_bytes_per_s);
    precopy_watch_init(&c->watch, c->source, c->args->max_downtime_ms,
                       c->args->auto_converge, clock_monotonic_ns());
    if (rc == 0)
        rc = make_receiver(c, mode, err);
    if (rc == 0)
        rc = start_threads(c, err);
    return rc < 0 ? rc : start_qemu(c, err);
}

/* The state. */

static bool in_state(const struct capture *c, enum migration_state state)
{
    return c->migration.state == state;
}

/* Our own moves are in the table, or this program is wrong. */
static void enter(struct capture *c, enum migration_state to)
{
    struct error err;
    int rc = migration_state_move(&c->migration, c->migration.state, to, &err);

    assert(rc == 0);
    (void)rc;
}

/* As far as what has come allows, one move at a time. */
static void advance(struct capture *c)
{
    struct migration *m = &c->migration;

    if (in_state(c, MIGRATION_NONE) && c->source->started)
        enter(c, MIGRATION_SETUP);
    if (in_state(c, MIGRATION_SETUP) &&
        stream_receiver_ram_bytes(c->receiver) > 0) {
        m->blocks_known = true;
        enter(c, MIGRATION_ACTIVE);
    }
    /* A background save's pause is over before its pages come. */
    m->vm_stopped = c->source->stop_ns && !c->source->resumed;
    if (in_state(c, MIGRATION_ACTIVE) && m->vm_stopped &&
        c->source->mode == SNAPSHOT_STREAM)
        enter(c, MIGRATION_DEVICE);
}

static void conclude(struct capture *c, int rc)
{
    advance(c);
    if (rc == 0) {
        c->migration.tail_proved = true;
        enter(c, MIGRATION_COMPLETED);
    } else if (in_state(c, MIGRATION_NONE) ||
               (rc != ERR_INTERRUPTED && rc != ERR_TERMINATED &&
                rc != ERR_TIMEOUT)) {
        enter(c, MIGRATION_FAILED);
    } else {
        enter(c, MIGRATION_CANCELLING);
        enter(c, MIGRATION_CANCELLED);
    }
}

/* Following. */

static const char *phase(const struct capture *c, char text[static 32])
{
    if (c->source->mode == SNAPSHOT_BACKGROUND)
        return "background save";
    if (in_state(c, MIGRATION_DEVICE))
        return "switchover";
    snprintf(text, 32, "precopy round %u", MAX(c->source->rounds, 1u));
    return text;
}

static void tell_progress(struct capture *c)
{
    struct snapshot_writer_stats stats;
    struct snapshot_progress p;
    char text[32];

    if (!c->args->progress)
        return;
    snapshot_writer_stats(c->store, &stats);
    p = (struct snapshot_progress){
        .phase = phase(c, text),
        .done_bytes = stream_receiver_bytes(c->receiver),
        .total_bytes = stream_receiver_ram_bytes(c->receiver),
        .stored_bytes = stats.pack_bytes,
    };
    c->args->progress(c->args->arg, &p);
}

/* Until QEMU or a thread has news, the user stops us, or a tick is over. */
static int wait_for_news(struct capture *c, struct error *err)
{
    struct pollfd fds[] = {
        {.fd = qmp_session_fd(c->source->qmp), .events = POLLIN},
        {.fd = stopper_fd(c->args->stop), .events = POLLIN},
        {.fd = stopper_fd(&c->work), .events = POLLIN},
        {.fd = stream_receiver_fd(c->receiver), .events = POLLIN},
    };
    int limit_ms = clock_poll_ms(c->deadline_ns);

    limit_ms = limit_ms < 0 ? TICK_MS : MIN(limit_ms, TICK_MS);
    if (poll(fds, ARRAY_LEN(fds), limit_ms) < 0 && errno != EINTR)
        return fail_errno(err, ERR_IO, "poll failed");
    if (stopper_pulled(c->args->stop))
        return stopper_error(c->args->stop, err);
    if (c->deadline_ns && clock_monotonic_ns() >= c->deadline_ns)
        return fail(err, ERR_TIMEOUT,
                    "the capture was not complete within its time limit");
    return qemu_source_follow(c->source, err);
}

static int qemu_gave_up(struct capture *c, struct error *err)
{
    char reason[256];
    int rc;

    if (strcmp(c->source->status, "cancelled") == 0)
        return fail(err, ERR_UNSUPPORTED,
                    "somebody cancelled the migration while it was captured");
    rc = qemu_source_reason(c->source, reason, sizeof(reason), err);
    if (rc < 0)
        return rc;
    return fail(err, ERR_UNSUPPORTED, "QEMU gave the migration up: %s",
                reason[0] ? reason : "it does not say why");
}

static bool threads_stopped(struct capture *c)
{
    return stream_receiver_ended(c->receiver) || stopper_pulled(&c->work);
}

/* News of the migration's end, in either mode. When a thread of ours stopped
 * before, QEMU fails because of that, and the thread's error is the one. */
static int look_at_end(struct capture *c, struct error *err)
{
    const struct qemu_source *s = c->source;

    if (!s->ended || stream_receiver_proved(c->receiver) || threads_stopped(c))
        return 0;
    if (s->mode == SNAPSHOT_BACKGROUND && strcmp(s->status, "completed") == 0) {
        stream_receiver_spool_done(c->receiver);
        return 0;
    }
    return qemu_gave_up(c, err);
}

static int follow(struct capture *c, struct error *err)
{
    int rc = 0;

    while (rc == 0 && !threads_stopped(c)) {
        if (stream_receiver_connected(c->receiver))
            socket_folder_unlink(&c->socket);
        advance(c);
        tell_progress(c);
        rc = wait_for_news(c, err);
        if (rc == 0)
            rc = look_at_end(c, err);
        if (rc == 0 && !threads_stopped(c))
            rc = check_room(c, err);
        if (rc == 0 && !threads_stopped(c))
            rc = precopy_watch_look(&c->watch,
                                    stream_receiver_bytes(c->receiver),
                                    clock_monotonic_ns(), err);
    }
    return rc;
}

/* Ending. */

static bool is_uncancelled(const struct capture *c)
{
    return c->source->started && !c->source->ended &&
           !qemu_source_may_cancel(c->source);
}

/* Our sockets are closed by now: QEMU's monitor does not answer while it waits
 * for their end. */
static void stop_qemu(struct capture *c)
{
    if (!is_uncancelled(c))
        qemu_source_cancel(c->source);
    else
        say(c, "QEMU must finish this background save, else its guest would "
               "hang; waiting for it, at most 60 s");
}

/* Brings the VM to its state and QEMU's settings back; a failure to do the
 * latter is told, no more. */
static int put_right(struct capture *c, bool failed, struct error *err)
{
    struct error ignored = ERROR_INIT;
    uint64_t patience =
        failed && is_uncancelled(c) ? UNCANCELLED_NS : SETTLE_NS;
    int rc =
        qemu_source_settle(c->source, clock_monotonic_ns() + patience, err);

    spool_take_back(&c->spool, c->source);
    if (qemu_source_put_back(c->source, &ignored) < 0 && rc == 0)
        log_warn("QEMU's migration settings stay as they are: %s",
                 ignored.message);
    if (c->source->left_postmigrate &&
        strcmp(c->source->found_state, "postmigrate") != 0)
        say(c, "the VM stands still as before, but this QEMU calls that "
               "'postmigrate': 'cont' lets it go on, and only then can it be "
               "captured again");
    return rc;
}

/* Somebody paused the VM, or started it, while it was captured. */
static int compare_states(struct capture *c, struct error *err)
{
    struct qemu_source *s = c->source;
    const struct device_state *d =
        stream_decoder_device_state(stream_receiver_decoder(c->receiver));
    bool ran = strcmp(d->run_state, "running") == 0;

    if (ran && !qemu_source_found_running(s) && c->needs_standstill)
        return fail(err, ERR_UNSUPPORTED,
                    "the VM was started while it was captured; with this QEMU "
                    "the snapshot could be wrong");
    if (d->run_state[0] && ran != qemu_source_found_running(s))
        snprintf(s->found_state, sizeof(s->found_state), "%.31s", d->run_state);
    return 0;
}

/* A stream that broke off: QEMU knows why, or is no more. */
static int explain_cut(struct capture *c, const struct error *of_thread,
                       struct error *err)
{
    struct error why = ERROR_INIT;
    int rc = qemu_source_follow(c->source, &why);

    if (rc == 0)
        rc = qemu_gave_up(c, &why);
    if (rc == ERR_PEER || c->source->ended)
        return error_copy(err, &why);
    return error_copy(err, of_thread);
}

/* The threads have ended, by themselves or because `rc` says so. The first
 * error is the one that counts; a thread's only if it was not just stopped. */
static int judge(struct capture *c, int rc, struct error *err)
{
    struct error of_thread = ERROR_INIT;
    int joined = worker_group_join(&c->group, &of_thread);

    socket_folder_close(&c->socket);
    if (rc < 0)
        return rc;
    if (joined == 0)
        return compare_states(c, err);
    if (stream_receiver_cut(c->receiver))
        return explain_cut(c, &of_thread, err);
    return error_copy(err, &of_thread);
}

static int end(struct capture *c, int rc, struct error *err)
{
    struct error of_vm = ERROR_INIT;
    int settled;

    qmp_session_set_stopper(c->source->qmp, &c->calm);
    if (rc < 0)
        cancel_threads(c);
    rc = judge(c, rc, err);
    if (rc < 0)
        stop_qemu(c);
    settled = put_right(c, rc < 0, &of_vm);
    if (c->receiver)
        precopy_watch_end(&c->watch, stream_receiver_bytes(c->receiver),
                          clock_monotonic_ns());
    if (settled < 0 && rc == 0)
        rc = error_copy(err, &of_vm);
    else if (settled < 0 && rc != ERR_PEER)
        log_warn("after that: %s", of_vm.message);
    conclude(c, rc);
    return rc;
}

void capture_init(struct capture *c, const struct snapshot_args *args)
{
    *c = (struct capture){
        .args = args,
        .work.fd = -1,
        .calm.fd = -1,
        .socket = SOCKET_FOLDER_INIT,
        .spool = SPOOL_INIT,
    };
}

int capture_run(struct capture *c, enum snapshot_mode mode, struct error *err)
{
    int rc;

    rc = page_writer_new(c->store, c->lanes, &c->pages, err);
    if (rc == 0)
        rc = stopper_init(&c->work, err);
    if (rc == 0)
        rc = stopper_init(&c->calm, err);
    if (rc < 0)
        return rc;
    worker_group_init(&c->group, cancel_threads, c);
    rc = begin(c, mode, err);
    if (rc == 0)
        rc = follow(c, err);
    return end(c, rc, err);
}

void capture_release(struct capture *c)
{
    worker_group_release(&c->group);
    stream_receiver_free(c->receiver);
    fault_order_release(&c->faults);
    multifd_receiver_free(c->multifd);
    page_writer_free(c->pages);
    socket_folder_close(&c->socket);
    spool_close(&c->spool);
    stopper_release(&c->work);
    stopper_release(&c->calm);
}

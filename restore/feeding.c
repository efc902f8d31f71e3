/*
 * What must have been heard before the front is told:
 *
 *   running   lazy   RESUME from QEMU and "loaded" from the pager, or "loaded"
 *                    alone when the VM comes back paused
 *             eager  RESUME and "resident", or `completed` without RESUME: it
 *                    is paused
 *   resident  `completed` from QEMU and "resident" from the pager
 *
 * Before the VM runs, any failure is final: QEMU cannot be fed twice. The
 * sockets close, QEMU ends by itself and says why on standard error, so its
 * end is awaited before an error is worded.
 *
 * Afterwards a lost pager is replaced. QEMU goes to postcopy-paused when its
 * socket closes; the VM runs on until it touches a missing page. The handshake
 * of the next pager (ask for all received bitmaps, RESUME) is written into a
 * spare socketpair in one piece *before* QEMU looks at it: a connection that
 * broke in the middle of this handshake would end QEMU 7.2. Then QEMU is told
 * to take the other end, out of band, since its main loop may be waiting for
 * a page.
 */
#include "restore/feeding.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>

#include "core/base/clock.h"
#include "restore/pager_process.h"
#include "restore/postcopy_prologue.h"

#define LOG_AREA "keeper"
#include "core/base/log.h"

#define END_LIMIT_NS     (5 * NS_PER_SEC)  /* QEMU's end after a failure */
#define RESUME_LIMIT_NS  (200 * NS_PER_MS) /* RESUME behind "loaded" */
#define STATUS_PAUSE_NS  (500 * NS_PER_MS) /* between two query-status */
#define LAST_WORDS_NS    (2 * NS_PER_SEC)  /* of a pager whose socket broke */
#define PAUSED_LIMIT_NS  (10 * NS_PER_SEC) /* postcopy-paused after a loss */
#define SETTLE_LIMIT_NS  (10 * NS_PER_SEC) /* `completed` behind SHUT */
#define LEASE_RENEWAL_NS (1800 * NS_PER_SEC)

struct feeding {
    struct feeding_args *args;
    struct pager_process pager;
    bool pager_gone;
    struct error pager_error;
    json_t *resident; /* the pager's last report */
    bool resident_told;
    uint64_t read_bytes;
    uint64_t image_bytes;
    bool loaded;
    uint64_t ask_at_ns; /* when to ask for the state; 0: not */
    bool resumed;
    uint64_t resumed_ns;
    bool running; /* told to the front */
    bool postcopy_paused;
    bool completed;
    bool failed;
    bool qemu_gone;
    struct error damage;
    bool damage_asked_for;
    bool exhausted;
    bool exhausted_told;
    uint64_t settle_by_ns;
    uint64_t paused_by_ns;
    uint64_t renew_at_ns;
    unsigned spares_used;
};

/* To the front. */

static void tell(struct feeding *f, json_t *message)
{
    struct error ignored = ERROR_INIT;

    if (link_send(f->args->front, message, &ignored) < 0)
        log_debug("the front was not told: %s", ignored.message);
}

static void note(struct feeding *f, const char *text)
{
    tell(f, json_pack("{s:s, s:s}", "type", "note", "text", text));
}

/* QEMU's events. */

static void take_migration_event(struct feeding *f, const char *status)
{
    if (strcmp(status, "completed") == 0)
        f->completed = true;
    else if (strcmp(status, "failed") == 0)
        f->failed = true;
    else if (strcmp(status, "postcopy-paused") == 0)
        f->postcopy_paused = true;
    else if (strcmp(status, "postcopy-active") == 0)
        f->postcopy_paused = false;
}

static void take_event(struct feeding *f, const json_t *event)
{
    const char *name = json_path_str(event, "event", "");

    if (strcmp(name, "RESUME") == 0 && !f->resumed) {
        f->resumed = true;
        f->resumed_ns = clock_monotonic_ns();
    } else if (strcmp(name, "MIGRATION") == 0) {
        take_migration_event(f, json_path_str(event, "data.status", ""));
    }
}

static int take_events(struct feeding *f, struct error *err)
{
    while (!f->qemu_gone) {
        cleanup_json json_t *event = NULL;
        struct error why = ERROR_INIT;
        int rc = qmp_session_poll_event(f->args->target->qmp, &event, &why);

        if (rc == ERR_PEER) {
            log_debug("%s", why.message);
            f->qemu_gone = true;
        } else if (rc < 0) {
            return error_copy(err, &why);
        }
        if (!event)
            return 0;
        take_event(f, event);
    }
    return 0;
}

/* The pager's reports. */

static void take_figures(struct feeding *f, const json_t *m)
{
    f->read_bytes =
        (uint64_t)json_path_int(m, "read_bytes", (int64_t)f->read_bytes);
    f->image_bytes =
        (uint64_t)json_path_int(m, "image_bytes", (int64_t)f->image_bytes);
}

static void take_damage(struct feeding *f, const json_t *m)
{
    if (f->damage.code == 0)
        link_error_of(json_path(m, "error"), &f->damage);
    if (json_path_bool(m, "asked_for", false))
        f->damage_asked_for = true;
}

static void take_report(struct feeding *f, json_t *m)
{
    take_figures(f, m);
    if (link_is(m, "loaded")) {
        f->loaded = true;
        f->ask_at_ns = clock_monotonic_ns() + RESUME_LIMIT_NS;
    } else if (link_is(m, "damage")) {
        take_damage(f, m);
    } else if (link_is(m, "exhausted")) {
        f->exhausted = true;
    } else if (link_is(m, "resident")) {
        json_decref(f->resident);
        f->resident = json_incref(m);
        f->settle_by_ns = clock_monotonic_ns() + SETTLE_LIMIT_NS;
    } else if (link_is(m, "error")) {
        link_error_of(m, &f->pager_error);
    }
}

static int take_reports(struct feeding *f, struct error *err)
{
    while (!f->pager_gone) {
        cleanup_json json_t *m = NULL;
        int rc = link_poll(&f->pager.link, &m, err);

        if (rc < 0)
            return rc;
        if (m) {
            take_report(f, m);
        } else if (f->pager.link.ended) {
            pager_process_reap(&f->pager);
            f->pager_gone = true;
            f->paused_by_ns = clock_monotonic_ns() + PAUSED_LIMIT_NS;
        } else {
            return 0;
        }
    }
    return 0;
}

/* Running. */

/* From here on the VM lives without the front: its end and its signals do not
 * concern us any more. */
static int leave_front(struct feeding *f, struct error *err)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct stopper *stop = f->args->target->stop;
    sigset_t set;
    sigset_t old;
    int rc = 0;

    prctl(PR_SET_PDEATHSIG, 0);
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        sigaddset(&set, numbers[i]);
    sigprocmask(SIG_BLOCK, &set, &old);
    /* A signal may have come together with RESUME: the VM runs, it lost. */
    if (stopper_pulled(stop)) {
        stopper_release(stop);
        rc = stopper_init(stop, err);
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        signal(numbers[i], SIG_IGN);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return rc;
}

static int tell_running(struct feeding *f, bool paused, struct error *err)
{
    const struct target *t = f->args->target;
    uint64_t at_ns = f->resumed ? f->resumed_ns : clock_monotonic_ns();
    int rc = leave_front(f, err);

    f->running = true;
    f->ask_at_ns = 0;
    tell(f, json_pack("{s:s, s:I, s:I, s:I, s:I, s:s}", "type", "running",
                      "elapsed_ms",
                      (json_int_t)((at_ns - f->args->begun_ns) / NS_PER_MS),
                      "read_bytes", (json_int_t)f->read_bytes, "image_bytes",
                      (json_int_t)f->image_bytes, "qemu_pid",
                      (json_int_t)t->pid, "qmp", t->qmp_path));
    if (paused)
        note(f, "the VM stands still, as it did when it was captured; 'cont' "
                "lets it go on");
    return rc;
}

/* Neither RESUME nor certainty: a QEMU that was started with -S loads and then
 * stands still without an event. */
static int ask_whether_paused(struct feeding *f, bool *ret, struct error *err)
{
    cleanup_free char *state = NULL;
    struct error why = ERROR_INIT;
    int rc = target_run_state(f->args->target, &state, &why);

    *ret = false;
    f->ask_at_ns = clock_monotonic_ns() + STATUS_PAUSE_NS;
    if (rc == 0) {
        rc = take_events(f, err);
        *ret = !f->resumed && (strcmp(state, "paused") == 0 ||
                               strcmp(state, "prelaunch") == 0);
        return rc;
    }
    /* The main loop waits for a page: it will be asked again. */
    if (rc == ERR_PEER)
        return 0;
    return error_copy(err, &why);
}

static int look_whether_running(struct feeding *f, struct error *err)
{
    bool lazy = !f->args->job->eager;
    bool paused = false;
    int rc = 0;

    if (f->resumed && (f->loaded || f->resident || f->pager_gone))
        return tell_running(f, false, err);
    if (lazy ? (f->loaded && f->args->paused) : f->args->paused && f->completed)
        return tell_running(f, true, err);
    if (!lazy && f->completed && f->ask_at_ns == 0)
        f->ask_at_ns = clock_monotonic_ns();
    if (f->ask_at_ns && clock_monotonic_ns() >= f->ask_at_ns)
        rc = ask_whether_paused(f, &paused, err);
    if (rc == 0 && paused)
        rc = tell_running(f, true, err);
    return rc;
}

/* Failures. */

/* The pager's own reason: damage and the like. That the peer is gone is none,
 * it only follows from one. */
static bool pager_has_reason(const struct feeding *f)
{
    return f->pager_error.code != 0 && f->pager_error.code != ERR_PEER &&
           f->pager_error.code != ERR_IO;
}

/* QEMU failed, or is about to: the reason is the pager's, if it had one, else
 * QEMU's own words, when it has ended. */
static int qemu_failed(struct feeding *f, struct error *err)
{
    struct target *t = f->args->target;
    uint64_t until_ns = clock_monotonic_ns() + LAST_WORDS_NS;

    while (!f->pager_gone && clock_monotonic_ns() < until_ns) {
        struct pollfd polled = {.fd = f->pager.link.fd, .events = POLLIN};
        int rc = take_reports(f, err);

        if (rc < 0)
            return rc;
        if (!f->pager_gone && poll(&polled, 1, clock_poll_ms(until_ns)) < 0)
            log_debug("poll: errno %d", errno);
    }
    if (pager_has_reason(f))
        return error_copy(err, &f->pager_error);
    fail(err, ERR_PEER,
         f->running ? "QEMU ended before it had all pages"
                    : "QEMU could not load the snapshot");
    if (target_wait_end(t, END_LIMIT_NS))
        return target_explain(t, err);
    if (!t->ours)
        error_hint(err, "what QEMU said on its standard error tells more");
    return err->code;
}

static int handle_damage(struct feeding *f, struct error *err)
{
    bool fatal = f->args->job->on_error == RESTORE_ON_ERROR_KILL ||
                 (!f->running && f->damage_asked_for);

    if (fatal) {
        target_kill(f->args->target);
        return error_copy(err, &f->damage);
    }
    if (f->exhausted && !f->exhausted_told) {
        f->exhausted_told = true;
        error_hint(&f->damage, "the VM goes on without these pages: whatever "
                               "touches one of them waits for ever");
        tell(f, link_error_message(&f->damage));
    }
    return 0;
}

static int pager_lost_early(struct feeding *f, struct error *err)
{
    struct target *t = f->args->target;

    if (pager_has_reason(f))
        return error_copy(err, &f->pager_error);
    if (target_wait_end(t, END_LIMIT_NS))
        return target_explain(t, err);
    if (f->pager_error.code != 0)
        return error_copy(err, &f->pager_error);
    return fail(err, ERR_IO, "the pager ended before the VM ran");
}

/* A new pager. */

static int write_handshake(struct feeding *f, int socket, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc = postcopy_put_recovery(&b, f->args->blocks, err);

    if (rc == 0)
        rc = channel_write(socket, b.data, b.len, f->args->target->stop,
                           clock_monotonic_ns() + PAUSED_LIMIT_NS, err);
    return rc;
}

static int recover(struct feeding *f, struct error *err)
{
    cleanup_close int socket = -1;
    char uri[32];
    int rc;

    snprintf(uri, sizeof(uri), "fd:firn-recover-%u", f->spares_used);
    socket = steal_fd(&f->args->spares[f->spares_used++]);
    rc = write_handshake(f, socket, err);
    if (rc == 0)
        rc = qmp_execute_oob(f->args->target->qmp, "migrate-recover",
                             json_pack("{s:s}", "uri", uri), NULL, err);
    if (rc < 0)
        return rc;
    json_object_set_new(f->args->feed, "resume", json_true());
    f->pager_error = ERROR_INIT;
    f->postcopy_paused = false;
    rc = pager_process_start(&f->pager, socket, f->args->feed, err);
    if (rc < 0)
        return rc;
    f->pager_gone = false;
    note(f, "the pager was lost; a new one goes on");
    return 0;
}

static int pager_lost_late(struct feeding *f, struct error *err)
{
    if (!f->postcopy_paused) {
        if (clock_monotonic_ns() < f->paused_by_ns)
            return 0;
        return fail(err, ERR_IO,
                    "the pager was lost, and QEMU did not notice in time");
    }
    if (f->spares_used < FEEDING_SPARES &&
        f->args->spares[f->spares_used] >= 0 &&
        qmp_session_has_oob(f->args->target->qmp))
        return recover(f, err);
    fail(err, ERR_IO,
         "the pager was lost; the VM waits in postcopy-paused wherever it "
         "touches a missing page%s%s",
         f->pager_error.code ? ": " : "", f->pager_error.message);
    return err->code;
}

/* The end. */

static bool is_complete(const struct feeding *f)
{
    return f->running && f->completed && (f->resident || f->pager_gone);
}

/* SHUT came, `completed` not: events can be missed, the state cannot. */
static int settle(struct feeding *f, struct error *err)
{
    cleanup_free char *state = NULL;
    int rc;

    if (f->completed || !f->settle_by_ns ||
        clock_monotonic_ns() < f->settle_by_ns)
        return 0;
    f->settle_by_ns = 0;
    rc = target_migration_state(f->args->target, &state, err);
    if (rc < 0)
        return rc;
    if (strcmp(state, "completed") != 0)
        return fail(err, ERR_PROTOCOL,
                    "QEMU took all pages, but its migration is '%s'", state);
    f->completed = true;
    return 0;
}

static void tell_resident(struct feeding *f)
{
    uint64_t ms = (clock_monotonic_ns() - f->args->begun_ns) / NS_PER_MS;

    if (!f->resident)
        return;
    json_object_set_new(f->resident, "elapsed_ms",
                        json_integer((json_int_t)ms));
    tell(f, json_incref(f->resident));
}

static int finish(struct feeding *f, struct error *err)
{
    cleanup_free char *state = NULL;
    int rc;

    tell_resident(f);
    pager_process_reap(&f->pager);
    /* A guest that switched itself off has everything it needs. */
    if (f->qemu_gone)
        return 0;
    rc = target_set_capabilities(f->args->target, false, err);
    if (rc == 0)
        rc = target_migration_state(f->args->target, &state, err);
    if (rc == 0 && strcmp(state, "completed") != 0)
        rc = fail(err, ERR_PROTOCOL, "the migration ended as '%s'", state);
    return rc;
}

/* The vigil. */

static int decide(struct feeding *f, struct error *err)
{
    int rc = 0;

    if (!f->running && !f->failed && !f->qemu_gone)
        rc = look_whether_running(f, err);
    if (rc == 0 && f->damage.code != 0)
        rc = handle_damage(f, err);
    if (rc == 0 && !f->completed && (f->qemu_gone || f->failed))
        rc = f->damage.code ? error_copy(err, &f->damage) : qemu_failed(f, err);
    if (rc == 0 && f->pager_gone && !f->completed)
        rc = f->running ? pager_lost_late(f, err) : pager_lost_early(f, err);
    if (rc == 0)
        rc = settle(f, err);
    return rc;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    if (a == 0 || b == 0)
        return a | b;
    return MIN(a, b);
}

static int wait_for_news(struct feeding *f, struct error *err)
{
    struct stopper *stop = f->args->target->stop;
    uint64_t until_ns = f->renew_at_ns;
    struct pollfd polled[] = {
        {.fd = qmp_session_fd(f->args->target->qmp), .events = POLLIN},
        {.fd = f->pager_gone ? -1 : f->pager.link.fd, .events = POLLIN},
        /* Behind RESUME it is too late to be stopped. */
        {.fd = f->resumed || f->running ? -1 : stopper_fd(stop),
         .events = POLLIN},
    };

    if (f->qemu_gone)
        polled[0].fd = -1;
    if (!f->running)
        until_ns = earlier(until_ns, f->ask_at_ns);
    if (!f->completed)
        until_ns = earlier(until_ns, f->settle_by_ns);
    if (f->pager_gone)
        until_ns = earlier(until_ns, f->paused_by_ns);
    if (poll(polled, ARRAY_LEN(polled), clock_poll_ms(until_ns)) < 0 &&
        errno != EINTR)
        return fail_errno(err, ERR_IO, "poll failed");
    if (polled[2].fd >= 0 && stopper_pulled(stop))
        return stopper_error(stop, err);
    return 0;
}

static int renew_lease(struct feeding *f, struct error *err)
{
    if (clock_monotonic_ns() < f->renew_at_ns)
        return 0;
    f->renew_at_ns = clock_monotonic_ns() + LEASE_RENEWAL_NS;
    return lease_renew(f->args->lease, err);
}

static int keep_vigil(struct feeding *f, struct error *err)
{
    f->renew_at_ns = clock_monotonic_ns() + LEASE_RENEWAL_NS;
    for (;;) {
        int rc = take_reports(f, err);

        if (rc == 0)
            rc = take_events(f, err);
        if (rc == 0)
            rc = decide(f, err);
        if (rc == 0 && is_complete(f))
            return finish(f, err);
        if (rc == 0)
            rc = renew_lease(f, err);
        if (rc == 0)
            rc = wait_for_news(f, err);
        if (rc < 0)
            return rc;
    }
}

int feeding_run(struct feeding_args *args, bool *ret_ran, struct error *err)
{
    struct feeding f = {.args = args, .pager = PAGER_PROCESS_INIT};
    int rc = pager_process_start(&f.pager, args->socket, args->feed, err);

    close(steal_fd(&args->socket));
    if (rc == 0)
        rc = keep_vigil(&f, err);
    *ret_ran = f.running || f.resumed;
    /* Before it ran, a pager would only feed a QEMU that is about to end. */
    if (rc < 0 && !*ret_ran)
        pager_process_kill(&f.pager);
    pager_process_release(&f.pager);
    json_decref(f.resident);
    return rc;
}

/*
 * What must have been heard before the front is told:
 *
 *   running   lazy   RESUME from QEMU and "loaded" from the pager, or "loaded"
 *                    alone when the VM comes back paused. With a head start
 *                    RESUME follows on `cont`, which follows on "ahead"
 *             eager  RESUME and "resident", or `completed` without RESUME: it
 *                    is paused
 *   resident  `completed` from QEMU and "resident" from the pager
 *
 * What becomes of a pager that is lost is told in succession.c.
 */

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>

#include "core/base/clock.h"
#include "restore/feeding_inside.h"

#define LOG_AREA "keeper"
#include "core/base/log.h"

#define END_LIMIT_NS     (5 * NS_PER_SEC)  /* QEMU's end after a failure */
#define RESUME_LIMIT_NS  (200 * NS_PER_MS) /* RESUME behind "loaded" */
#define STATUS_PAUSE_NS  (500 * NS_PER_MS) /* between two query-status */
#define LAST_WORDS_NS    (2 * NS_PER_SEC)  /* of a pager whose socket broke */
#define SETTLE_LIMIT_NS  (10 * NS_PER_SEC) /* `completed` behind SHUT */
#define LEASE_RENEWAL_NS (1800 * NS_PER_SEC)
#define LOOK_NS          (1 * NS_PER_SEC) /* between two looks at the pager */

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
    if (f->damage.code == 0) {
        link_error_of(json_path(m, "error"), &f->damage);
        /* A pack that is gone or cannot be read is damage as well. */
        f->damage.code = ERR_CORRUPT;
    }
    if (json_path_bool(m, "asked_for", false))
        f->damage_asked_for = true;
}

static void take_report(struct feeding *f, json_t *m)
{
    take_figures(f, m);
    pager_process_heard(&f->pager, clock_monotonic_ns());
    if (link_is(m, "loaded")) {
        f->loaded = true;
        /* A VM that is held is not asked before it was let go. */
        if (!f->args->head_start)
            f->ask_at_ns = clock_monotonic_ns() + RESUME_LIMIT_NS;
    } else if (link_is(m, "ahead")) {
        f->ahead = true;
    } else if (link_is(m, "damage")) {
        take_damage(f, m);
    } else if (link_is(m, "exhausted")) {
        f->exhausted = true;
    } else if (link_is(m, "resident")) {
        json_decref(f->resident);
        f->resident = json_incref(m);
        f->settle_by_ns = clock_monotonic_ns() + SETTLE_LIMIT_NS;
    } else if (link_is(m, "resumed")) {
        feeding_pager_took_over(f);
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
            feeding_pager_ended(f);
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
    uint64_t at_ns = f->resumed ? f->resumed_ns : clock_monotonic_ns();
    int rc = leave_front(f, err);

    f->running = true;
    f->ask_at_ns = 0;
    feeding_tell_running(f, at_ns);
    if (paused)
        feeding_note(f, "the VM stands still, as it did when it was captured; "
                        "'cont' lets it go on");
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

/* The head start is over, or its pager is: the VM goes. */
static int let_go(struct feeding *f, struct error *err)
{
    int rc;

    if (f->let_go || !(f->ahead || (f->loaded && f->pager_gone)))
        return 0;
    f->let_go = true;
    f->ask_at_ns = clock_monotonic_ns() + RESUME_LIMIT_NS;
    rc = qmp_execute(f->args->target->qmp, "cont", NULL, NULL, err);
    if (rc == 0)
        f->args->went(f->args->arg);
    return rc;
}

static int look_whether_running(struct feeding *f, struct error *err)
{
    bool lazy = !f->args->job->eager;
    bool paused = false;
    int rc = 0;

    if (f->args->head_start) {
        rc = let_go(f, err);
        if (rc < 0 || !f->let_go)
            return rc;
        rc = take_events(f, err);
        if (rc < 0)
            return rc;
    }

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
    if (feeding_pager_has_reason(f))
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

static int qemu_ended(struct feeding *f, struct error *err)
{
    if (f->damage.code != 0)
        return error_copy(err, &f->damage);
    if (f->stranded)
        return error_copy(err, &f->stranded_why);
    return qemu_failed(f, err);
}

/* Only who waits for a damaged page is hurt by it: the others are worth a VM
 * that goes on. */
static int handle_damage(struct feeding *f, struct error *err)
{
    bool kill = f->args->job->on_error == RESTORE_ON_ERROR_KILL;

    if (f->damage_asked_for && (kill || !f->running)) {
        target_kill(f->args->target);
        return error_copy(err, &f->damage);
    }
    if (f->exhausted && !f->exhausted_told) {
        f->exhausted_told = true;
        error_hint(&f->damage,
                   "the VM goes on without these pages: %s; when the damage "
                   "is repaired, 'firn restore --resume %s' brings them",
                   kill ? "it is ended when it touches one of them"
                        : "whatever touches one of them waits",
                   f->args->job->id);
        feeding_tell(f, link_error_message(&f->damage));
    }
    return 0;
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
    feeding_tell(f, json_incref(f->resident));
}

/* QEMU's own figures, beside the pager's: for the front, and for the pager, who
 * keeps them. */
static void add_figures_of_qemu(struct feeding *f)
{
    json_t *figures = NULL;
    struct error ignored = ERROR_INIT;

    if (!json_path_bool(f->args->feed, "blocktime", false) || !f->resident)
        return;
    if (f->qemu_gone ||
        target_postcopy_figures(f->args->target, &figures, &ignored) < 0)
        return;
    json_object_set_new(f->resident, "qemu", figures);
    if (link_send(&f->pager.link,
                  json_pack("{s:s, s:O}", "type", "qemu", "figures", figures),
                  &ignored) < 0)
        log_debug("%s", ignored.message);
}

static int finish(struct feeding *f, struct error *err)
{
    cleanup_free char *state = NULL;
    int rc;

    add_figures_of_qemu(f);
    tell_resident(f);
    pager_process_reap(&f->pager);
    /* A guest that switched itself off has everything it needs. */
    if (f->qemu_gone)
        return 0;
    rc = target_set_capabilities(f->args->target,
                                 &(struct target_capabilities){0}, err);
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
        rc = qemu_ended(f, err);
    if (rc == 0)
        feeding_watch_pager(f);
    if (rc == 0 && f->pager_gone && !f->completed)
        rc = f->running ? feeding_pager_lost_late(f, err)
                        : feeding_pager_lost_early(f, err);
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
        {.fd = f->running ? f->args->door : -1, .events = POLLIN},
    };

    if (f->qemu_gone)
        polled[0].fd = -1;
    if (!f->running)
        until_ns = earlier(until_ns, f->ask_at_ns);
    if (!f->completed)
        until_ns = earlier(until_ns, f->settle_by_ns);
    until_ns = earlier(until_ns, feeding_attempt_ns(f));
    if (!f->pager_gone)
        until_ns = earlier(until_ns, clock_monotonic_ns() + LOOK_NS);
    if (poll(polled, ARRAY_LEN(polled), clock_poll_ms(until_ns)) < 0 &&
        errno != EINTR)
        return fail_errno(err, ERR_IO, "poll failed");
    if (polled[2].fd >= 0 && stopper_pulled(stop))
        return stopper_error(stop, err);
    return polled[3].revents & POLLIN ? feeding_open_door(f, err) : 0;
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

/* The VM runs already, and nobody brings its pages. */
static int begin_without_pager(struct feeding *f, struct error *err)
{
    f->running = true;
    f->resumed = true;
    feeding_pager_ended(f);
    feeding_try_again(f);
    /* Nobody has heard the event, which came long ago. */
    f->postcopy_paused = true;
    return leave_front(f, err);
}

static int begin_with_pager(struct feeding *f, struct error *err)
{
    struct feeding_args *args = f->args;
    int rc = pager_process_start(&f->pager, &args->connection, args->feed, err);

    connection_close(&args->connection);
    if (rc == 0)
        args->pager_started(args->arg, f->pager.pid);
    return rc;
}

int feeding_run(struct feeding_args *args, bool *ret_ran, struct error *err)
{
    struct feeding f = {
        .args = args,
        .pager = PAGER_PROCESS_INIT,
        .pager_limit_ns = args->job->pager_limit_ms * NS_PER_MS,
    };
    int rc = args->connection.main >= 0 ? begin_with_pager(&f, err)
                               : begin_without_pager(&f, err);

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

/*
 * A pager lost before the VM runs is final: QEMU cannot be fed twice. The
 * sockets close, QEMU ends by itself and says why on standard error, so its
 * end is awaited before an error is worded.
 *
 * Afterwards the next one takes over. QEMU goes to postcopy-paused when its
 * socket closes; the VM runs on until it touches a missing page.
 *
 *   gone → connect (again and again, until QEMU is ready for it) → started
 *        → "resumed": it is the pager now
 *        → gone again before that: one more in a row; after some of them
 *          stranded: told to the front, QEMU and its monitor are kept, and
 *          nothing is tried until somebody asks for it or QEMU ends
 */
#include <poll.h>

#include "core/base/clock.h"
#include "restore/feeding_inside.h"

#define LOG_AREA "keeper"
#include "core/base/log.h"

#define END_LIMIT_NS     (5 * NS_PER_SEC)  /* QEMU's end after a failure */
#define PAUSED_LIMIT_NS  (2 * NS_PER_SEC)  /* postcopy-paused after a loss */
#define CONNECT_PAUSE_NS (500 * NS_PER_MS) /* between two attempts */
#define FIRST_PAUSE_NS   (100 * NS_PER_MS) /* after a second loss */
#define LONGEST_PAUSE_NS (5 * NS_PER_SEC)  /* after many */
#define FAILED_MAX       8u   /* in a row, with a reason: it is hopeless */
#define KILLED_MAX       100u /* in a row, without a word */
#define EARLY_LIMIT_NS   (60 * NS_PER_SEC)  /* of silence */
#define LIMIT_MAX_NS     (600 * NS_PER_SEC) /* of silence, doubled often */

bool feeding_pager_has_reason(const struct feeding *f)
{
    return f->pager_error.code != 0 && f->pager_error.code != ERR_PEER &&
           f->pager_error.code != ERR_IO;
}

void feeding_watch_pager(struct feeding *f)
{
    uint64_t limit_ns = f->pager_limit_ns;

    /* Before the VM runs its end is the end of all: it is given more time. */
    if (!f->running)
        limit_ns = MAX(limit_ns, EARLY_LIMIT_NS);
    if (f->pager_gone || f->args->job->eager || f->completed ||
        !pager_process_hangs(&f->pager, clock_monotonic_ns(), limit_ns))
        return;
    feeding_note(f, "the pager hangs; it is killed");
    pager_process_kill(&f->pager);
    /* If it was the storage that hung, the next one shall not be killed for
     * it as soon. */
    f->pager_limit_ns = MIN(2 * f->pager_limit_ns, LIMIT_MAX_NS);
    feeding_pager_ended(f);
}

static uint64_t pause_after(unsigned lost)
{
    uint64_t ns = 0;

    for (unsigned i = 1; i < lost; i++)
        ns = MIN(ns ? 2 * ns : FIRST_PAUSE_NS, LONGEST_PAUSE_NS);
    return ns;
}

void feeding_pager_ended(struct feeding *f)
{
    pager_process_reap(&f->pager);
    f->pager_gone = true;
    f->lost_in_a_row++;
    f->gone_ns = clock_monotonic_ns();
    f->retry_at_ns = 0;
}

uint64_t feeding_attempt_ns(const struct feeding *f)
{
    uint64_t at_ns = f->gone_ns + pause_after(f->lost_in_a_row);

    if (!f->pager_gone || f->stranded)
        return 0;
    /* Should the event never come, it is tried anyway. */
    if (!f->postcopy_paused)
        at_ns += PAUSED_LIMIT_NS;
    return MAX(at_ns, f->retry_at_ns);
}

int feeding_pager_lost_early(struct feeding *f, struct error *err)
{
    struct target *t = f->args->target;

    if (feeding_pager_has_reason(f))
        return error_copy(err, &f->pager_error);
    if (target_wait_end(t, END_LIMIT_NS))
        return target_explain(t, err);
    if (f->pager_error.code != 0)
        return error_copy(err, &f->pager_error);
    return fail(err, ERR_IO, "the pager ended before the VM ran");
}

/* Nothing is known yet of what the next pager can read. */
static void forget_damage(struct feeding *f)
{
    f->damage = ERROR_INIT;
    f->damage_asked_for = false;
    f->exhausted = false;
    f->exhausted_told = false;
    f->pager_error = ERROR_INIT;
}

static int start_next(struct feeding *f, const struct connection *c,
                      struct error *err)
{
    int rc;

    json_object_set_new(f->args->feed, "resume", json_true());
    forget_damage(f);
    f->postcopy_paused = false;
    f->connect_trouble_told = false;
    rc = pager_process_start(&f->pager, c, f->args->feed, err);
    if (rc < 0)
        return rc;
    f->pager_gone = false;
    feeding_note(f, "a new pager takes over");
    f->args->pager_started(f->args->arg, f->pager.pid);
    return 0;
}

/* QEMU is not in postcopy-paused: it did not notice yet, or its connection
 * hangs at somebody who is not ours. */
static void not_yet(struct feeding *f, const struct error *why)
{
    struct error ignored = ERROR_INIT;

    log_debug("%s", why->message);
    f->retry_at_ns = clock_monotonic_ns() + CONNECT_PAUSE_NS;
    if (why->code == ERR_UNSUPPORTED) {
        if (recovery_pause(f->args->recovery, &ignored) < 0)
            log_debug("%s", ignored.message);
    } else if (!f->connect_trouble_told) {
        f->connect_trouble_told = true;
        feeding_note(f, why->message);
    }
}

/* It is tried no more, but QEMU's monitor is kept: nobody else could have one
 * when QEMU's main loop waits for a page. */
static void strand(struct feeding *f, const struct error *why)
{
    f->stranded = true;
    error_copy(&f->stranded_why, why);
    error_wrap(&f->stranded_why,
               "the pager was lost; the VM waits in postcopy-paused wherever "
               "it touches a missing page");
    error_hint(&f->stranded_why,
               "'firn restore --resume %s' tries again; the process %d keeps "
               "what it takes",
               f->args->job->id, (int)getpid());
    feeding_tell(f, link_error_message(&f->stranded_why));
}

static bool is_hopeless(const struct feeding *f, struct error *why)
{
    if (!qmp_session_has_oob(f->args->target->qmp)) {
        fail(why, ERR_UNSUPPORTED, "its monitor takes no out-of-band commands");
        return true;
    }
    if (f->lost_in_a_row < (f->pager_error.code ? FAILED_MAX : KILLED_MAX))
        return false;
    if (f->pager_error.code != 0)
        error_copy(why, &f->pager_error);
    else
        fail(why, ERR_IO, "%u pagers in a row ended", f->lost_in_a_row);
    return true;
}

int feeding_pager_lost_late(struct feeding *f, struct error *err)
{
    cleanup_connection struct connection c = CONNECTION_NONE;
    struct error why = ERROR_INIT;
    int rc;

    if (f->stranded)
        return 0;
    if (is_hopeless(f, &why)) {
        strand(f, &why);
        return 0;
    }
    if (clock_monotonic_ns() < feeding_attempt_ns(f))
        return 0;
    rc = recovery_connect(f->args->recovery, &c, &why);
    if (rc == 0)
        return start_next(f, &c, err);
    if (rc != ERR_UNSUPPORTED && rc != ERR_PEER && rc != ERR_TIMEOUT)
        return error_copy(err, &why);
    not_yet(f, &why);
    return 0;
}

void feeding_pager_took_over(struct feeding *f)
{
    struct error ignored = ERROR_INIT;

    f->lost_in_a_row = 0;
    if (f->running_owed)
        feeding_tell_running(f, clock_monotonic_ns());
    f->running_owed = false;
    if (f->args->held) {
        f->args->held = false;
        if (qmp_execute(f->args->target->qmp, "cont", NULL, NULL, &ignored) < 0)
            feeding_note(f, "the VM stands still; 'cont' lets it go on");
        else
            f->args->went(f->args->arg);
    }
    if (recovery_restock(f->args->recovery, &ignored) < 0)
        log_debug("%s", ignored.message);
}

void feeding_try_again(struct feeding *f)
{
    f->stranded = false;
    if (!f->pager_gone) {
        pager_process_kill(&f->pager);
        feeding_pager_ended(f);
    }
    f->lost_in_a_row = 0;
    f->running_owed = true;
    f->gone_ns = clock_monotonic_ns();
}

/*
 * run_task.c - a table of moves, and what each line of a command means.
 *
 * A task has no clock and starts nothing: run_job.c asks in which state it is,
 * runs that state's command, and tells what was printed and how it ended. So
 * all that is decided (due or not, skipped or failed, what comes next) can be
 * tested with lines of text.
 */
#include "cli/run/run_task.h"

#include <inttypes.h>
#include <sys/wait.h>

#include "cli/run/schedule.h"
#include "core/base/clock.h"

#define TO(state) (1u << (state))

/* From each state, where to; looked at by assertions alone. */
UNUSED static const unsigned moves[RUN__STATES] = {
    [RUN_WAITING] = TO(RUN_LOCKING) | TO(RUN_PRUNING) | TO(RUN_CHECKING) |
                    TO(RUN_DONE),
    [RUN_LOCKING] = TO(RUN_LOOKING) | TO(RUN_DONE),
    [RUN_LOOKING] = TO(RUN_TAKING) | TO(RUN_FORGETTING) | TO(RUN_DONE),
    [RUN_TAKING] = TO(RUN_FORGETTING) | TO(RUN_DONE),
    [RUN_FORGETTING] = TO(RUN_DONE),
    [RUN_PRUNING] = TO(RUN_CHECKING) | TO(RUN_DONE),
    [RUN_CHECKING] = TO(RUN_DONE),
};

const char *run_state_name(enum run_state state)
{
    static const char *const names[RUN__STATES] = {
        "wait", "lock", "list", "snapshot", "forget", "prune", "check", "done"};

    assert(state < RUN__STATES);
    return names[state];
}

const char *run_result_name(enum run_result result)
{
    static const char *const names[] = {"unknown", "ok", "not_due",
                                        "not_running", "failed"};

    static_assert(ARRAY_LEN(names) == RUN_FAILED + 1, "a name a result");
    assert(result <= RUN_FAILED);
    return names[result];
}

static void enter(struct run_task *t, enum run_state to)
{
    assert(moves[t->state] & TO(to));
    t->state = to;
    t->error_told = false;
    t->harmless = false;
    t->snapshot_told = false;
    if (to == RUN_DONE && t->result == RUN_UNKNOWN)
        t->result = t->why.code ? RUN_FAILED : RUN_OK;
}

/* What comes after a look. */
static enum run_state after_look(const struct run_task *t)
{
    if (!t->due)
        return RUN_DONE;
    if (!t->dry_run)
        return RUN_TAKING;
    return t->forgets ? RUN_FORGETTING : RUN_DONE;
}

static enum run_state next_state(const struct run_task *t)
{
    switch (t->state) {
    case RUN_WAITING:
        if (t->vm)
            return RUN_LOCKING;
        return t->prunes ? RUN_PRUNING : t->checks ? RUN_CHECKING : RUN_DONE;
    case RUN_LOCKING:
        return RUN_LOOKING;
    case RUN_LOOKING:
        return after_look(t);
    case RUN_TAKING:
        return t->forgets ? RUN_FORGETTING : RUN_DONE;
    case RUN_PRUNING:
        return t->checks ? RUN_CHECKING : RUN_DONE;
    case RUN_FORGETTING:
    case RUN_CHECKING:
    case RUN_DONE:
    case RUN__STATES:
        break;
    }
    return RUN_DONE;
}

void run_task_advance(struct run_task *t)
{
    if (t->state == RUN_LOOKING) {
        t->due = t->always_due ||
                 schedule_is_due(t->last_ns, t->now_ns, t->vm->every_ms);
        if (!t->due)
            t->result = RUN_NOT_DUE;
    }
    enter(t, next_state(t));
}

static void keep_first(struct run_task *t, const struct error *why)
{
    if (!t->why.code)
        error_copy(&t->why, why);
}

void run_task_fail(struct run_task *t, const struct error *why)
{
    keep_first(t, why);
    enter(t, RUN_DONE);
}

void run_task_skip(struct run_task *t, enum run_result result)
{
    t->result = result;
    enter(t, RUN_DONE);
}

/* What is told. */

static void take_figures(struct run_task *t, const json_t *o)
{
    uint64_t time_ns = 0;

    if (clock_parse_utc(json_path_str(o, "time", ""), &time_ns))
        t->last_ns = MAX(t->last_ns, time_ns);
    if (t->state != RUN_TAKING)
        return;
    t->snapshot_told = true;
    snprintf(t->id, sizeof(t->id), "%s", json_path_str(o, "id", ""));
    t->downtime_ms = (uint64_t)json_path_int(o, "downtime_ms", 0);
    t->duration_ms = (uint64_t)json_path_int(o, "duration_ms", 0);
    t->stored_bytes = (uint64_t)json_path_int(o, "stored_bytes", 0);
    t->qemu_faults = (uint64_t)json_path_int(o, "qemu_faults", 0);
}

static void take_error(struct run_task *t, const json_t *o)
{
    const char *hint = json_path_str(o, "hint", "");
    struct error why;

    t->error_told = true;
    fail(&why, error_code_find(json_path_str(o, "code", "")), "%s",
         json_path_str(o, "message", ""));
    if (hint[0])
        error_hint(&why, "%s", hint);
    if (t->state != RUN_TAKING)
        error_wrap(&why, "%s", run_state_name(t->state));
    /* Another run prunes or checks, or there was no time to go on: there is a
     * next time. */
    t->harmless =
        !t->vm && (why.code == ERR_LOCKED || why.code == ERR_TERMINATED);
    if (!t->harmless)
        keep_first(t, &why);
}

/* What a check found; that it found something is its error. */
static void take_finding(struct run_task *t, const json_t *o)
{
    struct error why;

    if (strcmp(json_path_str(o, "severity", ""), "error") != 0)
        return;
    t->error_told = true;
    fail(&why, error_code_find(json_path_str(o, "code", "")),
         "check: %s: %s", json_path_str(o, "object", ""),
         json_path_str(o, "message", ""));
    error_hint(&why, "'firn check' names all there is");
    keep_first(t, &why);
}

void run_task_told(struct run_task *t, const json_t *line)
{
    const char *type = json_path_str(line, "type", "");

    if (strcmp(type, "error") == 0)
        take_error(t, line);
    else if (strcmp(type, "snapshot") == 0 && t->state != RUN_FORGETTING)
        take_figures(t, line);
    else if (strcmp(type, "finding") == 0)
        take_finding(t, line);
    else if (strcmp(type, "check") == 0)
        t->check_told = json_path_bool(line, "finished", true);
    else if (strcmp(type, "forget") == 0)
        t->forgotten = (uint64_t)json_path_int(line, "removed", 0);
}

/* It ended badly and did not say why. */
static void explain_status(struct run_task *t, int wait_status)
{
    struct error why;

    if (WIFSIGNALED(wait_status))
        fail(&why, ERR_IO, "'firn %s' was killed by signal %d",
             run_state_name(t->state), WTERMSIG(wait_status));
    else if (t->snapshot_told)
        fail(&why, ERR_PARTIAL,
             "snapshot %s is complete, but the guest stood still for %" PRIu64
             " ms, longer than allowed",
             t->id, t->downtime_ms);
    else
        fail(&why, error_status_code(WEXITSTATUS(wait_status)),
             "'firn %s' ended with status %d", run_state_name(t->state),
             WEXITSTATUS(wait_status));
    keep_first(t, &why);
}

void run_task_ended(struct run_task *t, int wait_status)
{
    bool well = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;

    if (well && t->state == RUN_CHECKING && t->check_told)
        t->checked_ns = t->now_ns;
    if (!well && !t->error_told)
        explain_status(t, wait_status);
    /* A snapshot that is there is followed by its forget, and a damaged one
     * does not keep new ones from being taken. */
    if (well || t->snapshot_told || t->harmless ||
        (t->state == RUN_LOOKING && t->why.code == ERR_CORRUPT))
        run_task_advance(t);
    else
        enter(t, RUN_DONE);
}

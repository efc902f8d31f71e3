/*
 * QEMU resumes a running VM by itself when its migration fails, and announces
 * the failure a little before it does so. Patience comes first, therefore:
 * `cont` too early is refused, and sent to a VM that somebody else paused it
 * would run a guest that nobody wanted to run. Only when the VM still stands
 * after RESUME_PATIENCE_MS is it started by us. A migration that does not end
 * by itself is cancelled, after CANCEL_PATIENCE_MS. A VM found stopped is
 * never started.
 */
#include "snapshot/run_state.h"

#include <string.h>

#define RESUME_PATIENCE_MS 1500u
#define CANCEL_PATIENCE_MS 5000u

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static int refuse_postmigrate(struct error *err)
{
    fail(err, ERR_UNSUPPORTED,
         "the VM stands still after an earlier migration (run state "
         "'postmigrate'), and QEMU migrates such a VM no further");
    return error_hint(err, "send 'cont' to its monitor; the guest goes on "
                           "from there");
}

int run_state_check_start(const char *state, struct error *err)
{
    static const char *const busy[] = {"finish-migrate", "save-vm",
                                       "restore-vm", "colo"};

    if (is(state, "postmigrate"))
        return refuse_postmigrate(err);
    if (is(state, "inmigrate")) {
        fail(err, ERR_UNSUPPORTED, "the VM waits for an incoming migration");
        return error_hint(err, "it can be captured when it runs");
    }
    for (size_t i = 0; i < ARRAY_LEN(busy); i++) {
        if (is(state, busy[i]))
            return fail(err, ERR_UNSUPPORTED,
                        "the VM is being saved or migrated by somebody else "
                        "(run state '%s')",
                        state);
    }
    return 0;
}

bool migration_is_active(const char *status)
{
    static const char *const active[] = {"setup",
                                         "active",
                                         "pre-switchover",
                                         "device",
                                         "cancelling",
                                         "wait-unplug",
                                         "colo",
                                         "postcopy-active",
                                         "postcopy-device",
                                         "postcopy-paused",
                                         "postcopy-recover",
                                         "postcopy-recover-setup"};

    for (size_t i = 0; i < ARRAY_LEN(active); i++) {
        if (is(status, active[i]))
            return true;
    }
    return false;
}

static enum settle_step end_migration(const struct settle_view *v)
{
    if (v->may_cancel && !v->cancelled && v->waited_ms >= CANCEL_PATIENCE_MS)
        return SETTLE_CANCEL;
    return SETTLE_WAIT;
}

static enum settle_step settle_running(const struct settle_view *v)
{
    if (is(v->state, "paused") || is(v->state, "postmigrate") ||
        is(v->state, "finish-migrate"))
        return v->waited_ms < RESUME_PATIENCE_MS ? SETTLE_WAIT : SETTLE_CONT;
    /* It runs, or the guest itself went elsewhere: off, panicked, ... */
    return SETTLE_DONE;
}

static enum settle_step settle_stopped(const struct settle_view *v)
{
    if (is(v->state, "postmigrate"))
        return SETTLE_DONE_POSTMIGRATE;
    if (is(v->state, "finish-migrate"))
        return SETTLE_WAIT;
    return SETTLE_DONE;
}

enum settle_step settle_next(const struct settle_view *v)
{
    if (migration_is_active(v->status))
        return end_migration(v);
    if (is(v->found, "running"))
        return settle_running(v);
    return settle_stopped(v);
}

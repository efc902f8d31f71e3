/*
 * The dialogue, with what QEMU answers in brackets:
 *
 *   query-migrate, query-status     nobody else is at it; the state to return
 * to query-migrate-capabilities      all that this QEMU knows, to be put back
 *   query-migrate-parameters
 *   migrate-set-capabilities        every one of them, in one call: nothing is
 *                                   inherited, since some change the stream
 *   migrate-set-parameters
 *   migrate                         (MIGRATION setup, active, STOP, ...)
 *   ...                             (stream: failed by our SHUT, RESUME;
 *                                   background: RESUME, completed)
 *   query-migrate, query-status     until the VM is where it was
 *   migrate-set-capabilities        as found
 *   migrate-set-parameters
 */
#include "snapshot/qemu_source.h"

#include <inttypes.h>

#include "core/base/clock.h"
#include "snapshot/run_state.h"

#define LOG_AREA "source"
#include "core/base/log.h"

#define ASK_AGAIN_NS (20 * NS_PER_MS)

/* An orphaned stream fails at its next write, an orphaned background save must
 * write all of the VM's memory first. */
#define SWITCHED_OFF_NS      (1 * NS_PER_SEC)  /* behind `completed` */
#define RESTORE_NS           (10 * NS_PER_SEC) /* nobody brings pages */
#define ORPHAN_STREAM_NS     (5 * NS_PER_SEC)
#define ORPHAN_BACKGROUND_NS (300 * NS_PER_SEC)

/* How long QEMU may take to tidy up behind a migration. */
#define TIDY_NS (20 * NS_PER_SEC)

/* `migrate` and `cont` may be refused while QEMU tidies up. */
#define REFUSED_FOR_NS (2 * NS_PER_SEC)

void qemu_source_init(struct qemu_source *s, struct qmp_session *qmp,
                      struct stopper *stop)
{
    int major, minor, micro;

    *s = (struct qemu_source){
        .qmp = qmp, .stop = stop, .settings = {.qmp = qmp}};
    qmp_session_version(qmp, &major, &minor, &micro);
    s->version = QEMU_VERSION(major, minor);
}

void qemu_source_renew(struct qemu_source *s)
{
    s->started = false;
    s->ended = false;
    s->status[0] = '\0';
    s->rounds = 0;
    s->stop_ns = 0;
    s->resume_ns = 0;
    s->resumed = false;
    s->left_postmigrate = false;
}

void qemu_source_release(struct qemu_source *s)
{
    qemu_settings_release(&s->settings);
}

static void say(struct qemu_source *s, const char *text)
{
    log_debug("%s", text);
    if (s->note)
        s->note(s->arg, text);
}

/* Events. */

static void on_migration(struct qemu_source *s, const char *status)
{
    bool final = strcmp(status, "completed") == 0 ||
                 strcmp(status, "failed") == 0 ||
                 strcmp(status, "cancelled") == 0;

    /* An end without a beginning is the second word of an earlier one. */
    if (!s->started || s->ended || (final && !s->status[0]))
        return;
    snprintf(s->status, sizeof(s->status), "%s", status);
    s->ended = final;
}

static void on_event(struct qemu_source *s, const json_t *event)
{
    const char *name = json_path_str(event, "event", "");

    log_debug("event %s %s", name, json_path_str(event, "data.status", ""));
    if (strcmp(name, "MIGRATION") == 0) {
        on_migration(s, json_path_str(event, "data.status", ""));
    } else if (strcmp(name, "MIGRATION_PASS") == 0) {
        int64_t pass = json_path_int(event, "data.pass", 0);

        s->rounds = (unsigned)MAX(0, MIN(pass, INT32_MAX));
    } else if (strcmp(name, "STOP") == 0 && s->started && !s->stop_ns) {
        s->stop_ns = qmp_event_time_ns(event);
    } else if (strcmp(name, "RESUME") == 0 && s->stop_ns && !s->resumed) {
        s->resume_ns = qmp_event_time_ns(event);
        s->resumed = true;
    }
}

int qemu_source_follow(struct qemu_source *s, struct error *err)
{
    for (;;) {
        cleanup_json json_t *event = NULL;
        int rc = qmp_session_poll_event(s->qmp, &event, err);

        if (rc < 0 || !event)
            return rc;
        on_event(s, event);
    }
}

/* Waits for an event or for a moment, whichever is first. */
static int wait_a_moment(struct qemu_source *s, struct error *err)
{
    cleanup_json json_t *event = NULL;
    struct error why = ERROR_INIT;
    int rc = qmp_session_wait_event(s->qmp, clock_monotonic_ns() + ASK_AGAIN_NS,
                                    &event, &why);

    if (rc == 0)
        on_event(s, event);
    else if (rc != ERR_TIMEOUT)
        return error_copy(err, &why);
    return 0;
}

/* Questions. */

static int ask_state(struct qemu_source *s, char ret[static 32],
                     struct error *err)
{
    cleanup_json json_t *answer = NULL;
    int rc = qmp_execute(s->qmp, "query-status", NULL, &answer, err);

    if (rc == 0)
        snprintf(ret, 32, "%s", json_path_str(answer, "status", ""));
    return rc;
}

int qemu_source_ask(struct qemu_source *s, json_t **ret, struct error *err)
{
    return qmp_execute(s->qmp, "query-migrate", NULL, ret, err);
}

static int ask_status(struct qemu_source *s, char ret[static 32],
                      struct error *err)
{
    cleanup_json json_t *answer = NULL;
    int rc = qemu_source_ask(s, &answer, err);

    if (rc == 0)
        snprintf(ret, 32, "%s", json_path_str(answer, "status", ""));
    return rc;
}

int qemu_source_reason(struct qemu_source *s, char *text, size_t size,
                       struct error *err)
{
    cleanup_json json_t *answer = NULL;
    int rc = qemu_source_ask(s, &answer, err);

    if (rc == 0)
        snprintf(text, size, "%s", json_path_str(answer, "error-desc", ""));
    return rc;
}

/* What is found. */

static bool is_restore(const char *status)
{
    return strncmp(status, "postcopy", 8) == 0;
}

static int under_way(const char *status, struct error *err)
{
    if (is_restore(status)) {
        fail(err, ERR_UNSUPPORTED,
             "the VM still lacks pages of the snapshot that it was made of "
             "(%s)",
             status);
        return error_hint(err, strcmp(status, "postcopy-active") == 0
                                   ? "wait until its restore is complete"
                                   : "'firn restore --resume' brings them");
    }
    fail(err, ERR_UNSUPPORTED, "a migration of this VM is under way (%s)",
         status);
    return error_hint(err, "wait until it is over; one that nobody owns is "
                           "ended by 'migrate_cancel'");
}

/* A VM whose restore is under way would be captured without the pages that are
 * owed to it: they come first. While nobody brings them, only moments are
 * waited: a new pager may be on its way. */
static int await_restore(struct qemu_source *s, uint64_t deadline_ns,
                         struct error *err)
{
    uint64_t served_ns = clock_monotonic_ns();
    bool said = false;

    for (;;) {
        uint64_t now = clock_monotonic_ns();
        char status[32];
        int rc = ask_status(s, status, err);

        if (rc < 0 || !is_restore(status))
            return rc;
        if (strcmp(status, "postcopy-active") == 0)
            served_ns = now;
        if (now - served_ns >= RESTORE_NS ||
            (deadline_ns && now >= deadline_ns))
            return under_way(status, err);
        if (!said)
            say(s, "pages are still being brought to the VM; waiting until it "
                   "has them");
        said = true;
        rc = wait_a_moment(s, err);
        if (rc < 0)
            return rc;
    }
}

/* Whoever restored the VM switches postcopy off when it has all pages: what is
 * read before that would be put back after the capture. */
static int read_capabilities(struct qemu_source *s, struct error *err)
{
    uint64_t give_up = clock_monotonic_ns() + SWITCHED_OFF_NS;

    for (;;) {
        int rc = qemu_settings_read_capabilities(&s->settings, err);

        if (rc < 0 || !qemu_settings_is_on(&s->settings, "postcopy-ram") ||
            clock_monotonic_ns() >= give_up)
            return rc;
        rc = wait_a_moment(s, err);
        if (rc < 0)
            return rc;
    }
}

/* A migration that is under way may be what a killed run left: its stream
 * fails as soon as QEMU writes again, its background save ends when all is
 * written into a file that nobody has any more. */
static int await_orphan(struct qemu_source *s, uint64_t deadline_ns,
                        struct error *err)
{
    uint64_t begun = clock_monotonic_ns();
    bool background = qemu_settings_is_on(&s->settings, "background-snapshot");
    uint64_t patience = background ? ORPHAN_BACKGROUND_NS : ORPHAN_STREAM_NS;
    bool said = false;

    for (;;) {
        uint64_t now = clock_monotonic_ns();
        char status[32];
        int rc = ask_status(s, status, err);

        if (rc < 0 || !migration_is_active(status))
            return rc;
        if (now - begun >= patience || is_restore(status) ||
            (deadline_ns && now >= deadline_ns))
            return under_way(status, err);
        if (!said && background)
            say(s, "QEMU is still writing the background save of a run that "
                   "was killed; waiting for its end");
        said = true;
        rc = wait_a_moment(s, err);
        if (rc < 0)
            return rc;
    }
}

/* A VM that a killed run held stopped goes on within moments. */
static int find_state(struct qemu_source *s, struct error *err)
{
    uint64_t give_up = clock_monotonic_ns() + ORPHAN_STREAM_NS;
    int rc;

    for (;;) {
        rc = ask_state(s, s->found_state, err);
        if (rc < 0 || strcmp(s->found_state, "finish-migrate") != 0 ||
            clock_monotonic_ns() >= give_up)
            break;
        rc = wait_a_moment(s, err);
        if (rc < 0)
            break;
    }
    return rc < 0 ? rc : run_state_check_start(s->found_state, err);
}

static int check_blockers(struct qemu_source *s, struct error *err)
{
    cleanup_json json_t *answer = NULL;
    const json_t *reasons;
    const char *reason;
    int rc = qemu_source_ask(s, &answer, err);

    if (rc < 0)
        return rc;
    reasons = json_object_get(answer, "blocked-reasons");
    if (json_array_size(reasons) == 0)
        return 0;
    reason = json_string_value(json_array_get(reasons, 0));
    fail(err, ERR_UNSUPPORTED, "QEMU cannot migrate this VM: %s",
         reason ? reason : "no reason given");
    return error_hint(err, "remove that device or option from the VM");
}

int qemu_source_examine(struct qemu_source *s, uint64_t deadline_ns,
                        struct error *err)
{
    int rc = await_restore(s, deadline_ns, err);

    if (rc == 0)
        rc = read_capabilities(s, err);
    if (rc == 0)
        rc = await_orphan(s, deadline_ns, err);
    if (rc == 0)
        rc = find_state(s, err);
    if (rc == 0)
        rc = qemu_settings_read_parameters(&s->settings, err);
    if (rc == 0)
        rc = check_blockers(s, err);
    if (rc < 0)
        return rc;
    s->can_background = qemu_settings_has(&s->settings, "background-snapshot");
    qemu_settings_recall(&s->settings);
    return 0;
}

/* The migration's entry among those that can be yanked is the last thing that
 * QEMU takes away when a migration has ended. */
static int ask_tidy(struct qemu_source *s, bool *ret, struct error *err)
{
    cleanup_json json_t *instances = NULL;
    const json_t *instance;
    size_t i;
    int rc = qmp_execute(s->qmp, "query-yank", NULL, &instances, err);

    *ret = true;
    if (rc == ERR_UNSUPPORTED)
        return 0;
    json_array_foreach(instances, i, instance)
    {
        if (strcmp(json_path_str(instance, "type", ""), "migration") == 0)
            *ret = false;
    }
    return rc;
}

/* A migration's end is announced before QEMU has taken it apart, and how it is
 * taken apart goes by the settings of that moment: with multifd switched off,
 * or fewer channels, an assertion then ends QEMU and its VM. */
static int await_tidy(struct qemu_source *s, struct error *err)
{
    uint64_t give_up = clock_monotonic_ns() + TIDY_NS;

    for (;;) {
        bool tidy;
        int rc = ask_tidy(s, &tidy, err);

        if (rc < 0 || tidy)
            return rc;
        if (clock_monotonic_ns() >= give_up)
            return fail(err, ERR_TIMEOUT,
                        "QEMU does not come to the end of its migration");
        rc = wait_a_moment(s, err);
        if (rc < 0)
            return rc;
    }
}

int qemu_source_set_up(struct qemu_source *s, const struct qemu_wishes *wishes,
                       struct error *err)
{
    int rc = await_tidy(s, err);

    s->mode = wishes->mode;
    return rc < 0 ? rc : qemu_settings_apply(&s->settings, wishes, err);
}

int qemu_source_put_back(struct qemu_source *s, struct error *err)
{
    int rc = s->settings.changed ? await_tidy(s, err) : 0;

    return rc < 0 ? rc : qemu_settings_put_back(&s->settings, err);
}

/* Starting and ending. */

/* What an end leaves to be tidied up makes the next start fail for a moment. */
static bool passes_by_itself(const struct qemu_source *s)
{
    const char *desc = qmp_error_desc(s->qmp);

    return strstr(desc, "in progress") || strstr(desc, "yank instance") ||
           strstr(desc, "not finalized");
}

static int execute_until_taken(struct qemu_source *s, const char *command,
                               const json_t *args, struct error *err)
{
    uint64_t give_up = clock_monotonic_ns() + REFUSED_FOR_NS;

    for (;;) {
        int rc = qmp_execute(s->qmp, command,
                             args ? json_deep_copy(args) : NULL, NULL, err);

        if (rc != ERR_UNSUPPORTED || !passes_by_itself(s) ||
            clock_monotonic_ns() >= give_up)
            return rc;
        rc = wait_a_moment(s, err);
        if (rc < 0)
            return rc;
    }
}

int qemu_source_start(struct qemu_source *s, const char *uri, struct error *err)
{
    cleanup_json json_t *args = NULL;
    int rc = qemu_source_follow(s, err);

    if (rc == 0)
        rc = json_build(&args, err, "{s:s}", "uri", uri);
    if (rc < 0)
        return rc;
    s->started = true;
    return execute_until_taken(s, "migrate", args, err);
}

bool qemu_source_may_cancel(const struct qemu_source *s)
{
    return s->mode != SNAPSHOT_BACKGROUND ||
           s->version >= QEMU_BACKGROUND_MAY_FAIL;
}

void qemu_source_cancel(struct qemu_source *s)
{
    struct error ignored = ERROR_INIT;

    if (!s->started || !qemu_source_may_cancel(s))
        return;
    if (qmp_execute(s->qmp, "migrate_cancel", NULL, NULL, &ignored) < 0)
        log_debug("cancel: %s", ignored.message);
}

/* A refusal (somebody holds the lock of an image) may pass: asked again. */
static int try_cont(struct qemu_source *s, struct error *err)
{
    struct error why = ERROR_INIT;
    int rc = execute_until_taken(s, "cont", NULL, &why);

    if (rc == ERR_UNSUPPORTED) {
        log_warn("the VM cannot go on yet: %s", why.message);
        return 0;
    }
    return rc < 0 ? error_copy(err, &why) : 0;
}

/* One look and what follows from it; *ret_done when nothing is left to do. */
static int settle_once(struct qemu_source *s, struct settle_view *v,
                       bool *ret_done, struct error *err)
{
    int rc = ask_status(s, v->status, err);

    if (rc == 0)
        rc = ask_state(s, v->state, err);
    if (rc < 0)
        return rc;
    switch (settle_next(v)) {
    case SETTLE_DONE_POSTMIGRATE:
        s->left_postmigrate = true;
        *ret_done = true;
        return 0;
    case SETTLE_DONE:
        *ret_done = true;
        return 0;
    case SETTLE_WAIT:
        break;
    case SETTLE_CANCEL:
        qemu_source_cancel(s);
        v->cancelled = true;
        break;
    case SETTLE_CONT:
        log_debug("the VM does not go on by itself (%s): cont", v->state);
        return try_cont(s, err);
    }
    return 0;
}

int qemu_source_settle(struct qemu_source *s, uint64_t deadline_ns,
                       struct error *err)
{
    uint64_t begun = clock_monotonic_ns();
    struct settle_view v = {
        .found = s->found_state,
        .may_cancel = qemu_source_may_cancel(s),
    };
    bool done = false;
    int rc = 0;

    if (!s->started)
        return 0;
    while (rc == 0 && !done) {
        uint64_t now = clock_monotonic_ns();

        v.waited_ms = (now - begun) / NS_PER_MS;
        rc = settle_once(s, &v, &done, err);
        if (rc < 0 || done)
            break;
        if (now >= deadline_ns)
            return fail(err, ERR_TIMEOUT,
                        "the VM did not come back to '%s' in time (it is "
                        "'%s', migration '%s')",
                        s->found_state, v.state, v.status);
        rc = wait_a_moment(s, err);
    }
    return rc < 0 ? rc : qemu_source_follow(s, err);
}

uint64_t qemu_source_downtime_ns(const struct qemu_source *s)
{
    if (!s->stop_ns || s->resume_ns < s->stop_ns)
        return 0;
    return s->resume_ns - s->stop_ns;
}

/*
 * Questions only, but for two: calc-dirty-rate (QEMU samples its own memory)
 * and, where background is the mode to take, its capability is set and put back
 * at once: only QEMU knows whether this host and this memory allow it.
 */
#include "snapshot/plan_job.h"

#include "core/base/clock.h"
#include "core/codec/frame_codec.h"
#include "core/host/process.h"
#include "core/qmp/vm_facts.h"
#include "snapshot/host_speed.h"
#include "snapshot/page_writer.h"
#include "snapshot/qemu_settings.h"
#include "snapshot/run_state.h"
#include "snapshot/spool.h"
#include "storage/space.h"

#define LOG_AREA "plan"
#include "core/base/log.h"

#define SAMPLE_S       1
#define SAMPLE_PAGES   8192 /* of each GiB */
#define SAMPLE_WAIT_NS (10 * NS_PER_SEC)
#define ASK_AGAIN_NS   (100 * NS_PER_MS)

#define OLDEST_TESTED QEMU_VERSION(7, 2)

struct planning {
    const struct plan_args *args;
    struct plan_report *report;
    struct qmp_session *qmp;
    struct qemu_settings settings;
    struct capture_vm vm;
    json_t *facts;
    char run_state[32];
    bool migrating;
    struct plan_history history;
};

static void tell(struct planning *p, bool warning, const struct error *why)
{
    const struct plan_blocker blocker = {.warning = warning, .why = why};

    if (!warning && p->report->n_blockers++ == 0)
        p->report->first_code = why->code;
    p->args->blocker(p->args->arg, &blocker);
}

/* A check that says no is a blocker; QEMU being gone is an error. */
static int judge(struct planning *p, int rc, const struct error *why,
                 struct error *err)
{
    if (rc == 0)
        return 0;
    if (rc != ERR_UNSUPPORTED && rc != ERR_NOSPC && rc != ERR_USAGE)
        return error_copy(err, why);
    tell(p, false, why);
    return 0;
}

/* Blockers. */

static int check_run_state(struct planning *p, struct error *err)
{
    cleanup_json json_t *answer = NULL;
    struct error why = ERROR_INIT;
    int rc = qmp_execute(p->qmp, "query-status", NULL, &answer, err);

    if (rc < 0)
        return rc;
    snprintf(p->run_state, sizeof(p->run_state), "%s",
             json_path_str(answer, "status", ""));
    p->vm.running = strcmp(p->run_state, "running") == 0;
    return judge(p, run_state_check_start(p->run_state, &why), &why, err);
}

static int check_migration(struct planning *p, struct error *err)
{
    cleanup_json json_t *answer = NULL;
    struct error why = ERROR_INIT;
    const json_t *reason;
    size_t i;
    int rc = qmp_execute(p->qmp, "query-migrate", NULL, &answer, err);

    if (rc < 0)
        return rc;
    p->migrating = migration_is_active(json_path_str(answer, "status", ""));
    if (p->migrating) {
        fail(&why, ERR_UNSUPPORTED, "a migration of this VM is under way (%s)",
             json_path_str(answer, "status", ""));
        error_hint(&why, "wait until it is over, or end it by "
                         "'migrate_cancel'");
        tell(p, false, &why);
    }
    json_array_foreach(json_object_get(answer, "blocked-reasons"), i, reason)
    {
        const char *text = json_string_value(reason);

        fail(&why, ERR_UNSUPPORTED, "QEMU cannot migrate this VM: %s",
             text ? text : "?");
        error_hint(&why, "remove that device or option from the VM");
        tell(p, false, &why);
    }
    return 0;
}

static int check_settings(struct planning *p, struct error *err)
{
    struct error why = ERROR_INIT;
    int rc = qemu_settings_read_capabilities(&p->settings, err);

    if (rc < 0)
        return rc;
    p->vm.can_background =
        qemu_settings_has(&p->settings, "background-snapshot");
    return judge(p, qemu_settings_read_parameters(&p->settings, &why), &why,
                 err);
}

/* A job at work may hold a disk when the VM is stopped for its last pages. */
static int check_block_jobs(struct planning *p, struct error *err)
{
    cleanup_json json_t *jobs = NULL;
    struct error why = ERROR_INIT;
    const json_t *job;
    size_t i;
    int rc = qmp_execute(p->qmp, "query-block-jobs", NULL, &jobs, &why);

    if (rc < 0)
        return rc == ERR_UNSUPPORTED ? 0 : error_copy(err, &why);
    json_array_foreach(jobs, i, job)
    {
        fail(&why, ERR_UNSUPPORTED, "a block job is at work: %.60s of '%.60s'",
             json_path_str(job, "type", "?"),
             json_path_str(job, "device", "?"));
        error_hint(&why, "QEMU may refuse to stop the VM's disks in mode "
                         "stream while it runs: wait for its end");
        tell(p, true, &why);
    }
    return 0;
}

static void check_version(struct planning *p)
{
    struct error why = ERROR_INIT;
    int major, minor, micro;

    qmp_session_version(p->qmp, &major, &minor, &micro);
    p->vm.version = QEMU_VERSION(major, minor);
    if (p->vm.version >= OLDEST_TESTED)
        return;
    fail(&why, ERR_UNSUPPORTED,
         "QEMU %d.%d is older than what firn is tested "
         "with",
         major, minor);
    error_hint(&why, "use QEMU 7.2 or later");
    tell(p, true, &why);
}

static int look_at_facts(struct planning *p, struct error *err)
{
    const char *name;
    struct error why = ERROR_INIT;
    const json_t *b;
    size_t i;
    int rc = vm_facts_query(p->qmp, NULL, &p->facts, err);

    if (rc < 0)
        return rc;
    p->vm.tcg = strcmp(json_path_str(p->facts, "accelerator", "tcg"), "kvm");
    p->vm.n_backends = json_array_size(json_path(p->facts, "memory.backends"));
    json_array_foreach(json_object_get(p->facts, "ramblocks"), i, b)
        p->report->ram_bytes +=
        (uint64_t)MAX(json_path_int(b, "used_bytes", 0), 0);
    name = p->args->name ? p->args->name : json_path_str(p->facts, "name", "");
    if (!name[0])
        name = json_path_str(p->facts, "uuid", "");
    snprintf(p->report->vm, sizeof(p->report->vm), "%s", name);
    if (name[0])
        return 0;
    fail(&why, ERR_USAGE, "the VM has neither a name nor a uuid");
    error_hint(&why, "give it one with --name");
    tell(p, false, &why);
    return 0;
}

/* Choosing. */

static int try_background(struct planning *p, struct error *err)
{
    const struct qemu_wishes wishes = {.mode = SNAPSHOT_BACKGROUND,
                                       .downtime_limit_ms = 300};
    struct error why = ERROR_INIT;
    int rc;

    if (p->migrating)
        return 0;
    qemu_settings_recall(&p->settings);
    rc = qemu_settings_apply(&p->settings, &wishes, &why);
    if (rc == 0)
        return qemu_settings_put_back(&p->settings, err);
    return judge(p, rc, &why, err);
}

static int choose_mode(struct planning *p, struct error *err)
{
    struct capture_choice choice;
    struct error why = ERROR_INIT;
    int rc = capture_mode_choose(p->args->mode, &p->vm, &choice, &why);

    if (rc < 0)
        return judge(p, rc, &why, err);
    p->report->mode = choice.mode;
    p->report->mode_reason = choice.reason;
    return choice.mode == SNAPSHOT_BACKGROUND ? try_background(p, err) : 0;
}

/* Sampling. */

static int await_sample(struct planning *p, uint64_t *ret, struct error *err)
{
    uint64_t give_up = clock_monotonic_ns() + SAMPLE_WAIT_NS;

    for (;;) {
        cleanup_json json_t *answer = NULL;
        uint64_t now = clock_monotonic_ns();
        int rc = qmp_execute(p->qmp, "query-dirty-rate", NULL, &answer, err);

        if (rc < 0 || now >= give_up)
            return rc;
        if (strcmp(json_path_str(answer, "status", ""), "measured") == 0) {
            *ret = (uint64_t)MAX(json_path_int(answer, "dirty-rate", 0), 0)
                   << 20;
            return 0;
        }
        rc = stopper_wait(p->args->stop, -1, 0, now + ASK_AGAIN_NS, err);
        if (rc < 0 && (rc != ERR_TIMEOUT || stopper_pulled(p->args->stop)))
            return rc;
    }
}

static int sample_dirty_rate(struct planning *p, struct error *err)
{
    struct error why = ERROR_INIT;
    json_t *args;
    int rc;

    if (!p->vm.running)
        return 0;
    rc = json_build(&args, err, "{s:i, s:i}", "calc-time", SAMPLE_S,
                    "sample-pages", SAMPLE_PAGES);
    if (rc < 0)
        return rc;
    rc = qmp_execute(p->qmp, "calc-dirty-rate", args, NULL, &why);
    if (rc == 0)
        rc = await_sample(p, &p->report->question.dirty_bytes_per_s, &why);
    if (rc != ERR_UNSUPPORTED)
        return rc < 0 ? error_copy(err, &why) : 0;
    error_wrap(&why, "the guest's rate of writing is not known");
    tell(p, true, &why);
    return 0;
}

static int load_history(struct planning *p, struct error *err)
{
    struct snapshot_summary *all = NULL;
    size_t n = 0;
    int rc = repository_list(p->args->repository, NULL, NULL, &all, &n, err);

    if (rc < 0)
        return rc;
    plan_history_of(all, n, p->report->vm, &p->history);
    for (size_t i = 0; i < n; i++)
        snapshot_summary_release(&all[i]);
    free(all);
    return 0;
}

/* Of the content, what the guest has written since the last snapshot. */
static uint64_t fresh_bytes(const struct planning *p)
{
    const struct plan_history *h = &p->history;
    const struct plan_question *q = &p->report->question;
    uint64_t now = clock_realtime_ns();
    double since_s = (double)(now - MIN(h->time_ns, now)) / (double)NS_PER_SEC;
    double written = (double)q->dirty_bytes_per_s * since_s;

    return h->known && written < (double)q->content_bytes ? (uint64_t)written
                                                          : q->content_bytes;
}

static void guess_content(struct planning *p)
{
    const struct plan_history *h = &p->history;
    struct plan_question *q = &p->report->question;
    uint64_t touched = process_memory(qmp_session_peer_pid(p->qmp));

    q->content_bytes = p->report->ram_bytes;
    if (h->known)
        q->content_bytes = h->content_bytes;
    else if (touched)
        q->content_bytes = MIN(touched, q->content_bytes);
    /* One that had a predecessor tells what the next one will add. */
    q->share = p->args->level == FRAME_CODEC_NONE ? 1.0 : h->share;
    q->new_bytes = h->seen_twice
                       ? h->new_bytes
                       : (uint64_t)((double)fresh_bytes(p) * q->share);
}

static int guess_pace(struct planning *p, struct error *err)
{
    const struct plan_history *h = &p->history;
    struct plan_question *q = &p->report->question;
    uint64_t limit = p->args->max_bandwidth_bytes_per_s;
    uint64_t pace = h->bytes_per_s;
    int rc = 0;

    if (!pace)
        rc = host_speed_measure(p->args->level ? p->args->level : 1,
                                page_writer_default_lanes(), p->args->stop,
                                &pace, err);
    if (h->known && !h->seen_twice)
        pace = plan_pace(q->content_bytes, fresh_bytes(p), pace);
    pace = MIN(pace, PLAN_QEMU_BYTES_PER_S);
    if (limit)
        pace = MIN(pace, limit);
    q->bytes_per_s = MAX(pace, 1000);
    return rc;
}

static int pose_question(struct planning *p, struct error *err)
{
    p->report->question.running = p->vm.running;
    p->report->question.max_downtime_ms = p->args->max_downtime_ms;
    p->report->from_history = p->history.known;
    guess_content(p);
    return guess_pace(p, err);
}

/* Auto gives a stream up that does not converge. */
static int predict(struct planning *p, struct error *err)
{
    struct plan_report *r = p->report;
    struct capture_choice choice;
    struct error why = ERROR_INIT;

    r->question.mode = r->mode;
    plan_predict(&r->question, &r->answer);
    if (r->answer.converges)
        return 0;
    if (p->args->mode == SNAPSHOT_AUTO &&
        capture_mode_choose_again(&p->vm, &choice, &why) == 0) {
        r->falls_back = true;
        r->mode_reason = choice.reason;
        r->mode = choice.mode;
        r->question.mode = choice.mode;
        plan_predict(&r->question, &r->answer);
        return try_background(p, err);
    }
    fail(&why, ERR_BUDGET,
         "the guest writes faster than its memory will be read: a stream "
         "would not converge");
    error_hint(&why, "--auto-converge, --mode background, a larger "
                     "--max-downtime or --max-bandwidth helps");
    tell(p, false, &why);
    return 0;
}

static int check_space(struct planning *p, struct error *err)
{
    const struct plan_report *r = p->report;
    struct error why = ERROR_INIT;
    struct space space;
    uint64_t need = r->answer.stored_bytes;
    int rc = space_of(p->args->repository, &space, err);

    if (rc < 0)
        return rc;
    p->report->free_bytes = space.free_bytes;
    if (r->mode == SNAPSHOT_BACKGROUND)
        need += spool_worst_case_bytes(json_object_get(p->facts, "ramblocks"));
    rc = space_check(p->args->repository, p->args->reserve_bytes, need, &why);
    if (rc == ERR_NOSPC)
        space_explain(p->args->repository, &why);
    return judge(p, rc, &why, err);
}

static int find_blockers(struct planning *p, struct error *err)
{
    int rc;

    check_version(p);
    rc = check_run_state(p, err);
    if (rc == 0)
        rc = check_migration(p, err);
    if (rc == 0)
        rc = check_settings(p, err);
    if (rc == 0)
        rc = check_block_jobs(p, err);
    if (rc == 0)
        rc = look_at_facts(p, err);
    return rc < 0 ? rc : choose_mode(p, err);
}

static int forecast(struct planning *p, struct error *err)
{
    int rc = load_history(p, err);

    if (rc == 0)
        rc = sample_dirty_rate(p, err);
    if (rc == 0)
        rc = pose_question(p, err);
    if (rc == 0)
        rc = predict(p, err);
    if (rc == 0)
        rc = check_space(p, err);
    p->report->predicted = rc == 0;
    return rc;
}

int plan_job_run(const struct plan_args *args, struct plan_report *ret,
                 struct error *err)
{
    struct plan_args own = *args;
    struct planning p = {.args = &own, .report = ret};
    struct qmp_open_args open = {.path = args->qmp_path, .stop = args->stop};
    int rc = qmp_session_open(&open, &p.qmp, err);

    *ret = (struct plan_report){0};
    if (!own.max_downtime_ms)
        own.max_downtime_ms = SNAPSHOT_DOWNTIME_MS;
    p.settings.qmp = p.qmp;
    if (rc == 0)
        rc = find_blockers(&p, err);
    /* Without a mode there is nothing to foretell. */
    if (rc == 0 && ret->mode_reason)
        rc = forecast(&p, err);
    qemu_settings_release(&p.settings);
    qmp_session_close(p.qmp);
    json_decref(p.facts);
    return rc;
}

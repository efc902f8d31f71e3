#include "cli/run/run_report.h"

#include <inttypes.h>

#include "cli/output.h"
#include "core/base/clock.h"

/* The worst first: lost data before missing snapshots, what a person must put
 * right before what may pass by itself. */
static const int by_weight[] = {
    ERR_INTERRUPTED, ERR_TERMINATED, ERR_CORRUPT, ERR_FORMAT,       ERR_NOREPO,
    ERR_WRONGKEY,    ERR_NOSPC,      ERR_USAGE,   ERR_INCOMPATIBLE, ERR_IO,
    ERR_TIMEOUT,     ERR_BUDGET,     ERR_PEER,    ERR_LOCKED,       ERR_PARTIAL,
    0,
};

/* By exit status: codes that share one weigh the same. */
static size_t weight(int code)
{
    size_t i = 0;

    while (i < ARRAY_LEN(by_weight) - 1 &&
           error_exit_status(by_weight[i]) != error_exit_status(code))
        i++;
    return i;
}

bool run_report_worse(int a, int b)
{
    return weight(a) < weight(b);
}

static const char *subject(const struct run_task *t)
{
    return t->vm ? t->vm->name : t->repository;
}

static json_t *task_json(const struct run_task *t)
{
    json_t *o = json_pack(
        "{s:s, s:o, s:s, s:s}", "type", t->vm ? "vm" : "repository",
        t->vm ? "vm" : "path", json_text(subject(t)), "result",
        run_result_name(t->result), "repository", t->repository);
    char time[32];

    if (t->vm) {
        clock_format_utc(t->last_ns, time);
        json_object_set_new(o, "due", json_boolean(t->due));
        json_object_set_new(o, "last",
                            t->last_ns ? json_string(time) : json_null());
        json_object_set_new(o, "forgotten",
                            json_integer((json_int_t)t->forgotten));
    }
    if (t->id[0])
        json_object_update_new(
            o, json_pack("{s:s, s:I, s:I, s:I, s:I}", "id", t->id,
                         "downtime_ms", (json_int_t)t->downtime_ms,
                         "duration_ms", (json_int_t)t->duration_ms,
                         "stored_bytes", (json_int_t)t->stored_bytes,
                         "qemu_faults", (json_int_t)t->qemu_faults));
    if (t->why.code)
        json_object_update_new(
            o, json_pack("{s:s, s:o, s:o}", "code",
                         error_code_name(t->why.code), "message",
                         json_text(t->why.message), "hint",
                         json_text(t->why.hint)));
    return o;
}

/* For people: what went well. */
static void describe(const struct run_task *t, char *text, size_t size)
{
    char when[32], stored[32];

    output_time(t->last_ns, when);
    if (t->result == RUN_NOT_RUNNING)
        snprintf(text, size, "does not run, skipped");
    else if (t->result == RUN_NOT_DUE && t->vm)
        snprintf(text, size, "not due, last snapshot %s", when);
    else if (t->dry_run && t->forgets)
        snprintf(text, size,
                 "due, last snapshot %s; of those there are, %" PRIu64
                 " would be forgotten",
                 when, t->forgotten);
    else if (t->dry_run)
        snprintf(text, size, "due, last snapshot %s", when);
    else if (t->id[0])
        snprintf(text, size,
                 "snapshot %s, %s stored, guest stopped for %" PRIu64
                 " ms, %" PRIu64 " forgotten",
                 t->id, output_size(t->stored_bytes, stored), t->downtime_ms,
                 t->forgotten);
    else
        snprintf(text, size, "done");
}

static void tell(const struct run_report *r, const struct run_task *t)
{
    char text[256];

    describe(t, text, sizeof(text));
    if (r->dry_run && t->vm)
        output_text("%s: %s\n", subject(t), text);
    else if (r->cli->verbose)
        output_message("firn: %s: %s\n", subject(t), text);
}

/* One line, whatever it is made of. */
static void tell_failure(const struct run_task *t)
{
    output_message("firn: %s: %s%s%s%s\n", subject(t), t->why.message,
                   t->why.hint[0] ? " (" : "", t->why.hint,
                   t->why.hint[0] ? ")" : "");
}

static void count(struct run_report *r, const struct run_task *t)
{
    if (t->result == RUN_FAILED && run_report_worse(t->why.code, r->worst))
        r->worst = t->why.code;
    r->n_failed += t->result == RUN_FAILED;
    /* Repositories are not counted with the VMs. */
    if (!t->vm)
        return;
    r->n_ok += t->result == RUN_OK;
    r->n_not_due += t->result == RUN_NOT_DUE;
    r->n_not_running += t->result == RUN_NOT_RUNNING;
}

void run_report_add(struct run_report *r, const struct run_task *t)
{
    int rc = 0;

    count(r, t);
    if (t->result == RUN_FAILED && !(r->cli->json && r->cli->quiet))
        tell_failure(t);
    if (r->cli->json)
        rc = output_json(task_json(t), &r->output);
    else if (t->result != RUN_FAILED)
        tell(r, t);
    if (rc < 0)
        stopper_pull(r->cli->stop, rc);
}

int run_report_end(struct run_report *r, uint64_t duration_ms,
                   struct error *err)
{
    int rc;

    if (r->output.code)
        return error_copy(err, &r->output);
    if (!r->cli->json && !r->worst)
        return 0;
    if (r->cli->json) {
        rc = output_json(
            json_pack("{s:s, s:i, s:i, s:i, s:i, s:I, s:i}", "type", "run",
                      "ok", (int)r->n_ok, "not_due", (int)r->n_not_due,
                      "not_running", (int)r->n_not_running, "failed",
                      (int)r->n_failed, "duration_ms", (json_int_t)duration_ms,
                      "status", error_exit_status(r->worst)),
            err);
        if (rc < 0)
            return rc;
    }
    return r->worst ? fail(err, r->worst, "%u of the run's parts failed",
                           r->n_failed)
                    : 0;
}

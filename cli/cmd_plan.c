/*
 * cmd_plan.c - `plan`: a line for each thing in the way, then the figures.
 *
 * Everything is asked and measured by snapshot/plan_job.h without a change to
 * the VM. The exit status is that of the first obstacle, as the capture itself
 * would end, so that scripts can ask before they try.
 */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "snapshot/capture_mode.h"
#include "snapshot/plan_job.h"

struct plan_options {
    const char *qmp;
    const char *name;
    int mode;
    uint64_t max_downtime_ms;
    uint64_t max_bandwidth;
    uint64_t reserve;
    int level;
};

#define DEFAULT_RESERVE UINT64_MAX

/* In the order of enum snapshot_mode. */
static const char *const modes[] = {"auto", "stream", "background", NULL};

#define AT(field) offsetof(struct plan_options, field)
static const struct option_spec options[] = {
    {"qmp", 0, OPTION_STRING, AT(qmp), "SOCKET", "the VM's QMP socket"},
    {"name", 0, OPTION_STRING, AT(name), "VM",
     "name in the repository; else the VM's own (QEMU's -name)"},
    {"mode", 0, OPTION_CHOICE, AT(mode), "MODE",
     "as for snapshot: auto, stream or background", modes},
    {"max-downtime", 0, OPTION_DURATION, AT(max_downtime_ms), "DUR",
     "how long the guest may stand still; 300ms unless told"},
    {"max-bandwidth", 0, OPTION_RATE, AT(max_bandwidth), "RATE",
     "read no faster than this"},
    {"reserve", 0, OPTION_SIZE, AT(reserve), "SIZE",
     "room that stays free on the repository's disk; 1 % of it unless told"},
    {"compression", 0, OPTION_LEVEL, AT(level), "LEVEL",
     OPTION_COMPRESSION_HELP},
    {0},
};
#undef AT

struct telling {
    struct cli *cli;
    struct error output; /* the first failure to print; code 0: none */
};

static void print_blocker(void *arg, const struct plan_blocker *b)
{
    struct telling *t = arg;
    const char *kind = b->warning ? "warning" : "blocker";
    int rc;

    if (t->output.code)
        return;
    if (t->cli->json) {
        rc = output_json(json_pack("{s:s, s:s, s:o, s:o}", "type", kind, "code",
                                   error_code_name(b->why->code), "message",
                                   json_text(b->why->message), "hint",
                                   json_text(b->why->hint)),
                         &t->output);
    } else {
        output_text("%s: %s\n", kind, b->why->message);
        if (b->why->hint[0])
            output_text("%9s-> %s\n", "", b->why->hint);
        rc = output_flush(&t->output);
    }
    (void)rc;
}

static json_t *report_json(const struct plan_report *r)
{
    const struct plan_question *q = &r->question;
    const struct plan_answer *a = &r->answer;
    json_t *o = json_pack("{s:s, s:o, s:i, s:b}", "type", "plan", "vm",
                          json_text(r->vm), "blockers", (int)r->n_blockers,
                          "predicted", r->predicted);

    if (!o || !r->predicted)
        return o;
    if (json_object_update_new(
            o,
            json_pack("{s:s, s:s, s:b, s:i, s:I, s:I, s:I, s:I, s:I, s:I,"
                      " s:I, s:I, s:s, s:I}",
                      "mode", capture_mode_name(r->mode), "mode_reason",
                      r->mode_reason, "converges", a->converges, "rounds",
                      (int)a->rounds, "downtime_ms", (json_int_t)a->downtime_ms,
                      "duration_ms", (json_int_t)a->duration_ms, "read_bytes",
                      (json_int_t)a->read_bytes, "stored_bytes",
                      (json_int_t)a->stored_bytes, "ram_bytes",
                      (json_int_t)r->ram_bytes, "content_bytes",
                      (json_int_t)q->content_bytes, "dirty_bytes_per_s",
                      (json_int_t)q->dirty_bytes_per_s, "bytes_per_s",
                      (json_int_t)q->bytes_per_s, "basis",
                      r->from_history ? "history" : "measured", "free_bytes",
                      (json_int_t)r->free_bytes)) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

#define FACT "  %-13s "

static void print_report(const struct plan_report *r)
{
    const struct plan_question *q = &r->question;
    const struct plan_answer *a = &r->answer;
    char x[32], y[32], z[32];

    output_text("%s\n", r->vm[0] ? r->vm : "(no name)");
    output_text(FACT "%s: %s\n", "mode", capture_mode_name(r->mode),
                r->mode_reason);
    output_text(FACT "%s\n", "downtime", output_duration(a->downtime_ms, x));
    output_text(FACT "%s\n", "time", output_duration(a->duration_ms, x));
    output_text(FACT "%s new in the repository, %s free there\n", "bytes",
                output_size(a->stored_bytes, x), output_size(r->free_bytes, y));
    output_text(FACT "%s of RAM, about %s not zero; %s read in %u round%s\n",
                "memory", output_size(r->ram_bytes, x),
                output_size(q->content_bytes, y), output_size(a->read_bytes, z),
                a->rounds, a->rounds == 1 ? "" : "s");
    output_text(FACT "the guest writes %s/s, %s/s can be read\n", "speed",
                output_size(q->dirty_bytes_per_s, x),
                output_size(q->bytes_per_s, y));
    output_text(FACT "%s\n", "known from",
                r->from_history ? "the VM's last snapshots, and a sample"
                                : "a sample; the VM was never captured");
}

static int finish(struct cli *cli, const struct plan_report *r,
                  struct error *err)
{
    int rc;

    if (cli->json)
        rc = output_json(report_json(r), err);
    else if (r->predicted)
        print_report(r);
    rc = output_flush(err);
    if (rc < 0 || r->n_blockers == 0)
        return rc;
    cli->error_told = true;
    return fail(err, r->first_code, "%u thing%s in the way of a capture",
                r->n_blockers, r->n_blockers == 1 ? " is" : "s are");
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    struct plan_options o = {
        .max_downtime_ms = 300, .reserve = DEFAULT_RESERVE, .level = 1};
    struct telling t = {.cli = cli};
    struct plan_report report;
    struct option_words words;
    int rc = options_parse(options, argc, argv, &o, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 0, 0, "", err);
    if (rc == 0 && (!o.qmp || !o.qmp[0]))
        rc = fail(err, ERR_USAGE, "--qmp SOCKET is missing");
    if (rc == 0)
        rc = cli_open_repository(cli, &repository, err);
    if (rc < 0)
        return rc;
    rc = plan_job_run(
        &(struct plan_args){.repository = repository,
                            .qmp_path = o.qmp,
                            .name = o.name,
                            .mode = (enum snapshot_mode)o.mode,
                            .max_downtime_ms = o.max_downtime_ms,
                            .max_bandwidth_bytes_per_s = o.max_bandwidth,
                            .reserve_bytes = o.reserve == DEFAULT_RESERVE
                                                 ? 0
                                                 : MAX(o.reserve, 1),
                            .level = o.level,
                            .stop = cli->stop,
                            .blocker = print_blocker,
                            .arg = &t},
        &report, err);
    if (rc == 0 && t.output.code)
        rc = error_copy(err, &t.output);
    return rc < 0 ? rc : finish(cli, &report, err);
}

const struct command cmd_plan = {
    .name = "plan",
    .summary = "foretell what a capture takes, and what is in its way",
    .usage = "plan --qmp SOCKET [options]",
    .options = options,
    .details =
        "Downtime, time and bytes are estimated from the VM's last snapshots "
        "and a second in which QEMU samples what the guest writes; for a VM "
        "that was never captured, from the memory in use and the speed of "
        "this host. Each thing that a capture would stop at is a line, with "
        "what helps; the exit status is then that of the first. Nothing is "
        "captured.",
    .run = run,
};

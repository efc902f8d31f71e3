/*
 * cmd_snapshot.c - `snapshot`: options into snapshot_args, hooks, progress, and
 * the figures of the capture.
 *
 * The capture calls back at its moments: hooks run there, and what the figures
 * need is kept for the report and the metrics file. A capture that held the VM
 * for longer than allowed is stored all the same and told by the exit status.
 */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/hooks.h"
#include "cli/metrics.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/summary.h"
#include "snapshot/snapshot_job.h"

struct snapshot_options {
    const char *qmp;
    const char *name;
    int mode;
    uint64_t channels;
    int channel_method;
    uint64_t max_downtime_ms;
    uint64_t max_bandwidth;
    int level;
    bool across_vms;
    uint64_t timeout_ms;
    uint64_t reserve;
    bool auto_converge;
    bool verify;
    json_t *tags;
    const char *time;
    uint64_t time_ns;
    struct option_list hooks;
    uint64_t hook_timeout_ms;
    const char *metrics_file;
};

/* What the capture's calls back to us work with. */
struct taking {
    struct progress *progress;
    struct hooks hooks;
    uint64_t qemu_faults;
    struct metrics_of_vm figures;
};

/* In the order of enum snapshot_mode. */
static const char *const modes[] = {"auto", "stream", "background", NULL};
static_assert(SNAPSHOT_AUTO == 0 && SNAPSHOT_STREAM == 1 &&
                  SNAPSHOT_BACKGROUND == 2,
              "the names follow the enum");

#define DEFAULT_RESERVE UINT64_MAX

/* In the order of enum snapshot_channel_method. */
static const char *const methods[] = {"auto", "none", "zlib", "zstd", NULL};
static_assert(SNAPSHOT_METHOD_AUTO == 0 && SNAPSHOT_METHOD_NONE == 1 &&
                  SNAPSHOT_METHOD_ZLIB == 2 && SNAPSHOT_METHOD_ZSTD == 3,
              "the names follow the enum");

/* --channels was not given. */
#define BY_CORES UINT64_MAX

#define AT(field) offsetof(struct snapshot_options, field)
static const struct option_spec options[] = {
    {"qmp", 0, OPTION_STRING, AT(qmp), "SOCKET",
     "the VM's QMP socket ('-qmp unix:SOCKET,server=on,wait=off')"},
    {"name", 0, OPTION_STRING, AT(name), "VM",
     "name in the repository; else the VM's own (QEMU's -name)"},
    {"mode", 0, OPTION_CHOICE, AT(mode), "MODE",
     "how to capture: auto, stream or background", modes},
    {"channels", 0, OPTION_UINT, AT(channels), "N",
     "multifd channels in mode stream, 1 to 16; half the host's cores, at most "
     "4, unless told"},
    {"multifd-compression", 0, OPTION_CHOICE, AT(channel_method), "METHOD",
     "how QEMU compresses in the channels: auto, none, zlib or zstd", methods},
    {"max-downtime", 0, OPTION_DURATION, AT(max_downtime_ms), "DUR",
     "how long the guest may stand still; 300ms unless told"},
    {"auto-converge", 0, OPTION_FLAG, AT(auto_converge), NULL,
     "let QEMU slow the guest down when it writes too fast"},
    {"max-bandwidth", 0, OPTION_RATE, AT(max_bandwidth), "RATE",
     "read no faster than this, such as 200M/s"},
    {"compression", 0, OPTION_LEVEL, AT(level), "LEVEL",
     OPTION_COMPRESSION_HELP},
    {"dedup-across-vms", 0, OPTION_FLAG, AT(across_vms), NULL,
     "share contents with the newest snapshots of other VMs as well, each "
     "compared byte by byte"},
    {"timeout", 0, OPTION_DURATION, AT(timeout_ms), "DUR",
     "give up after this time; the VM runs on, nothing is stored"},
    {"reserve", 0, OPTION_SIZE, AT(reserve), "SIZE",
     "room that stays free on the repository's disk; 1 % of it unless told"},
    {"verify", 0, OPTION_FLAG, AT(verify), NULL,
     "read all stored data back before reporting success"},
    {"tag", 0, OPTION_TAG, AT(tags), "K=V",
     "keep a word with the snapshot; may be repeated"},
    {"time", 0, OPTION_STRING, AT(time), "TIME",
     "its time in the repository, '2026-11-21 14:00:00'; else the instant"},
    {"hook", 0, OPTION_LIST, AT(hooks), "WHEN=COMMAND",
     "run a shell command before-pause, paused, resumed, committed or failed, "
     "with JSON on stdin; may be repeated"},
    {"hook-timeout", 0, OPTION_DURATION, AT(hook_timeout_ms), "DUR",
     "how long a hook may run before it is killed; 30s unless told. All hooks "
     "'paused' together: --max-downtime, if that is less"},
    {"metrics-file", 0, OPTION_STRING, AT(metrics_file), "FILE",
     "write figures for Prometheus to this file"},
    {0},
};
#undef AT

static int check(struct snapshot_options *o, struct error *err)
{
    int rc = o->time ? option_parse_time(o->time, &o->time_ns, err) : 0;

    if (rc < 0)
        return rc;
    if (!o->qmp || !o->qmp[0]) {
        fail(err, ERR_USAGE, "--qmp SOCKET is missing");
        return error_hint(err, "name the VM's QMP socket; start QEMU with "
                               "'-qmp unix:SOCKET,server=on,wait=off'");
    }
    if (o->channels != BY_CORES &&
        (o->channels < 1 || o->channels > SNAPSHOT_CHANNELS_MAX))
        return fail(err, ERR_USAGE, "--channels %" PRIu64 " is not 1 to %u",
                    o->channels, SNAPSHOT_CHANNELS_MAX);
    if (o->max_downtime_ms == 0)
        return fail(err, ERR_USAGE, "--max-downtime must be more than 0");
    if (o->name && !o->name[0])
        return fail(err, ERR_USAGE, "--name must not be empty");
    if (o->hook_timeout_ms == 0)
        return fail(err, ERR_USAGE, "--hook-timeout must be more than 0");
    return hooks_check(&o->hooks, err);
}

static void show_progress(void *arg, const struct snapshot_progress *p)
{
    const struct taking *t = arg;
    char done[32], total[32], stored[32];

    if (p->total_bytes == 0) {
        progress_update(t->progress, "%s", p->phase);
        return;
    }
    progress_update(t->progress, "%s: %s read, RAM %s, stored %s", p->phase,
                    output_size(p->done_bytes, done),
                    output_size(p->total_bytes, total),
                    output_size(p->stored_bytes, stored));
}

static void show_note(void *arg, const char *text)
{
    const struct taking *t = arg;

    progress_say(t->progress, "%s", text);
}

static int at_moment(void *arg, const struct snapshot_event *event,
                     struct error *err)
{
    struct taking *t = arg;

    t->qemu_faults = event->qemu_faults;
    return hooks_run(&t->hooks, event, err);
}

/* The id alone is data; the sentence about it is for people. */
static int print_result(const struct cli *cli, const struct taking *t,
                        const struct snapshot_summary *s,
                        const struct snapshot_outcome *outcome,
                        struct error *err)
{
    char ram[32], stored[32], took[32];
    cleanup_buf struct buf cost = BUF_INIT;

    if (cli->json) {
        json_t *o = summary_and_capture_json(s, outcome->capture);

        json_object_set_new(o, "qemu_faults",
                            json_integer((json_int_t)t->qemu_faults));
        return output_json(o, err);
    }
    progress_clear(t->progress);
    progress_say(
        t->progress,
        "%s: %s of RAM, %s stored, %s in all, guest stopped for %" PRIu64
        " ms (mode %s)",
        s->vm, output_size(s->ram_bytes, ram),
        output_size(s->stored_bytes, stored),
        output_duration(s->duration_ms, took), s->downtime_ms, s->mode);
    if (cli->verbose > 0 &&
        summary_append_cost(&s->cost, s->ram_bytes, &cost, err) == 0)
        progress_say(t->progress, "%s", buf_str(&cost));
    output_text("%s\n", s->id);
    return output_flush(err);
}

static int over_budget(struct cli *cli, const struct snapshot_options *o,
                       const struct snapshot_summary *s, struct error *err)
{
    cli->error_told = true;
    fail(err, ERR_PARTIAL,
         "snapshot %s is complete, but the guest stood still for %" PRIu64
         " ms, longer than the %" PRIu64 " ms allowed",
         s->id, s->downtime_ms, o->max_downtime_ms);
    return error_hint(err, "%s",
                      strcmp(s->mode, "stream") == 0
                          ? "a quieter moment or --mode background stops the "
                            "guest for less"
                          : "the host was busy; a quieter moment stops the "
                            "guest for less");
}

/* The snapshot is safe, what a hook was to do with it is not done. */
static int hook_failed(const struct taking *t, const struct snapshot_summary *s,
                       struct error *err)
{
    return fail(err, ERR_PARTIAL, "snapshot %s is complete, but %.500s", s->id,
                t->hooks.late.message);
}

/* auto may end in mode background, where a hook `paused` would be passed over
 * in silence. */
static enum snapshot_mode wanted_mode(const struct snapshot_options *o)
{
    if (o->mode == SNAPSHOT_AUTO && hooks_have(&o->hooks, SNAPSHOT_PAUSED))
        return SNAPSHOT_STREAM;
    return (enum snapshot_mode)o->mode;
}

static int capture(struct cli *cli, const struct snapshot_options *o,
                   struct repository *repository, struct taking *t,
                   struct error *err)
{
    struct snapshot_summary summary = {0};
    struct snapshot_outcome outcome = {0};
    int rc = snapshot_job_run(
        &(struct snapshot_args){.repository = repository,
                                .qmp_path = o->qmp,
                                .name = o->name,
                                .mode = wanted_mode(o),
                                .auto_converge = o->auto_converge,
                                .channels = o->channels == BY_CORES
                                                ? 0
                                                : (unsigned)o->channels,
                                .channel_method = (enum
                                    snapshot_channel_method)o->channel_method,
                                .max_downtime_ms = o->max_downtime_ms,
                                .max_bandwidth_bytes_per_s = o->max_bandwidth,
                                .timeout_ms = o->timeout_ms,
                                .reserve_bytes = o->reserve == DEFAULT_RESERVE
                                                     ? 0
                                                     : MAX(o->reserve, 1),
                                .level = o->level,
                                .across_vms = o->across_vms,
                                .verify = o->verify,
                                .tags = o->tags,
                                .time_ns = o->time_ns,
                                .stop = cli->stop,
                                .progress = show_progress,
                                .note = show_note,
                                .moment = at_moment,
                                .arg = t},
        &summary, &outcome, err);

    /* The error that called it counts; its own is told beside. */
    if (rc < 0 && t->hooks.late.code)
        progress_say(t->progress, "%s", t->hooks.late.message);
    if (rc < 0)
        return rc;
    t->figures = (struct metrics_of_vm){.success = true,
                                        .taken = true,
                                        .last_ns = summary.time_ns,
                                        .duration_ms = summary.duration_ms,
                                        .downtime_ms = summary.downtime_ms,
                                        .stored_bytes = summary.stored_bytes,
                                        .qemu_faults = t->qemu_faults};
    rc = print_result(cli, t, &summary, &outcome, err);
    if (rc == 0 && t->hooks.late.code)
        rc = hook_failed(t, &summary, err);
    else if (rc == 0 && outcome.over_budget)
        rc = over_budget(cli, o, &summary, err);
    snapshot_outcome_release(&outcome);
    snapshot_summary_release(&summary);
    return rc;
}

static int write_metrics(const char *path, const struct metrics_of_vm *figures,
                         struct error *err)
{
    struct metrics m;
    int rc = metrics_load(path, &m, err);

    if (rc == 0)
        rc = metrics_set_vm(&m, figures, err);
    if (rc == 0)
        rc = metrics_write(&m, path, err);
    metrics_release(&m);
    return rc;
}

/* `rc` is the capture's, and counts before that of the file. */
static int update_metrics(const struct snapshot_options *o, struct taking *t,
                          int rc, struct error *err)
{
    struct error why = ERROR_INIT;

    t->figures.vm = t->hooks.vm[0] ? t->hooks.vm : o->name;
    t->figures.success = rc == 0;
    t->figures.runs = rc != ERR_PEER;
    /* A VM that did not tell its name cannot be told from others. */
    if (!t->figures.vm ||
        write_metrics(o->metrics_file, &t->figures, &why) == 0)
        return rc;
    if (rc < 0) {
        progress_say(t->progress, "%s", why.message);
        return rc;
    }
    return fail(err, ERR_PARTIAL, "the snapshot is complete, but %.500s",
                why.message);
}

static int take(struct cli *cli, const struct snapshot_options *o,
                struct repository *repository, struct error *err)
{
    cleanup(progress) struct progress *progress = NULL;
    struct taking t = {
        .hooks = {.words = &o->hooks,
                  .limit_ms = o->hook_timeout_ms,
                  .paused_limit_ms = o->max_downtime_ms,
                  .qmp_path = o->qmp,
                  .repository = repository_path(repository),
                  .stop = cli->stop},
    };
    int rc = progress_new(cli, &progress, err);

    if (rc < 0)
        return rc;
    t.progress = progress;
    rc = capture(cli, o, repository, &t, err);
    if (o->metrics_file)
        rc = update_metrics(o, &t, rc, err);
    return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    struct snapshot_options o = {.reserve = DEFAULT_RESERVE,
                                 .channels = BY_CORES,
                                 .max_downtime_ms = 300,
                                 .level = 1,
                                 .hook_timeout_ms = 30000};
    struct option_words words;
    int rc = options_parse(options, argc, argv, &o, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 0, 0, "", err);
    if (rc == 0)
        rc = check(&o, err);
    if (rc == 0)
        rc = cli_open_repository(cli, &repository, err);
    if (rc == 0)
        rc = take(cli, &o, repository, err);
    json_decref(o.tags);
    return rc;
}

const struct command cmd_snapshot = {
    .name = "snapshot",
    .summary = "capture a VM, running or paused, and print the snapshot's id",
    .usage = "snapshot --qmp SOCKET [options]",
    .options = options,
    .details =
        "The VM goes on as it was found, whatever happens to firn. Mode "
        "stream reads memory while the guest runs and stops it for a moment "
        "at the end; mode background captures the instant at which it begins "
        "and slows the guest's writes until it is done. auto takes stream, "
        "but for QEMU under TCG before 9.0, or with memory in several "
        "backends, where only background is right, "
        "and for a guest that writes faster than its memory is read.",
    .run = run,
};

/*
 * cmd_restore.c - `restore`: options into restore_args, and a line for each of
 * the two instants that count.
 *
 * "Running" and "resident" are told as they happen, as text or as JSON; where
 * the command ends in between (--detach, an interrupt) the keeper goes on
 * without us. Checks of options that exclude one another are made here, before
 * anything is touched.
 */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "restore/restore_job.h"

struct restore_options {
    const char *qmp;
    bool eager;
    bool detach;
    bool dry_run;
    bool disks_changed_ok;
    bool resume;
    bool prefetch;
    bool fill;
    bool preempt;
    bool blocktime;
    uint64_t max_bandwidth;
    uint64_t settle_ms;
    const char *head_start;
    uint64_t head_start_ms; /* of these words */
    bool new_identity;
    struct option_list map;
    int on_error;
    uint64_t pager_timeout_ms;
};

/* In the order of enum restore_on_error. */
static const char *const on_errors[] = {"hang", "kill", NULL};
static_assert(RESTORE_ON_ERROR_HANG == 0 && RESTORE_ON_ERROR_KILL == 1,
              "the names follow the enum");

#define AT(field) offsetof(struct restore_options, field)
static const struct option_spec options[] = {
    {"qmp", 0, OPTION_STRING, AT(qmp), "SOCKET",
     "into the QEMU at this QMP socket, started with -incoming defer"},
    {"eager", 0, OPTION_FLAG, AT(eager), NULL,
     "bring in all memory before the VM runs"},
    {"detach", 0, OPTION_FLAG, AT(detach), NULL,
     "return as soon as the VM runs"},
    {"dry-run", 0, OPTION_FLAG, AT(dry_run), NULL,
     "compare only; nothing is restored"},
    {"disks-changed-ok", 0, OPTION_FLAG, AT(disks_changed_ok), NULL,
     "restore though disk images were written since"},
    {"map", 0, OPTION_LIST, AT(map), "OLD=NEW",
     "replace a path, socket, interface or MAC address of the recorded "
     "command line; may be repeated"},
    {"new-identity", 0, OPTION_FLAG, AT(new_identity), NULL,
     "a new generation id (vmgenid), for a copy"},
    {"resume", 0, OPTION_FLAG, AT(resume), NULL,
     "go on for a VM whose pager is gone, or whose damage was repaired"},
    {"pager-timeout", 0, OPTION_DURATION, AT(pager_timeout_ms), "DUR",
     "replace a pager that says nothing for so long; 10s"},
    {"prefetch", 0, OPTION_ON_OFF, AT(prefetch), "on|off",
     "send first what earlier restores asked for (default on)"},
    {"head-start", 0, OPTION_STRING, AT(head_start), "auto|DUR",
     "let the VM wait for these pages, so long at most; 0: not (default auto, "
     "100ms)"},
    {"fill", 0, OPTION_ON_OFF, AT(fill), "on|off",
     "send what nobody asks for (default on)"},
    {"max-bandwidth", 0, OPTION_RATE, AT(max_bandwidth), "RATE",
     "bytes a second of what nobody asks for"},
    {"settle", 0, OPTION_DURATION, AT(settle_ms), "DUR",
     "send it as slowly as allows all to be there within this time"},
    {"preempt", 0, OPTION_FLAG, AT(preempt), NULL,
     "send pages that are asked for through a second socket (QEMU 10)"},
    {"blocktime", 0, OPTION_FLAG, AT(blocktime), NULL,
     "have QEMU measure too how long the VM waits for pages"},
    {"on-error", 0, OPTION_CHOICE, AT(on_error), "ACTION",
     "when a page is damaged: hang (what touches it waits) or kill (the VM, "
     "when it touches it)",
     on_errors},
    {0},
};
#undef AT

struct restore_output {
    const struct cli *cli;
    struct progress *progress; /* NULL until the first sentence */
    struct error failed;       /* of stdout */
};

/* Its thread must not be there before the job has forked; whoever cannot have
 * one is spared the sentences. */
static struct progress *progress_of(struct restore_output *o)
{
    struct error ignored = ERROR_INIT;

    if (!o->progress && progress_new(o->cli, &o->progress, &ignored) < 0)
        return NULL;
    return o->progress;
}

/* An output that fails ends the command: nobody hears it any more. */
static void print_json(struct restore_output *o, json_t *event)
{
    if (output_json(event, &o->failed) < 0)
        stopper_pull(o->cli->stop, ERR_IO);
}

static void print_running(void *arg, const struct restore_event_running *e)
{
    struct restore_output *o = arg;
    char took[32], read[32], image[32];

    if (o->cli->json) {
        print_json(o, json_pack("{s:s, s:I, s:I, s:I, s:I}", "type", "running",
                                "elapsed_ms", (json_int_t)e->elapsed_ms,
                                "read_bytes", (json_int_t)e->read_bytes,
                                "image_bytes", (json_int_t)e->image_bytes,
                                "qemu_pid", (json_int_t)e->qemu_pid));
        return;
    }
    if (!progress_of(o))
        return;
    progress_say(o->progress,
                 "running after %s, process %d; %s of %s read so far",
                 output_duration(e->elapsed_ms, took), (int)e->qemu_pid,
                 output_size(e->read_bytes, read),
                 output_size(e->image_bytes, image));
}

static void print_resident(void *arg, const struct restore_event_resident *e)
{
    struct restore_output *o = arg;
    char took[32], read[32];

    if (o->cli->json) {
        print_json(o, json_copy((json_t *)e->report));
        return;
    }
    if (!progress_of(o))
        return;
    progress_say(o->progress,
                 "resident after %s; %s read, %" PRIu64
                 " faults (median %" PRIu64 " us, p99 %" PRIu64 " us)",
                 output_duration(e->elapsed_ms, took),
                 output_size(e->read_bytes, read), e->faults, e->fault_p50_us,
                 e->fault_p99_us);
}

static void print_note(void *arg, const char *text)
{
    struct restore_output *o = arg;

    if (progress_of(o))
        progress_say(o->progress, "%s", text);
}

static int parse_head_start(struct restore_options *o, struct error *err)
{
    o->head_start_ms = RESTORE_HEAD_START_AUTO;
    if (!o->head_start || strcmp(o->head_start, "auto") == 0)
        return 0;
    if (option_parse_duration(o->head_start, &o->head_start_ms, err) < 0)
        return error_wrap(err, "--head-start");
    return 0;
}

static bool has_head_start(const struct restore_options *o)
{
    return o->head_start_ms > 0 && o->head_start_ms != RESTORE_HEAD_START_AUTO;
}

static int check(const struct restore_options *o,
                 const struct option_words *words, struct error *err)
{
    struct option_words named = {.rest = words->rest, .n_rest = words->n_rest};
    int rc = options_check_words(&named, 1, 1, "SNAP", err);

    if (rc < 0)
        return rc;
    if (o->qmp && !o->qmp[0])
        return fail(err, ERR_USAGE, "--qmp SOCKET is empty");
    if (o->qmp && words->behind)
        return fail(err, ERR_USAGE,
                    "--qmp names a QEMU that waits already; a command behind "
                    "-- would start another");
    if (o->resume && (words->behind || o->eager || o->dry_run))
        return fail(err, ERR_USAGE,
                    "--resume goes on with a VM that runs: no --eager, no "
                    "--dry-run, no command behind --");
    if ((o->map.n > 0 || o->new_identity) && (o->qmp || o->resume))
        return fail(err, ERR_USAGE,
                    "--map and --new-identity change how QEMU is started; "
                    "this one is there already");
    if (o->map.n > 0 && words->behind)
        return fail(err, ERR_USAGE,
                    "--map changes the recorded command line, and there is "
                    "another behind --");
    if (o->pager_timeout_ms == 0)
        return fail(err, ERR_USAGE, "--pager-timeout is 0");
    if (o->eager && (has_head_start(o) || o->settle_ms || !o->fill))
        return fail(err, ERR_USAGE,
                    "--eager brings in everything before the VM runs; "
                    "--head-start, --settle and --fill off have no meaning "
                    "with it");
    if ((o->preempt || o->blocktime) && (o->eager || o->resume))
        return fail(err, ERR_USAGE,
                    "--preempt and --blocktime are for the beginning of a "
                    "lazy restore: no --eager, no --resume");
    if (!o->fill && o->settle_ms)
        return fail(err, ERR_USAGE,
                    "--settle is about what --fill off forbids");
    if (words->behind && !words->behind[0])
        return fail(err, ERR_USAGE, "there is no command behind --");
    return 0;
}

static int restore(struct cli *cli, const struct restore_options *o,
                   const struct option_words *words,
                   struct repository *repository, struct error *err)
{
    struct restore_output output = {.cli = cli};
    char id[SNAPSHOT_ID_LEN + 1];
    int rc = repository_resolve(repository, words->rest[0], id, err);

    if (rc < 0)
        return rc;
    rc = restore_job_run(
        &(struct restore_args){
            .repository = repository,
            .id = id,
            .qmp_path = o->qmp,
            .command = words->behind,
            .eager = o->eager,
            .detach = o->detach,
            .dry_run = o->dry_run,
            .disks_changed_ok = o->disks_changed_ok,
            .resume = o->resume,
            .map = o->map.items,
            .n_map = o->map.n,
            .new_identity = o->new_identity,
            .pager_limit_ms = o->pager_timeout_ms,
            .prefetch = o->prefetch,
            .fill = o->fill,
            .preempt = o->preempt,
            .blocktime = o->blocktime,
            .max_bandwidth = o->max_bandwidth,
            .settle_ms = o->settle_ms,
            .head_start_ms = o->head_start_ms,
            .on_error = (enum restore_on_error)o->on_error,
            .stop = cli->stop,
            .running = print_running,
            .resident = print_resident,
            .note = print_note,
            .arg = &output,
        },
        err);
    if (rc == 0 && o->dry_run && progress_of(&output))
        progress_say(output.progress,
                     "%s fits: nothing would forbid the restore", id);
    progress_free(output.progress);
    if (output.failed.code != 0)
        return error_copy(err, &output.failed);
    return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    struct restore_options o = {
        .prefetch = true, .fill = true, .pager_timeout_ms = 10000};
    struct option_words words;
    int rc = options_parse(options, argc, argv, &o, &words, err);

    if (rc == 0)
        rc = parse_head_start(&o, err);
    if (rc == 0)
        rc = check(&o, &words, err);
    if (rc == 0)
        rc = cli_open_repository(cli, &repository, err);
    if (rc == 0)
        rc = restore(cli, &o, &words, repository, err);
    return rc;
}

const struct command cmd_restore = {
    .name = "restore",
    .summary = "start a VM from a snapshot, before its memory has been read",
    .usage = "restore SNAP [options] [-- QEMU ARG...]",
    .options = options,
    .details =
        "Starts QEMU by the recorded command line (or the one behind --), "
        "compares it with the snapshot, and lets the VM run; its pages follow "
        "as it touches them and in the background. An interrupt after that "
        "leaves the background at work. With --eager all memory comes first.",
    .run = run,
};

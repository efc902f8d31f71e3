/*
 * cmd_check.c - `check`: the findings of storage/verify, one a line.
 *
 * The walk is storage's; here it gets ids, a progress line and a place to tell
 * what it finds. A reader of stdout that has gone away ends the walk.
 */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "storage/keeping/verify.h"

struct check_options {
    uint64_t max_duration_ms;
    unsigned read_data_percent;
};

static const struct option_spec options[] = {
    {"read-data", 0, OPTION_PERCENT,
     offsetof(struct check_options, read_data_percent), "PERCENT",
     "read page data as well and compare every hash: all of it, or the share "
     "that was read longest ago"},
    {"max-duration", 0, OPTION_DURATION,
     offsetof(struct check_options, max_duration_ms), "DUR",
     "stop after this time; the next check goes on"},
    {0},
};

struct check {
    const struct cli *cli;
    struct progress *progress;
    struct error output; /* the first failure to print; code 0: none */
};

static json_t *finding_json(const char *object, const struct error *what)
{
    return json_pack("{s:s, s:s, s:o, s:s, s:o}", "type", "finding", "severity",
                     what->code ? "error" : "information", "object",
                     json_text(object), "code",
                     what->code ? error_code_name(what->code) : "ok", "message",
                     json_text(what->message));
}

static void print_finding(void *arg, const char *object,
                          const struct error *what)
{
    struct check *c = arg;
    int rc;

    progress_clear(c->progress);
    if (c->output.code)
        return;
    if (c->cli->json) {
        rc = output_json(finding_json(object, what), &c->output);
    } else {
        output_text("%s  %s: %s\n", what->code ? "error" : "note ", object,
                    what->message);
        rc = output_flush(&c->output);
    }
    if (rc < 0)
        stopper_pull(c->cli->stop, rc);
}

static void show_progress(void *arg, uint64_t done, uint64_t total)
{
    struct check *c = arg;
    char a[32], b[32];

    progress_update(c->progress, "checking: %s of %s", output_size(done, a),
                    output_size(total, b));
}

static int print_report(const struct cli *cli, unsigned percent,
                        const struct verify_report *r, struct error *err)
{
    if (cli->json)
        return output_json(
            json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:I, s:b}",
                      "type", "check", "snapshots", (json_int_t)r->snapshots,
                      "packs", (json_int_t)r->packs, "errors",
                      (json_int_t)r->errors, "frames_read",
                      (json_int_t)r->frames_read, "pages_hashed",
                      (json_int_t)r->pages_hashed, "unreferenced_packs",
                      (json_int_t)r->unreferenced_packs, "read_data_percent",
                      (int)percent, "read_bytes", (json_int_t)r->read_bytes,
                      "finished", r->finished),
            err);
    if (cli->quiet)
        return 0;
    output_text("%" PRIu64 " snapshot%s and %" PRIu64 " pack%s checked",
                r->snapshots, r->snapshots == 1 ? "" : "s", r->packs,
                r->packs == 1 ? "" : "s");
    if (percent > 0)
        output_text(", %" PRIu64 " pages hashed", r->pages_hashed);
    output_text(": %" PRIu64 " error%s\n", r->errors,
                r->errors == 1 ? "" : "s");
    if (!r->finished)
        output_text("time was up: the next check goes on\n");
    return output_flush(err);
}

/* SNAP words → full ids, each an allocation of `ret`'s. */
static int resolve(struct repository *repository,
                   const struct option_words *words,
                   char (*ret)[SNAPSHOT_ID_LEN + 1], const char **ret_ids,
                   struct error *err)
{
    for (int i = 0; i < words->n_rest; i++) {
        int rc = repository_resolve(repository, words->rest[i], ret[i], err);

        if (rc < 0)
            return rc;
        ret_ids[i] = ret[i];
    }
    return 0;
}

static int verify(struct cli *cli, struct repository *repository,
                  const char *const *ids, size_t n_ids,
                  const struct check_options *o, struct error *err)
{
    cleanup(progress) struct progress *progress = NULL;
    struct verify_report report = {0};
    struct check check = {.cli = cli};
    int rc = progress_new(cli, &progress, err);

    if (rc < 0)
        return rc;
    check.progress = progress;
    rc = verify_run(repository,
                    &(struct verify_args){.ids = ids,
                                          .n_ids = n_ids,
                                          .read_data_percent =
                                              o->read_data_percent,
                                          .max_duration_ms = o->max_duration_ms,
                                          .stop = cli->stop,
                                          .finding = print_finding,
                                          .progress = show_progress,
                                          .arg = &check},
                    &report, err);
    progress_clear(progress);
    if (check.output.code)
        return error_copy(err, &check.output);
    if (rc == 0)
        rc = print_report(cli, o->read_data_percent, &report, err);
    if (rc < 0 || report.errors == 0)
        return rc;
    cli->error_told = true;
    fail(err, ERR_CORRUPT, "%" PRIu64 " error%s found", report.errors,
         report.errors == 1 ? "" : "s");
    return error_hint(err, "what is not named above is not touched by it");
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    cleanup_free char(*ids)[SNAPSHOT_ID_LEN + 1] = NULL;
    cleanup_free const char **pointers = NULL;
    struct check_options o = {0};
    struct option_words words;
    int rc = options_parse(options, argc, argv, &o, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 0, argc, "SNAP", err);
    if (rc == 0)
        rc = cli_open_repository(cli, &repository, err);
    if (rc < 0)
        return rc;
    ids = calloc((size_t)words.n_rest + 1, sizeof(*ids));
    pointers = calloc((size_t)words.n_rest + 1, sizeof(*pointers));
    if (!ids || !pointers)
        return fail_nomem(err);
    rc = resolve(repository, &words, ids, pointers, err);
    if (rc < 0)
        return rc;
    return verify(cli, repository, pointers, (size_t)words.n_rest, &o, err);
}

const struct command cmd_check = {
    .name = "check",
    .summary = "check snapshots and packs: structure, or all data as well",
    .usage = "check [SNAP...] [--read-data[=PERCENT]] [--max-duration DUR]",
    .options = options,
    .details = "Without SNAP the whole repository is checked. Nothing is "
               "repaired. Each finding is a line; the exit status is 13 when "
               "there is an error. A pack that no snapshot refers to is a "
               "note.\n"
               "What was checked and when is recorded: a share of the data, or "
               "what fits into a time, begins with what was never read or was "
               "read longest ago, so that one check after the other covers "
               "everything. 'firn list' shows it.",
    .run = run,
};

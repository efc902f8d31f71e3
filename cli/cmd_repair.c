/*
 * cmd_repair.c - `repair`: the catalog made anew, and a line for each file that
 * nobody can explain.
 *
 * Findings are printed as they come. When stdout is gone the walk is stopped by
 * the stopper, since a callback has no other way to end it, and the first
 * failure to print is what is told.
 */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "storage/keeping/repair.h"

static const struct option_spec options[] = {{0}};

struct telling {
    const struct cli *cli;
    struct error output; /* the first failure to print; code 0: none */
};

static void print_finding(void *arg, const char *name, const struct error *what)
{
    struct telling *t = arg;
    int rc;

    if (t->output.code)
        return;
    if (t->cli->json) {
        rc = output_json(
            json_pack("{s:s, s:s, s:o, s:s, s:o}", "type", "finding",
                      "severity", what->code ? "error" : "information",
                      "object", json_text(name), "code",
                      what->code ? error_code_name(what->code) : "ok",
                      "message", json_text(what->message)),
            &t->output);
    } else {
        output_text("%s  %s: %s\n", what->code ? "error" : "note ", name,
                    what->message);
        rc = output_flush(&t->output);
    }
    if (rc < 0)
        stopper_pull(t->cli->stop, rc);
}

static int print_report(const struct cli *cli, const struct repair_report *r,
                        struct error *err)
{
    if (cli->json)
        return output_json(
            json_pack("{s:s, s:I, s:I, s:I, s:I}", "type", "repair",
                      "snapshots", (json_int_t)r->snapshots, "packs",
                      (json_int_t)r->packs, "strange", (json_int_t)r->strange,
                      "errors", (json_int_t)r->damaged),
            err);
    if (cli->quiet)
        return 0;
    output_text("%" PRIu64 " snapshot%s in the catalog, %" PRIu64
                " pack%s with sound tables, %" PRIu64 " not explained, %" PRIu64
                " damaged\n",
                r->snapshots, r->snapshots == 1 ? "" : "s", r->packs,
                r->packs == 1 ? "" : "s", r->strange, r->damaged);
    return output_flush(err);
}

static int repair(struct cli *cli, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    struct telling t = {.cli = cli};
    struct repair_report report = {0};
    int rc = cli_open_repository(cli, &repository, err);

    if (rc == 0)
        rc = repair_index(&(struct repair_args){.repository = repository,
                                                .stop = cli->stop,
                                                .finding = print_finding,
                                                .arg = &t},
                          &report, err);
    if (t.output.code)
        return error_copy(err, &t.output);
    if (rc == 0)
        rc = print_report(cli, &report, err);
    if (rc < 0 || report.damaged == 0)
        return rc;
    cli->error_told = true;
    fail(err, ERR_CORRUPT, "%" PRIu64 " object%s damaged", report.damaged,
         report.damaged == 1 ? " is" : "s are");
    return error_hint(err, "'firn check --read-data' says what is touched");
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct option_words words;
    int rc = options_parse(options, argc, argv, NULL, &words, err);

    if (rc < 0)
        return rc;
    if (words.n_rest != 1 || strcmp(words.rest[0], "index") != 0)
        return fail(err, ERR_USAGE, "say what to repair: there is 'index'");
    return repair(cli, err);
}

const struct command cmd_repair = {
    .name = "repair",
    .summary = "write the catalog again, from packs and snapshots alone",
    .usage = "repair index",
    .options = options,
    .details = "The catalog is a cache and may be deleted at any time. What in "
               "the repository cannot be explained is told, a line each; "
               "nothing else is changed. The exit status is 13 when something "
               "is damaged.",
    .run = run,
};

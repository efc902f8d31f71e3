/*
 * cmd_prune.c - `prune`: options, and the report that `forget --prune` shares.
 *
 * Everything that takes time or may be interrupted is in storage/keeping/prune.h; exit
 * status 0 also when time was up, for the next prune goes on.
 */
#include "cli/command.h"
#include "cli/options.h"
#include "cli/prune_report.h"

struct prune_options {
    uint64_t max_duration_ms;
    uint64_t max_unused;
    bool dry_run;
    bool wait;
};

#define AT(field) offsetof(struct prune_options, field)
static const struct option_spec options[] = {
    {"dry-run", 0, OPTION_FLAG, AT(dry_run), NULL,
     "change nothing, say what would be done"},
    {"max-duration", 0, OPTION_DURATION, AT(max_duration_ms), "DUR",
     "stop after this time; the next prune goes on"},
    {"max-unused", 0, OPTION_UINT, AT(max_unused), "PERCENT",
     "dead bytes that may stay in packs; 10 unless given"},
    {"wait", 0, OPTION_FLAG, AT(wait), NULL,
     "wait for captures and restores that may use what is to go"},
    {0},
};
#undef AT

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    struct prune_options o = {.max_unused = PRUNE_MAX_UNUSED_DEFAULT};
    struct option_words words;
    int rc = options_parse(options, argc, argv, &o, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 0, 0, "", err);
    if (rc == 0 && o.max_unused > 100)
        rc = fail(err, ERR_USAGE, "--max-unused is a percentage, 0 to 100");
    if (rc == 0)
        rc = cli_open_repository(cli, &repository, err);
    if (rc < 0)
        return rc;
    return prune_and_report(
        cli,
        &(struct prune_args){.repository = repository,
                             .dry_run = o.dry_run,
                             .wait = o.wait,
                             .max_unused_percent = (unsigned)o.max_unused,
                             .max_duration_ms = o.max_duration_ms},
        err);
}

const struct command cmd_prune = {
    .name = "prune",
    .summary = "give back the space that no snapshot needs",
    .usage = "prune [--dry-run] [--max-duration DUR] [--wait]",
    .options = options,
    .details =
        "Packs that no snapshot refers to are removed, packs that are mostly "
        "dead are written again. It may be interrupted or killed at any time: "
        "the next one goes on. Captures and restores may run meanwhile; what "
        "one of them may still use is removed by a later prune.",
    .run = run,
};

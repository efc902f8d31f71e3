/*
 * cmd_export.c - `export`: a snapshot's memory as one flat file, for tools that
 * know nothing of us.
 *
 * Only words and progress are here; raw_export.h writes. Without -o the memory
 * goes to stdout, so nothing else is ever printed there.
 */
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/raw_format.h"
#include "restore/raw_export.h"

struct export_options {
    const char *format;
    const char *output;
    const char *state;
};

#define AT(field) offsetof(struct export_options, field)
static const struct option_spec options[] = {
    {"format", 0, OPTION_STRING, AT(format), "FORMAT",
     "what to make; this version makes 'raw'"},
    {"output", 'o', OPTION_STRING, AT(output), "FILE",
     "a new file; else the memory goes to stdout"},
    {"state", 0, OPTION_STRING, AT(state), "FOLDER",
     "put the state files that came with the memory there"},
    {0},
};
#undef AT

static void show_progress(void *arg, uint64_t done, uint64_t total)
{
    char a[32], b[32];

    progress_update(arg, "%s of %s", output_size(done, a),
                    output_size(total, b));
}

static int export(struct cli *cli, const struct export_options *o,
                  const char *snapshot, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    cleanup(progress) struct progress *progress = NULL;
    char id[SNAPSHOT_ID_LEN + 1];
    struct raw_export_args args = {
        .id = id,
        .memory = o->output,
        .stdout_fd = STDOUT_FILENO,
        .state_folder = o->state,
        .stop = cli->stop,
        .progress = show_progress,
    };
    int rc = cli_open_repository(cli, &repository, err);

    if (rc == 0)
        rc = repository_resolve(repository, snapshot, id, err);
    if (rc == 0)
        rc = progress_new(cli, &progress, err);
    if (rc < 0)
        return rc;
    args.repository = repository;
    args.arg = progress;
    return raw_export_run(&args, err);
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct export_options o = {0};
    struct option_words words;
    int rc = options_parse(options, argc, argv, &o, &words, err);

    if (rc == 0)
        rc = raw_format_check(o.format, err);
    if (rc < 0)
        return rc;
    if (words.n_rest != 1)
        return fail(err, ERR_USAGE, "name one snapshot");
    if (!o.output && isatty(STDOUT_FILENO))
        return fail(err, ERR_USAGE,
                    "stdout is a terminal; name a file with --output");
    return export(cli, &o, words.rest[0], err);
}

const struct command cmd_export = {
    .name = "export",
    .summary = "write a snapshot's memory as a file",
    .usage = "export SNAP --format raw [--output FILE] [--state FOLDER]",
    .options = options,
    .details =
        "Gives back what 'firn import --format raw' took in, byte for byte. A "
        "file is sparse, and there whole or not at all; it must not exist "
        "yet. State files come out under their old names.",
    .run = run,
};

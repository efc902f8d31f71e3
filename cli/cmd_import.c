/*
 * cmd_import.c - `import`: a flat memory file becomes a snapshot, with the
 * state files that belong to it.
 *
 * Time and name are the user's to give, since a file's own may be of the day it
 * was copied; raw_import.h reads and stores.
 */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/raw_format.h"
#include "cli/summary.h"
#include "snapshot/raw_import.h"

struct import_options {
    const char *format;
    const char *name;
    const char *sparse_over;
    int level;
    struct option_list states;
    const char *time;
};

#define AT(field) offsetof(struct import_options, field)
static const struct option_spec options[] = {
    {"format", 0, OPTION_STRING, AT(format), "FORMAT",
     "what the file is; this version takes 'raw'"},
    {"state", 0, OPTION_LIST, AT(states), "FILE",
     "keep this file with the memory, as it is; may be repeated"},
    {"name", 0, OPTION_STRING, AT(name), "VM",
     "name in the repository; else the file's own"},
    {"time", 0, OPTION_STRING, AT(time), "TIME",
     "its time in the repository, '2026-11-21 14:00:00'; else now"},
    {"sparse-over", 0, OPTION_STRING, AT(sparse_over), "SNAP",
     "the file is a diff: its holes mean 'as in that snapshot'"},
    {"compression", 0, OPTION_LEVEL, AT(level), "LEVEL",
     OPTION_COMPRESSION_HELP},
    {0},
};
#undef AT

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static void show_progress(void *arg, uint64_t done, uint64_t total)
{
    char a[32], b[32];

    progress_update(arg, "%s of %s", output_size(done, a),
                    output_size(total, b));
}

static int print_result(const struct cli *cli, struct progress *progress,
                        const struct snapshot_summary *s, struct error *err)
{
    char ram[32], stored[32], took[32];

    if (cli->json)
        return output_json(summary_json(s), err);
    progress_clear(progress);
    progress_say(progress, "%s: %s of memory, %s stored, %s", s->vm,
                 output_size(s->ram_bytes, ram),
                 output_size(s->stored_bytes, stored),
                 output_duration(s->duration_ms, took));
    output_text("%s\n", s->id);
    return output_flush(err);
}

static int import(struct cli *cli, const struct import_options *o,
                  const char *memory, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    cleanup(progress) struct progress *progress = NULL;
    struct snapshot_summary summary = {0};
    char base[SNAPSHOT_ID_LEN + 1];
    struct raw_import_args args = {
        .memory = memory,
        .states = o->states.items,
        .n_states = o->states.n,
        .vm = o->name ? o->name : name_of(memory),
        .level = o->level,
        .stop = cli->stop,
        .progress = show_progress,
    };
    int rc = o->time ? option_parse_time(o->time, &args.time_ns, err) : 0;

    if (rc == 0)
        rc = cli_open_repository(cli, &repository, err);

    if (rc == 0 && o->sparse_over) {
        rc = repository_resolve(repository, o->sparse_over, base, err);
        args.sparse_over = base;
    }
    if (rc == 0)
        rc = progress_new(cli, &progress, err);
    if (rc < 0)
        return rc;
    args.repository = repository;
    args.arg = progress;
    rc = raw_import_run(&args, &summary, err);
    if (rc == 0)
        rc = print_result(cli, progress, &summary, err);
    snapshot_summary_release(&summary);
    return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct import_options o = {.level = 1};
    struct option_words words;
    int rc = options_parse(options, argc, argv, &o, &words, err);

    if (rc == 0)
        rc = raw_format_check(o.format, err);
    if (rc < 0)
        return rc;
    if (words.n_rest != 1)
        return fail(err, ERR_USAGE, "name one memory file");
    if (!(o.name ? o.name[0] : name_of(words.rest[0])[0]))
        return fail(err, ERR_USAGE, "--name must not be empty");
    return import(cli, &o, words.rest[0], err);
}

const struct command cmd_import = {
    .name = "import",
    .summary = "make a snapshot of a memory file",
    .usage = "import --format raw MEMORY [--state FILE]... [--name VM] "
             "[--sparse-over SNAP]",
    .options = options,
    .details =
        "MEMORY is flat: the guest's memory from its first byte to its last, "
        "such as Firecracker's memory file. It becomes a snapshot like any "
        "other, deduplicated within the VM's history, and is given out by "
        "'firn serve' and 'firn export'. Prints the id.\n"
        "With --sparse-over the file is a diff snapshot: what it does not "
        "hold (SEEK_DATA) is taken from SNAP. The result is whole.",
    .run = run,
};

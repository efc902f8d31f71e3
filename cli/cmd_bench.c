/*
 * cmd_bench.c - `bench`: what this host and this repository give.
 *
 * Without a repository only the host is measured. Figures come one by one from
 * host_bench.h and are printed at once, each with a word on what it means.
 */
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "storage/host_bench.h"

static const struct option_spec options[] = {{0}};

/* A figure is told as soon as it is known: the whole takes seconds. */
static int print_figure(void *arg, const struct host_bench_figure *f,
                        struct error *err)
{
    const struct cli *cli = arg;
    char ratio[32] = "";

    if (cli->json) {
        json_t *object = json_pack("{s:s, s:s, s:f, s:s, s:s}", "type", "bench",
                                   "figure", f->name, "value", f->value, "unit",
                                   f->unit, "detail", f->detail);

        if (object && f->ratio > 0)
            json_object_set_new(object, "ratio", json_real(f->ratio));
        return output_json(object, err);
    }
    if (f->ratio > 0)
        snprintf(ratio, sizeof(ratio), "to 1/%.2f; ", f->ratio);
    output_text("%-14s %9.*f %-9s %s%s\n", f->name, f->value < 100 ? 2 : 0,
                f->value, f->unit, ratio, f->detail);
    return output_flush(err);
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    struct option_words words;
    int rc = options_parse(options, argc, argv, NULL, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 0, 0, "", err);
    if (rc == 0 && cli->repo_path)
        rc = cli_open_repository(cli, &repository, err);
    if (rc == 0)
        rc = host_bench_run(&(struct host_bench_args){.repository = repository,
                                                      .stop = cli->stop,
                                                      .tell = print_figure,
                                                      .arg = cli},
                            err);
    if (rc == 0 && !repository && !cli->quiet && !cli->json)
        output_message("firn: no repository was named, so no disk was "
                       "measured; see --repo\n");
    return rc;
}

const struct command cmd_bench = {
    .name = "bench",
    .summary = "measure what this host and the repository's disk give",
    .usage = "bench",
    .options = options,
    .details =
        "Tests for zero, hashes, compression by levels, writes to the "
        "repository's disk (into an unnamed file, which is gone afterwards), "
        "the page index; each on one thread, all in a few seconds. A sample of "
        "this program is compressed: guests' memory differs.",
    .run = run,
};

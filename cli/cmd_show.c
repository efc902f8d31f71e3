/*
 * cmd_show.c - `show`: gathered whole (show.c), then printed in one of two
 * ways, so that people and programs see the same facts.
 */
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/show.h"

struct show_options {
    bool map;
};

static const struct option_spec options[] = {
    {"map", 0, OPTION_FLAG, offsetof(struct show_options, map), NULL,
     "draw the memory of each block"},
    {0},
};

static int print(struct cli *cli, struct snapshot_reader *reader, bool map,
                 struct error *err)
{
    struct show show;
    json_t *object;
    int rc = show_init(&show, reader, map, cli->stop, err);

    if (rc == 0 && cli->json) {
        rc = show_json(&show, &object, err);
        if (rc == 0)
            rc = output_json(object, err);
    } else if (rc == 0) {
        rc = show_print(&show, err);
    }
    show_release(&show);
    return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    cleanup(snapshot_reader) struct snapshot_reader *reader = NULL;
    char id[SNAPSHOT_ID_LEN + 1];
    struct show_options o = {0};
    struct option_words words;
    int rc = options_parse(options, argc, argv, &o, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 1, 1, "SNAP", err);
    if (rc == 0)
        rc = cli_open_repository(cli, &repository, err);
    if (rc == 0)
        rc = repository_resolve(repository, words.rest[0], id, err);
    if (rc == 0)
        rc = snapshot_reader_open(repository, id, &reader, err);
    return rc < 0 ? rc : print(cli, reader, o.map, err);
}

const struct command cmd_show = {
    .name = "show",
    .summary = "show one snapshot: memory, sizes, devices, packs, disks",
    .usage = "show SNAP [--map]",
    .options = options,
    .details = "Passwords and secrets of the recorded command line are shown "
               "as ***.",
    .run = run,
};

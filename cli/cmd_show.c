/*
 * cmd_show.c - `show`: gathered whole (show.c), then printed in one of two
 * ways, so that people and programs see the same facts.
 */
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/show.h"
#include "storage/lease.h"

struct show_options {
    bool map;
};

static const struct option_spec options[] = {
    {"map", 0, OPTION_FLAG, offsetof(struct show_options, map), NULL,
     "draw the memory of each block"},
    {0},
};

#define SNAPSHOTS_MAX 2

struct opened {
    struct snapshot_reader *readers[SNAPSHOTS_MAX];
    struct show shows[SNAPSHOTS_MAX];
    int n;
};

static int gather(struct cli *cli, struct repository *repository,
                  const char *name, bool map, struct opened *to,
                  struct error *err)
{
    struct snapshot_reader *reader;
    int rc = cli_open_snapshot(repository, name, &reader, err);

    if (rc < 0)
        return rc;
    to->readers[to->n] = reader;
    return show_init(&to->shows[to->n++], repository, reader, map, cli->stop,
                     err);
}

static int print_json(const struct show *show, struct error *err)
{
    json_t *object;
    int rc = show_json(show, &object, err);

    return rc < 0 ? rc : output_json(object, err);
}

static int print(struct cli *cli, const struct opened *o, struct error *err)
{
    int rc = 0;

    for (int i = 0; rc == 0 && cli->json && i < o->n; i++)
        rc = print_json(&o->shows[i], err);
    if (cli->json)
        return rc;
    return o->n == 2 ? show_print_pair(&o->shows[0], &o->shows[1], err)
                     : show_print(&o->shows[0], err);
}

static void release(struct opened *o)
{
    for (int i = 0; i < o->n; i++) {
        show_release(&o->shows[i]);
        snapshot_reader_close(o->readers[i]);
    }
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    cleanup(lease) struct lease *lease = NULL;
    struct show_options o = {0};
    struct option_words words;
    struct opened opened = {0};
    int rc = options_parse(options, argc, argv, &o, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 1, SNAPSHOTS_MAX, "SNAP", err);
    if (rc == 0)
        rc = cli_open_repository(cli, &repository, err);
    if (rc == 0)
        rc = lease_acquire(repository, "read", NULL, &lease, err);
    for (int i = 0; rc == 0 && i < words.n_rest; i++)
        rc = gather(cli, repository, words.rest[i], o.map, &opened, err);
    if (rc == 0)
        rc = print(cli, &opened, err);
    release(&opened);
    return rc;
}

const struct command cmd_show = {
    .name = "show",
    .summary = "show a snapshot, or two side by side: memory, devices, disks",
    .usage = "show SNAP [SNAP] [--map]",
    .options = options,
    .details = "Passwords and secrets of the recorded command line are shown "
               "as ***.",
    .run = run,
};

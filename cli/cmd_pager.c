/*
 * cmd_pager.c - `pager`: the hidden command that a keeper starts this program
 * with again.
 *
 * It is a command so that one binary is all there is; its arguments are
 * descriptors' numbers, and pager_process.c is its only caller.
 */
#include "cli/command.h"
#include "cli/options.h"
#include "restore/restore_job.h"

static const struct option_spec options[] = {{0}};

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    return restore_pager_main(argc, argv, err);
}

const struct command cmd_pager = {
    .name = "pager",
    .summary = "the process that serves a restored VM's pages",
    .usage = "pager LINK SOCKET URGENT SNAPSHOT",
    .options = options,
    .details = "Started by 'firn restore', never by people.",
    .run = run,
    .hidden = true,
};

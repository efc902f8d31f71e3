/*
 * cmd_version.c - `version`: what a report of a fault should name.
 */
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"

static const struct option_spec options[] = {{0}};

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct option_words words;
    int rc = options_parse(options, argc, argv, NULL, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 0, 0, "", err);
    if (rc < 0)
        return rc;
    if (cli->json)
        return output_json(json_pack("{s:s, s:s}", "type", "version", "version",
                                     FIRN_VERSION),
                           err);
    output_text("firn %s\n", FIRN_VERSION);
    return 0;
}

const struct command cmd_version = {
    .name = "version",
    .summary = "print the versions of firn, of the format and of libraries",
    .usage = "version",
    .options = options,
    .run = run,
};

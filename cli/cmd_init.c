/*
 * cmd_init.c - `init`: makes a repository, then opens it as every later command
 * will: what init reports works.
 */
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"

static const struct option_spec options[] = {{0}};

/* init [REPO]: the path may be given either way, but not in two ways. */
static int find_path(const struct cli *cli, const struct option_words *words,
                     const char **ret, struct error *err)
{
    int rc = options_check_words(words, 0, 1, "REPO", err);

    if (rc < 0)
        return rc;
    *ret = words->n_rest == 1 ? words->rest[0] : cli->repo_path;
    if (!*ret)
        return fail(err, ERR_USAGE, "no repository was named");
    return cli_check_location(*ret, err);
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    struct option_words words;
    const char *path = NULL;
    int rc = options_parse(options, argc, argv, NULL, &words, err);

    if (rc == 0)
        rc = find_path(cli, &words, &path, err);
    if (rc == 0)
        rc = repository_create(path, err);
    if (rc == 0)
        rc = repository_open(path, &repository, err);
    if (rc < 0)
        return rc;
    if (cli->json)
        return output_json(json_pack("{s:s, s:o, s:s}", "type", "repository",
                                     "path", json_text(path), "id",
                                     repository_id(repository)),
                           err);
    if (!cli->quiet)
        output_text("repository %s made in %s\n", repository_id(repository),
                    path);
    return 0;
}

const struct command cmd_init = {
    .name = "init",
    .summary = "make a repository in a new or empty folder",
    .usage = "init [REPO]",
    .options = options,
    .details = "The folder is readable for its owner alone (0700): snapshots "
               "hold the memory of guests, and so their secrets.",
    .run = run,
};

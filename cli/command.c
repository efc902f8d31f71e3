/*
 * command.c - what most commands begin with: the repository that is meant.
 */
#include "cli/command.h"

/* Locations that are no folder carry a scheme: "s3://bucket/prefix". */
int cli_check_location(const char *path, struct error *err)
{
    size_t len = strcspn(path, ":/");

    if (len > 1 && strncmp(path + len, "://", 3) == 0) {
        fail(err, ERR_UNSUPPORTED,
             "cannot use '%s': this version keeps repositories in folders only",
             path);
        return error_hint(err, "name a folder on a local or mounted disk");
    }
    return 0;
}

int cli_open_repository(struct cli *cli, struct repository **ret,
                        struct error *err)
{
    int rc;

    if (!cli->repo_path) {
        fail(err, ERR_NOREPO, "no repository was named");
        return error_hint(err, "use --repo REPO or set FIRN_REPOSITORY; "
                               "'firn init REPO' makes one");
    }
    rc = cli_check_location(cli->repo_path, err);
    if (rc < 0)
        return rc;
    rc = repository_open(cli->repo_path, ret, err);
    if (rc == ERR_NOREPO && !err->hint[0])
        error_hint(err, "'firn init %s' makes one", cli->repo_path);
    return rc;
}

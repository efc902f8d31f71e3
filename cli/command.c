/*
 * command.c - what most commands begin with: the repository and the snapshot
 * that are meant.
 */
#include "cli/command.h"

#include "storage/snapshot_reader.h"

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

int cli_open_snapshot(struct repository *repository, const char *name,
                      struct snapshot_reader **ret, struct error *err)
{
    char id[SNAPSHOT_ID_LEN + 1];
    int rc = repository_resolve(repository, name, id, err);

    return rc < 0 ? rc : snapshot_reader_open(repository, id, ret, err);
}

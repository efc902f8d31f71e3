/*
 * command.h - what a command is: a name, a usage text, a function.
 *
 * A command is a file, cmd_NAME.c, with one `const struct command`. It parses
 * its options into a struct of its own (options.h), does its work through the
 * doors of the other rooms, prints data on stdout (output.h) and returns its
 * error: main.c alone prints errors and decides the exit status.
 */
#ifndef FIRN_CLI_COMMAND_H
#define FIRN_CLI_COMMAND_H

#include "core/base/stopper.h"
#include "storage/repository.h"

struct cli {
    const char *program;   /* argv[0], for hints */
    const char *repo_path; /* --repo, FIRN_REPOSITORY, config; NULL: none */
    bool repo_named;       /* by --repo */
    bool json;
    bool quiet;
    int verbose;
    struct stopper *stop; /* SIGINT, SIGTERM */
    bool error_told;      /* set by a command: its last JSON object says what
                             is wrong, an error object would be one too many */
    bool told;            /* set by a command: nothing at all is left to say */
};

/*
 * `run` gets argv[0] = the command's name and the words behind it, without the
 * global options; argv[argc] is NULL.
 */
struct command {
    const char *name;
    const char *summary; /* one line for the list of commands */
    const char *usage;   /* "snapshot --qmp SOCKET [options]" */
    const char *details; /* paragraphs below the options; may be NULL */
    const struct option_spec *options; /* ends with an all-zero entry */
    int (*run)(struct cli *cli, int argc, char **argv, struct error *err);
    /* Not for people (`pager`): its words and its signals are its own. */
    bool hidden;
};

/* ERR_UNSUPPORTED when `path` is no folder but a bucket ("s3://..."). */
int cli_check_location(const char *path, struct error *err) NODISCARD;

/* Opens cli->repo_path; ERR_NOREPO with a hint when none was named. */
int cli_open_repository(struct cli *cli, struct repository **ret,
                        struct error *err) NODISCARD;

struct snapshot_reader;
/* The snapshot that `name` means, as users write it (repository_resolve()). */
int cli_open_snapshot(struct repository *repository, const char *name,
                      struct snapshot_reader **ret,
                      struct error *err) NODISCARD;

extern const struct command cmd_init, cmd_snapshot, cmd_list, cmd_show,
    cmd_diff, cmd_restore, cmd_run, cmd_pager, cmd_plan, cmd_serve, cmd_import,
    cmd_export, cmd_check, cmd_bench, cmd_doctor, cmd_version, cmd_forget,
    cmd_prune, cmd_repair;

#endif

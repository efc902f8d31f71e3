/*
 * main.c - from words to a command, from its error to an exit status.
 *
 * Global options may stand before or behind the command's name, so they are
 * taken out first; what is left belongs to the command. Errors are printed
 * here and nowhere else.
 */
#include <fcntl.h>
#include <signal.h>

#include "cli/command.h"
#include "cli/config.h"
#include "cli/help.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/suggest.h"
#include "core/base/log.h"

static const struct command *const commands[] = {
    &cmd_init,    &cmd_snapshot, &cmd_list,   &cmd_show,   &cmd_diff,
    &cmd_restore, &cmd_serve,    &cmd_import, &cmd_export, &cmd_check,
    &cmd_forget,  &cmd_prune,    &cmd_repair, &cmd_plan,   &cmd_run,
    &cmd_bench,   &cmd_doctor,   &cmd_version, &cmd_pager,  NULL,
};

struct globals {
    const char *repo;
    const char *debug;
    bool json;
    bool quiet;
    int verbose;
    bool help;
    bool version;
};

#define AT(field) offsetof(struct globals, field)
static const struct option_spec global_options[] = {
    {"repo", 0, OPTION_STRING, AT(repo), "REPO", "the repository"},
    {"json", 0, OPTION_FLAG, AT(json), NULL,
     "print one JSON object a line, errors as well"},
    {"quiet", 'q', OPTION_FLAG, AT(quiet), NULL,
     "no progress and no notes, errors only"},
    {"verbose", 'v', OPTION_COUNT, AT(verbose), NULL,
     "say more; twice for all details"},
    {"debug", 0, OPTION_STRING, AT(debug), "AREAS",
     "details of some parts, such as 'qmp,ring', or 'all'"},
    {"help", 'h', OPTION_FLAG, AT(help), NULL, "explain the command"},
    {"version", 0, OPTION_FLAG, AT(version), NULL, "print the version"},
    {0},
};
#undef AT

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; commands[i]; i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    }
    return NULL;
}

static int fail_unknown_command(const char *name, struct error *err)
{
    const char *best = NULL;

    fail(err, ERR_USAGE, "unknown command '%s'", name);
    for (size_t i = 0; commands[i]; i++) {
        if (!commands[i]->hidden)
            suggest_consider(name, commands[i]->name, &best);
    }
    suggest_consider(name, "help", &best);
    if (best)
        return error_hint(err, "did you mean 'firn %s'?", best);
    return error_hint(err, "'firn help' lists the commands");
}

/* The number of the first word that is no option: the command; argc without
 * one. The values of global options are no commands. */
static int find_command_word(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc; i++) {
        const struct option_spec *s = global_options;

        if (argv[i][0] != '-')
            break;
        while (s->name && (strncmp(argv[i], "--", 2) != 0 ||
                           strcmp(argv[i] + 2, s->name) != 0))
            s++;
        if (s->name && s->kind == OPTION_STRING)
            i++;
    }
    return MIN(i, argc);
}

/* Messages must be in the wanted form even when the words cannot be parsed. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0)
            return true;
    }
    return false;
}

static int run_help(struct globals *g, int argc, char **argv, struct error *err)
{
    const struct command *command;

    if (argc < 2)
        return help_print_overview(commands, global_options, err);
    if (strcmp(argv[1], "exit-codes") == 0)
        return help_print_exit_codes(g->json, err);
    if (strcmp(argv[1], "help") == 0)
        return help_print_overview(commands, global_options, err);
    command = find_command(argv[1]);
    if (!command)
        return fail_unknown_command(argv[1], err);
    return help_print_command(command, global_options, err);
}

static void configure_log(const struct globals *g)
{
    enum log_level level = LOG_LEVEL_WARN;

    if (g->quiet)
        level = LOG_LEVEL_ERROR;
    else if (g->verbose == 1)
        level = LOG_LEVEL_INFO;
    else if (g->verbose > 1)
        level = LOG_LEVEL_DEBUG;
    log_configure(level, g->debug);
}

static int run_command(struct cli *cli, const struct command *command, int argc,
                       char **argv, struct error *err)
{
    int rc = command->run(cli, argc, argv, err);

    if (rc == ERR_USAGE && !err->hint[0])
        error_hint(err, "see 'firn help %s'", command->name);
    return rc < 0 ? rc : output_flush(err);
}

static int start_command(struct cli *cli, const struct command *command,
                         int argc, char **argv, struct error *err)
{
    cleanup_free char *configured = NULL;
    struct stopper stop;
    int rc;

    if (!cli->repo_path) {
        rc = config_find_repository(&configured, err);
        if (rc < 0)
            return rc;
        cli->repo_path = configured;
    }
    rc = stopper_init(&stop, err);
    if (rc < 0)
        return rc;
    cli->stop = &stop;
    if (!command->hidden)
        rc = stopper_watch_signals(&stop, err);
    if (rc == 0)
        rc = run_command(cli, command, argc, argv, err);
    stopper_release(&stop);
    return rc;
}

/* The words of a hidden command are its own: only what stands before its name
 * is ours. */
static int extract_globals(int argc, char **argv, int at, struct globals *g,
                           int *ret_argc, struct error *err)
{
    const struct command *command = at < argc ? find_command(argv[at]) : NULL;
    char *word = argv[at];
    int n = command && command->hidden ? at : argc;
    int left = n;
    int rc;

    rc = options_extract(global_options, command ? command->options : NULL,
                         &left, argv, g, err);
    argv[at] = n < argc ? word : argv[at];
    *ret_argc = left;
    return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct globals g = {0};
    int at = find_command_word(argc, argv);
    const char *name = argv[at];
    const struct command *command = name ? find_command(name) : NULL;
    bool hidden = command && command->hidden;
    int left;
    int rc = extract_globals(argc, argv, at, &g, &left, err);

    if (rc < 0 && !err->hint[0])
        error_hint(err, command ? "see 'firn help %s'" : "see 'firn help'",
                   name);
    if (rc < 0)
        return rc;
    *cli = (struct cli){
        .program = argv[0],
        .repo_path = g.repo,
        .repo_named = g.repo != NULL,
        .json = g.json,
        .quiet = g.quiet,
        .verbose = g.verbose,
    };
    configure_log(&g);
    /* Options that stand before the command's name must have been ours. */
    if (left > 1 && argv[1][0] == '-' && argv[1] != name) {
        fail(err, ERR_USAGE, "unknown option '%s'", argv[1]);
        return error_hint(err, "see 'firn help'");
    }
    if (g.version)
        command = &cmd_version;
    else if (!name)
        return help_print_overview(commands, global_options, err);
    else if (strcmp(name, "help") == 0)
        return run_help(&g, left - 1, argv + 1, err);
    else if (!command)
        return fail_unknown_command(name, err);
    else if (g.help)
        return help_print_command(command, global_options, err);
    if (hidden)
        return start_command(cli, command, argc - at, argv + at, err);
    return start_command(cli, command, left - 1, argv + 1, err);
}

/* The last line on stdout, for programs; the text on stderr, for people. */
static void print_error(const struct cli *cli, const struct error *why)
{
    if (cli->told)
        return;
    if (cli->json && !cli->error_told) {
        struct error ignored;

        if (output_json(json_pack("{s:s, s:s, s:o, s:o}", "type", "error",
                                  "code", error_code_name(why->code), "message",
                                  json_text(why->message), "hint",
                                  json_text(why->hint)),
                        &ignored) < 0)
            output_message("firn: %s\n", ignored.message);
    }
    if (cli->json && cli->quiet)
        return;
    output_message("firn: %s%s%s\n", why->message,
                   why->hint[0] ? "\n  hint: " : "", why->hint);
}

/* Started with one of 0, 1, 2 closed, the next file we open would get its
 * number, and a message would be written into it. Output to a closed stdout
 * must fail, so its stand-in cannot be written to. */
static void fill_standard_files(void)
{
    static const int modes[] = {O_RDONLY, O_RDONLY, O_WRONLY};

    for (int fd = 0; fd < (int)ARRAY_LEN(modes); fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", modes[fd]) != fd)
            abort();
    }
}

/* SIGUSR1 asks for progress: harmless when there is none. */
static void ignore_usr1(int number)
{
}

static void prepare_signals(void)
{
    struct sigaction nothing = {.sa_handler = ignore_usr1,
                                .sa_flags = SA_RESTART};

    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGUSR1, &nothing, NULL);
}

int main(int argc, char **argv)
{
    struct cli cli = {.json = wants_json(argc, argv)};
    struct error err = ERROR_INIT;

    if (argc < 1)
        return 2;
    fill_standard_files();
    prepare_signals();
    if (run(&cli, argc, argv, &err) == 0)
        return 0;
    /* "firn list | head" is no failure worth a message. */
    if (!output_reader_gone())
        print_error(&cli, &err);
    return error_exit_status(err.code);
}

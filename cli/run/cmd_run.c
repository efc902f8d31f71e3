/*
 * cmd_run.c - `run`: the config becomes tasks, run_job.c does them.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "cli/command.h"
#include "cli/config.h"
#include "cli/metrics.h"
#include "cli/options.h"
#include "cli/run/run_job.h"
#include "cli/run/run_report.h"
#include "core/base/clock.h"
#include "core/base/path.h"

/* What was not given stays as the config has it. */
#define NOT_GIVEN UINT64_MAX

struct run_options {
    const char *config;
    uint64_t jobs;
    uint64_t max_duration_ms;
    uint64_t random_delay_ms;
    uint64_t wait_ms;
    const char *metrics_file;
    bool now;
    bool dry_run;
};

#define AT(field) offsetof(struct run_options, field)
static const struct option_spec options[] = {
    {"config", 0, OPTION_STRING, AT(config), "FILE",
     "the config file; see firn-config(5)"},
    {"jobs", 0, OPTION_UINT, AT(jobs), "N", "so many VMs side by side"},
    {"max-duration", 0, OPTION_DURATION, AT(max_duration_ms), "DUR",
     "end after this time, whatever is still to be done"},
    {"random-delay", 0, OPTION_DURATION, AT(random_delay_ms), "DUR",
     "begin at a random moment within this time"},
    {"wait", 0, OPTION_DURATION, AT(wait_ms), "DUR",
     "wait so long for a VM that another run is working on"},
    {"metrics-file", 0, OPTION_STRING, AT(metrics_file), "FILE",
     "write figures for Prometheus to this file"},
    {"now", 0, OPTION_FLAG, AT(now), NULL, "take all VMs as due"},
    {"dry-run", 0, OPTION_FLAG, AT(dry_run), NULL,
     "only say what is due and how many snapshots would be forgotten"},
    {0},
};
#undef AT

struct run {
    struct cli *cli;
    struct config config;
    struct run_options options;
    struct run_task *tasks;
    size_t n_tasks;
    char *lock_folder;
};

/* The command line counts before the file. */
static int merge(struct run *r, struct error *err)
{
    const struct run_options *o = &r->options;
    struct config *c = &r->config;

    if (o->jobs != NOT_GIVEN)
        c->jobs = o->jobs;
    if (o->max_duration_ms != NOT_GIVEN)
        c->max_duration_ms = o->max_duration_ms;
    if (o->random_delay_ms != NOT_GIVEN)
        c->random_delay_ms = o->random_delay_ms;
    if (o->wait_ms != NOT_GIVEN)
        c->wait_ms = o->wait_ms;
    if (o->metrics_file)
        c->metrics_file = o->metrics_file;
    if (c->jobs == 0)
        return fail(err, ERR_USAGE, "'jobs' must be more than 0");
    return 0;
}

static int load(struct run *r, struct error *err)
{
    int rc = config_load(r->options.config, &r->config, err);

    if (rc == ERR_NOTFOUND && !r->options.config)
        return error_hint(err, "name one with --config, or write "
                               "/etc/firn/config; see 'man 5 firn-config'");
    if (rc == 0 && r->config.n_vms == 0) {
        fail(err, ERR_USAGE, "the config has no VM");
        return error_hint(err, "a section '[vm NAME]' with a line 'socket = "
                               "PATH' makes one");
    }
    return rc < 0 ? rc : merge(r, err);
}

/* Tasks. */

static bool is_wanted(const struct option_words *words, const char *name)
{
    for (int i = 0; i < words->n_rest; i++) {
        if (strcmp(words->rest[i], name) == 0)
            return true;
    }
    return words->n_rest == 0;
}

static int check_names(const struct run *r, const struct option_words *words,
                       struct error *err)
{
    for (int i = 0; i < words->n_rest; i++) {
        if (!config_find_vm(&r->config, words->rest[i]))
            return fail(err, ERR_USAGE, "the config has no VM '%s'",
                        words->rest[i]);
    }
    return 0;
}

static int add_vm(struct run *r, const struct config_vm *vm, uint64_t now_ns,
                  struct error *err)
{
    const char *variable = getenv("FIRN_REPOSITORY");
    const char *repository = vm->repository;

    if (!repository && r->cli->repo_named)
        repository = r->cli->repo_path;
    if (!repository && variable && variable[0])
        repository = variable;
    if (!repository)
        repository = r->config.repository;
    if (!repository) {
        fail(err, ERR_NOREPO, "no repository was named for VM '%s'", vm->name);
        return error_hint(err, "a line 'repository = PATH' in the config does");
    }
    r->tasks[r->n_tasks++] = (struct run_task){
        .vm = vm,
        .repository = repository,
        .forgets = vm->keep.n > 0,
        .dry_run = r->options.dry_run,
        .always_due = r->options.now || !vm->every_ms,
        .now_ns = now_ns,
    };
    return 0;
}

static void add_repository(struct run *r, const char *repository,
                           uint64_t now_ns)
{
    for (size_t i = 0; i < r->n_tasks; i++) {
        if (!r->tasks[i].vm &&
            strcmp(r->tasks[i].repository, repository) == 0)
            return;
    }
    r->tasks[r->n_tasks++] = (struct run_task){
        .repository = repository,
        .prunes = r->config.prune_for_ms > 0,
        .checks = r->config.check_for_ms > 0,
        .now_ns = now_ns,
    };
}

static int make_tasks(struct run *r, const struct option_words *words,
                      struct error *err)
{
    uint64_t now_ns = clock_realtime_ns();
    size_t n_vms;
    int rc = check_names(r, words, err);

    r->tasks = calloc(2 * r->config.n_vms, sizeof(*r->tasks));
    if (!r->tasks)
        return fail_nomem(err);
    for (size_t i = 0; rc == 0 && i < r->config.n_vms; i++) {
        if (is_wanted(words, r->config.vms[i].name))
            rc = add_vm(r, &r->config.vms[i], now_ns, err);
    }
    n_vms = r->n_tasks;
    for (size_t i = 0; rc == 0 && !r->options.dry_run && i < n_vms; i++)
        add_repository(r, r->tasks[i].repository, now_ns);
    return rc;
}

/* Locks of all runs of one user. */
static int make_lock_folder(struct run *r, struct error *err)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    cleanup_buf struct buf path = BUF_INIT;
    struct stat st;
    int rc;

    if (geteuid() == 0)
        rc = buf_printf(&path, err, "/run/firn");
    else if (runtime && runtime[0] == '/')
        rc = buf_printf(&path, err, "%s/firn", runtime);
    else
        rc = buf_printf(&path, err, "/tmp/firn-%u", geteuid());
    if (rc < 0)
        return rc;
    r->lock_folder = strdup(buf_str(&path));
    if (!r->lock_folder)
        return fail_nomem(err);
    if (mkdir(r->lock_folder, 0700) < 0 && errno != EEXIST)
        return fail_errno(err, ERR_IO, "cannot make the folder of locks '%s'",
                          r->lock_folder);
    if (lstat(r->lock_folder, &st) < 0 || !S_ISDIR(st.st_mode) ||
        st.st_uid != geteuid())
        return fail(err, ERR_IO, "the folder of locks '%s' is not ours",
                    r->lock_folder);
    return 0;
}

/* Running. */

static int delay(const struct run *r, struct error *err)
{
    uint64_t limit_ms = r->config.random_delay_ms;
    uint64_t random = 0;
    int rc;

    if (!limit_ms || r->options.dry_run)
        return 0;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        random = clock_monotonic_ns();
    rc = stopper_wait(r->cli->stop, -1, 0,
                      clock_monotonic_ns() + random % limit_ms * NS_PER_MS + 1,
                      err);
    return rc == ERR_TIMEOUT ? 0 : rc;
}

/* Metrics. */

static uint64_t checked_ns(const struct run *r, const char *repository)
{
    for (size_t i = 0; i < r->n_tasks; i++) {
        if (!r->tasks[i].vm && r->tasks[i].checked_ns &&
            strcmp(r->tasks[i].repository, repository) == 0)
            return r->tasks[i].checked_ns;
    }
    return 0;
}

static int set_task(const struct run *r, const struct run_task *t,
                    struct metrics *m, struct error *err)
{
    const struct metrics_of_vm figures = {
        .vm = t->vm->name,
        .success = t->result == RUN_OK || t->result == RUN_NOT_DUE,
        .runs = t->result != RUN_NOT_RUNNING && t->why.code != ERR_PEER,
        .last_ns = t->last_ns,
        .checked_ns = checked_ns(r, t->repository),
        .taken = t->id[0],
        .duration_ms = t->duration_ms,
        .downtime_ms = t->downtime_ms,
        .stored_bytes = t->stored_bytes,
        .qemu_faults = t->qemu_faults,
    };

    return metrics_set_vm(m, &figures, err);
}

static bool is_configured(void *arg, const char *vm)
{
    return config_find_vm(arg, vm) != NULL;
}

static int write_metrics(struct run *r, int worst, uint64_t duration_ms,
                         struct error *err)
{
    struct metrics m;
    int rc = metrics_load(r->config.metrics_file, &m, err);

    metrics_retain(&m, is_configured, &r->config);
    for (size_t i = 0; rc == 0 && i < r->n_tasks; i++) {
        if (r->tasks[i].vm)
            rc = set_task(r, &r->tasks[i], &m, err);
    }
    if (rc == 0)
        rc = metrics_set(&m, METRIC_RUN_TIME, "",
                         (double)(clock_realtime_ns() / NS_PER_SEC), err);
    if (rc == 0)
        rc = metrics_set(&m, METRIC_RUN_DURATION, "",
                         (double)duration_ms / 1e3, err);
    if (rc == 0)
        rc = metrics_set(&m, METRIC_RUN_STATUS, "",
                         (double)error_exit_status(worst), err);
    if (rc == 0)
        rc = metrics_write(&m, r->config.metrics_file, err);
    metrics_release(&m);
    return rc;
}

static void on_done(void *arg, const struct run_task *t)
{
    run_report_add(arg, t);
}

/* A file that cannot be written is a failure as others are. */
static void tell_metrics(struct run *r, struct run_report *report,
                         uint64_t duration_ms)
{
    struct run_task file = {.repository = r->config.metrics_file,
                            .result = RUN_FAILED};

    if (r->config.metrics_file && !r->options.dry_run &&
        write_metrics(r, report->worst, duration_ms, &file.why) < 0)
        run_report_add(report, &file);
}

static int finish(struct run *r, struct run_report *report, uint64_t begun_ns,
                  struct error *err)
{
    uint64_t duration_ms = (clock_monotonic_ns() - begun_ns) / NS_PER_MS;
    int rc;

    tell_metrics(r, report, duration_ms);
    rc = run_report_end(report, duration_ms, err);
    /* Each failure had its own line and object. */
    r->cli->told = report->worst != 0 && !report->output.code;
    return rc;
}

static int run_tasks(struct run *r, struct error *err)
{
    struct run_report report = {.cli = r->cli, .dry_run = r->options.dry_run};
    uint64_t begun_ns = clock_monotonic_ns();
    const struct config *c = &r->config;
    int rc = run_job(
        &(struct run_job_args){
            .tasks = r->tasks,
            .n_tasks = r->n_tasks,
            .program = r->cli->program,
            .lock_folder = r->lock_folder,
            .verbose = r->cli->verbose > 0,
            .jobs = c->jobs,
            .wait_ms = c->wait_ms,
            .deadline_ns = c->max_duration_ms
                               ? begun_ns + c->max_duration_ms * NS_PER_MS
                               : 0,
            .prune_for_ms = c->prune_for_ms,
            .check_for_ms = c->check_for_ms,
            .stop = r->cli->stop,
            .done = on_done,
            .arg = &report,
        },
        err);

    return rc < 0 ? rc : finish(r, &report, begun_ns, err);
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct run r = {
        .cli = cli,
        .options = {.jobs = NOT_GIVEN,
                    .max_duration_ms = NOT_GIVEN,
                    .random_delay_ms = NOT_GIVEN,
                    .wait_ms = NOT_GIVEN},
    };
    struct option_words words;
    int rc = options_parse(options, argc, argv, &r.options, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 0, INT32_MAX, "VM", err);
    if (rc == 0)
        rc = load(&r, err);
    if (rc == 0)
        rc = make_tasks(&r, &words, err);
    if (rc == 0)
        rc = make_lock_folder(&r, err);
    if (rc == 0)
        rc = delay(&r, err);
    if (rc == 0)
        rc = run_tasks(&r, err);
    free(r.lock_folder);
    free(r.tasks);
    config_release(&r.config);
    return rc;
}

const struct command cmd_run = {
    .name = "run",
    .summary = "do what the config file says: snapshot, forget, prune, check",
    .usage = "run [--config FILE] [VM...] [options]",
    .options = options,
    .details =
        "For cron and timers: captures all VMs that are due, forgets what "
        "their policies do not keep, gives a little space back and checks a "
        "little of what is stored. Silent when all is well; each failure is "
        "one line, and the exit status is that of the worst. VMs that do not "
        "run are passed over. One VM's failure touches no other.",
    .run = run,
};

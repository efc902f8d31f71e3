/*
 * cmd_forget.c - `forget`: a table of what stays and what goes, with reasons.
 *
 * By ids or by a policy, never by both. The table is the same in a dry run, so
 * that a policy can be tried; snapshots that cannot be read stay and make the
 * exit status.
 */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/prune_report.h"
#include "core/base/clock.h"
#include "storage/keeping/forget.h"

struct forget_options {
    struct retention_policy policy;
    json_t *tags;
    const char *vm;
    bool dry_run;
    bool prune;
};

#define AT(field)  offsetof(struct forget_options, field)
#define KEEP(rule) AT(policy.keep) + sizeof(uint64_t) * (rule)
static const struct option_spec options[] = {
    {"keep-last", 0, OPTION_UINT, KEEP(RETENTION_LAST), "N",
     "keep the newest N"},
    {"keep-hourly", 0, OPTION_UINT, KEEP(RETENTION_HOURLY), "N",
     "keep the newest of each of the last N hours that have one"},
    {"keep-daily", 0, OPTION_UINT, KEEP(RETENTION_DAILY), "N",
     "the same for days"},
    {"keep-weekly", 0, OPTION_UINT, KEEP(RETENTION_WEEKLY), "N",
     "the same for weeks, from Monday"},
    {"keep-monthly", 0, OPTION_UINT, KEEP(RETENTION_MONTHLY), "N",
     "the same for months"},
    {"keep-yearly", 0, OPTION_UINT, KEEP(RETENTION_YEARLY), "N",
     "the same for years"},
    {"keep-within", 0, OPTION_DURATION, AT(policy.within_ms), "DUR",
     "keep what is no older than that before the VM's newest: 36h, 7d, 4w"},
    {"keep-tag", 0, OPTION_TAG, AT(tags), "K=V",
     "keep what has this tag; may be repeated"},
    {"vm", 0, OPTION_STRING, AT(vm), "VM",
     "only this VM's, by name or uuid; else every VM's by itself"},
    {"dry-run", 0, OPTION_FLAG, AT(dry_run), NULL,
     "change nothing, say what would be done"},
    {"prune", 0, OPTION_FLAG, AT(prune), NULL, "prune afterwards"},
    {0},
};
#undef AT

static const char *const headings[] = {"VM", "ID", "TIME", "", "REASONS"};

struct forgetting {
    struct cli *cli;
    struct output_table *table;
    size_t n_bad;
    struct error first_bad;
    struct error output; /* the first failure to print; code 0: none */
};

static int append_reasons(const struct forget_decision *d, struct buf *ret,
                          struct error *err)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < d->why.n_reasons; i++)
        rc = buf_printf(ret, err, "%s%s", i ? ", " : "", d->why.reasons[i]);
    if (rc == 0 && d->in_use[0])
        rc = buf_printf(ret, err, "in use: %s", d->in_use);
    return rc;
}

static int print_json(const struct forget_decision *d, struct error *err)
{
    const struct snapshot_summary *s = d->snapshot;
    json_t *reasons = json_array();
    char time[32];

    clock_format_utc(s->time_ns, time);
    for (unsigned i = 0; reasons && i < d->why.n_reasons; i++)
        json_array_append_new(reasons, json_string(d->why.reasons[i]));
    return output_json(json_pack("{s:s, s:s, s:o, s:s, s:s, s:s, s:o, s:o}",
                                 "type", "snapshot", "id", s->id, "vm",
                                 json_text(s->vm), "vm_uuid", s->vm_uuid,
                                 "time", time, "action",
                                 d->why.keep ? "keep" : "remove", "reasons",
                                 reasons, "in_use", json_text(d->in_use)),
                       err);
}

static int add_row(struct forgetting *f, const struct forget_decision *d,
                   struct error *err)
{
    cleanup_buf struct buf reasons = BUF_INIT;
    char time[32];
    int rc = append_reasons(d, &reasons, err);

    if (rc < 0)
        return rc;
    return output_table_row(
        f->table,
        (const char *const[]){d->snapshot->vm, d->snapshot->id,
                              output_time(d->snapshot->time_ns, time),
                              d->why.keep ? "keep" : "remove",
                              buf_str(&reasons)},
        err);
}

static void tell(void *arg, const struct forget_decision *d)
{
    struct forgetting *f = arg;
    struct error err;
    int rc = f->cli->json ? print_json(d, &err) : add_row(f, d, &err);

    if (rc < 0 && f->output.code == 0)
        error_copy(&f->output, &err);
}

static void tell_bad(void *arg, const char *id, const struct error *why)
{
    struct forgetting *f = arg;

    output_message("firn: snapshot '%s' cannot be read: %s\n", id,
                   why->message);
    if (f->n_bad++ == 0)
        error_copy(&f->first_bad, why);
}

static int print_report(struct forgetting *f, const struct forget_report *r,
                        bool dry_run, struct error *err)
{
    if (f->output.code)
        return error_copy(err, &f->output);
    if (f->cli->json)
        return output_json(
            json_pack("{s:s, s:b, s:I, s:I, s:I}", "type", "forget", "dry_run",
                      dry_run, "kept", (json_int_t)r->kept, "removed",
                      (json_int_t)r->removed, "in_use", (json_int_t)r->in_use),
            err);
    if (f->cli->quiet)
        return 0;
    if (r->kept + r->removed > 0)
        output_table_print(f->table);
    output_text("%zu kept, %zu %s\n", r->kept, r->removed,
                dry_run ? "would be removed" : "removed");
    return output_flush(err);
}

static int forget(struct cli *cli, const struct forget_args *args,
                  struct error *err)
{
    cleanup(output_table) struct output_table *table = NULL;
    struct forgetting f = {.cli = cli};
    struct forget_args a = *args;
    struct forget_report report = {0};
    int rc = output_table_new(headings, ARRAY_LEN(headings), &table, err);

    if (rc < 0)
        return rc;
    f.table = table;
    a.decided = tell;
    a.bad = tell_bad;
    a.arg = &f;
    rc = forget_run(&a, &report, err);
    if (rc == 0)
        rc = print_report(&f, &report, a.dry_run, err);
    if (rc == 0 && f.n_bad > 0) {
        rc = fail(err, f.first_bad.code,
                  "%zu snapshot%s could not be read and stayed", f.n_bad,
                  f.n_bad == 1 ? "" : "s");
        error_hint(err, "'firn check' says more");
    }
    if (rc == 0 && a.n_ids && report.in_use > 0) {
        rc = fail(err, ERR_PARTIAL, "%zu snapshot%s in use and stayed",
                  report.in_use, report.in_use == 1 ? " is" : "s are");
        error_hint(err, "a VM that was restored from it still needs it");
    }
    return rc;
}

/* SNAP words → full ids. */
static int resolve(struct repository *repository,
                   const struct option_words *words,
                   char (*ids)[SNAPSHOT_ID_LEN + 1], const char **ret,
                   struct error *err)
{
    int rc = 0;

    for (int i = 0; rc == 0 && i < words->n_rest; i++) {
        rc = repository_resolve(repository, words->rest[i], ids[i], err);
        ret[i] = ids[i];
    }
    return rc;
}

static int check_words(const struct forget_options *o,
                       const struct option_words *words, struct error *err)
{
    bool empty = retention_policy_is_empty(&o->policy);

    if (words->n_rest == 0 && empty) {
        fail(err, ERR_USAGE, "name snapshots, or say what to keep");
        return error_hint(err, "'--keep-daily 7', for example");
    }
    if (words->n_rest > 0 && (!empty || o->vm))
        return fail(err, ERR_USAGE,
                    "snapshots are named, so a policy makes no sense");
    return 0;
}

static int run_with(struct cli *cli, struct forget_options *o,
                    const struct option_words *words, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    cleanup_free char(*ids)[SNAPSHOT_ID_LEN + 1] = NULL;
    cleanup_free const char **pointers = NULL;
    int rc = check_words(o, words, err);

    if (rc == 0)
        rc = cli_open_repository(cli, &repository, err);
    if (rc < 0)
        return rc;
    ids = calloc((size_t)words->n_rest + 1, sizeof(*ids));
    pointers = calloc((size_t)words->n_rest + 1, sizeof(*pointers));
    if (!ids || !pointers)
        return fail_nomem(err);
    rc = resolve(repository, words, ids, pointers, err);
    if (rc == 0)
        rc = forget(cli,
                    &(struct forget_args){.repository = repository,
                                          .ids = pointers,
                                          .n_ids = (size_t)words->n_rest,
                                          .policy = &o->policy,
                                          .vm = o->vm,
                                          .dry_run = o->dry_run},
                    err);
    if (rc < 0 || !o->prune)
        return rc;
    return prune_and_report(cli,
                            &(struct prune_args){.repository = repository,
                                                 .dry_run = o->dry_run,
                                                 .max_unused_percent =
                                                     PRUNE_MAX_UNUSED_DEFAULT},
                            err);
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct forget_options o = {.vm = NULL};
    struct option_words words;
    int rc = options_parse(options, argc, argv, &o, &words, err);

    o.policy.tags = o.tags;
    if (rc == 0)
        rc = options_check_words(&words, 0, argc, "SNAP", err);
    if (rc == 0)
        rc = run_with(cli, &o, &words, err);
    json_decref(o.tags);
    return rc;
}

const struct command cmd_forget = {
    .name = "forget",
    .summary = "take snapshots off the list, by name or by a policy",
    .usage = "forget SNAP... [--prune]\n"
             "forget --keep-daily N [--keep-...]... [--vm VM] [--dry-run] "
             "[--prune]",
    .options = options,
    .details =
        "A policy is applied to each VM by itself; a snapshot stays when any "
        "of the rules keeps it, and the reasons are shown. Days, weeks and so "
        "on are those of local time. A policy that would keep no snapshot of "
        "a VM is refused, and what a restored VM still reads from is kept.\n"
        "Space comes back with 'firn prune', or at once with --prune.",
    .run = run,
};

/*
 * cmd_list.c - `list`: goes by the snapshots' own files. One that cannot be
 * read must not hide the others, and must not pass unnoticed either.
 */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/summary.h"
#include "core/base/clock.h"

static const struct option_spec options[] = {{0}};

static const char *const headings[] = {"ID",   "VM",   "TIME", ">RAM",
                                       ">NEW", "MODE", "TAGS"};

struct snapshots {
    struct snapshot_summary *all;
    size_t n;
    size_t n_bad;
    struct error first_bad;
};

static void release_snapshots(struct snapshots *s)
{
    for (size_t i = 0; i < s->n; i++)
        snapshot_summary_release(&s->all[i]);
    free(s->all);
}

/* Named at once, on stderr: the others are listed all the same. */
static void tell_bad(void *arg, const char *id, const struct error *why)
{
    struct snapshots *s = arg;

    output_message("firn: snapshot '%s' cannot be read: %s\n", id,
                   why->message);
    if (s->n_bad++ == 0)
        error_copy(&s->first_bad, why);
}

static int print_json(const struct snapshot_summary *s, struct error *err)
{
    char time[32];

    clock_format_utc(s->time_ns, time);
    return output_json(
        json_pack("{s:s, s:s, s:o, s:s, s:s, s:I, s:I, s:s, s:s, s:o}", "type",
                  "snapshot", "id", s->id, "vm", json_text(s->vm), "vm_uuid",
                  s->vm_uuid, "time", time, "ram_bytes",
                  (json_int_t)s->ram_bytes, "new_bytes",
                  (json_int_t)s->stored_bytes, "mode", s->mode, "run_state",
                  s->run_state, "tags",
                  s->tags ? json_incref(s->tags) : json_object()),
        err);
}

static int add_row(struct output_table *table, const struct snapshot_summary *s,
                   struct error *err)
{
    cleanup_buf struct buf tags = BUF_INIT;
    char time[32], ram[32], fresh[32];
    int rc = summary_append_tags(s->tags, &tags, err);

    if (rc < 0)
        return rc;
    return output_table_row(
        table,
        (const char *const[]){s->id, s->vm, output_time(s->time_ns, time),
                              output_size(s->ram_bytes, ram),
                              output_size(s->stored_bytes, fresh), s->mode,
                              buf_str(&tags)},
        err);
}

static int print_all(const struct cli *cli, const struct snapshots *s,
                     const char *vm, struct error *err)
{
    cleanup(output_table) struct output_table *table = NULL;
    size_t n = 0;
    int rc = output_table_new(headings, ARRAY_LEN(headings), &table, err);

    for (size_t i = 0; rc == 0 && i < s->n; i++) {
        const struct snapshot_summary *one = &s->all[i];

        if (vm && strcmp(vm, one->vm) != 0 && strcmp(vm, one->vm_uuid) != 0)
            continue;
        n++;
        rc = cli->json ? print_json(one, err) : add_row(table, one, err);
    }
    if (rc < 0 || cli->json)
        return rc;
    if (n > 0)
        output_table_print(table);
    else if (!cli->quiet)
        output_message("firn: no snapshots%s%s yet\n", vm ? " of " : "",
                       vm ? vm : "");
    return output_flush(err);
}

static int list(struct cli *cli, const char *vm, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    struct snapshots s = {0};
    int rc = cli_open_repository(cli, &repository, err);

    if (rc < 0)
        return rc;
    rc = repository_list(repository, tell_bad, &s, &s.all, &s.n, err);
    if (rc < 0)
        return rc;
    rc = print_all(cli, &s, vm, err);
    if (rc == 0 && s.n_bad > 0) {
        rc = fail(err, s.first_bad.code, "%zu snapshot%s cannot be read",
                  s.n_bad, s.n_bad == 1 ? "" : "s");
        error_hint(err, "'firn check' says more");
    }
    release_snapshots(&s);
    return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct option_words words;
    int rc = options_parse(options, argc, argv, NULL, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 0, 1, "VM", err);
    return rc < 0 ? rc : list(cli, words.rest[0], err);
}

const struct command cmd_list = {
    .name = "list",
    .summary = "list the snapshots, all or those of one VM, oldest first",
    .usage = "list [VM]",
    .options = options,
    .details = "NEW is what a snapshot added to the repository when it was "
               "taken. A snapshot that cannot be read is named on stderr; the "
               "others are listed, and the exit status is 13.",
    .run = run,
};

/*
 * cmd_list.c - `list`: goes by the snapshots' own files. One that cannot be
 * read must not hide the others, and must not pass unnoticed either.
 */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/keeping.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/spark.h"
#include "cli/summary.h"
#include "core/base/clock.h"

static const struct option_spec options[] = {{0}};

static const char *const headings[] = {"ID",     "TIME", ">RAM", ">NEW",
                                       ">ALONE", "MODE", "TAGS"};

struct snapshots {
    struct snapshot_summary *all;
    size_t n;
    size_t n_bad;
    struct error first_bad;
    struct keeping keeping;
};

static void release_snapshots(struct snapshots *s)
{
    for (size_t i = 0; i < s->n; i++)
        snapshot_summary_release(&s->all[i]);
    free(s->all);
    keeping_release(&s->keeping);
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

static int print_json(const struct keeping *keeping,
                      const struct snapshot_summary *s, struct error *err)
{
    struct kept kept = keeping_find(keeping, s->id);
    json_t *object;
    char time[32];
    int rc;

    clock_format_utc(s->time_ns, time);
    object = json_pack("{s:s, s:s, s:o, s:s, s:s, s:I, s:I, s:s, s:s, s:o}",
                       "type", "snapshot", "id", s->id, "vm", json_text(s->vm),
                       "vm_uuid", s->vm_uuid, "time", time, "ram_bytes",
                       (json_int_t)s->ram_bytes, "new_bytes",
                       (json_int_t)s->stored_bytes, "mode", s->mode,
                       "run_state", s->run_state, "tags",
                       s->tags ? json_incref(s->tags) : json_object());
    rc = keeping_add_json(&kept, object, err);
    if (rc < 0) {
        json_decref(object);
        return rc;
    }
    return output_json(object, err);
}

static int add_row(struct output_table *table, const struct keeping *keeping,
                   const struct snapshot_summary *s, struct error *err)
{
    struct kept kept = keeping_find(keeping, s->id);
    cleanup_buf struct buf tags = BUF_INIT;
    char time[32], ram[32], fresh[32], alone[32];
    int rc = summary_append_tags(s->tags, &tags, err);

    if (rc < 0)
        return rc;
    return output_table_row(
        table,
        (const char *const[]){
            s->id, output_time(s->time_ns, time),
            output_size(s->ram_bytes, ram), output_size(s->stored_bytes, fresh),
            kept.sized ? output_size(kept.usage.unique_bytes, alone) : "?",
            s->mode, buf_str(&tags)},
        err);
}

static bool is_of(const struct snapshot_summary *s, const char *vm)
{
    return !vm || strcmp(vm, s->vm) == 0 || strcmp(vm, s->vm_uuid) == 0;
}

static int by_vm(const struct snapshot_summary *a,
                 const struct snapshot_summary *b)
{
    int order = strcmp(a->vm, b->vm);

    return order ? order : strcmp(a->vm_uuid, b->vm_uuid);
}

/* By VM, and within one in the order in which they were. */
static int in_groups(const void *a, const void *b)
{
    const struct snapshot_summary *of_a = *(struct snapshot_summary *const *)a;
    const struct snapshot_summary *of_b = *(struct snapshot_summary *const *)b;
    int order = by_vm(of_a, of_b);

    return order ? order : (of_a > of_b) - (of_a < of_b);
}

/* "vm1: 24 snapshots, 3.1 GiB  ▇▁▁▂", then a table. */
static int print_group(const struct keeping *keeping,
                       struct snapshot_summary *const *of, size_t n,
                       struct error *err)
{
    cleanup(output_table) struct output_table *table = NULL;
    cleanup_free uint64_t *sizes = calloc(n, sizeof(*sizes));
    char bars[SPARK_BYTES], total[32];
    uint64_t bytes = 0;
    int rc = output_table_new(headings, ARRAY_LEN(headings), &table, err);

    if (!sizes)
        return fail_nomem(err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        sizes[i] = of[i]->stored_bytes;
        bytes += sizes[i];
        rc = add_row(table, keeping, of[i], err);
    }
    if (rc < 0)
        return rc;
    spark_draw(sizes, n, spark_utf8(), bars);
    output_text("%s: %zu snapshot%s, %s  %s\n", of[0]->vm, n, n == 1 ? "" : "s",
                output_size(bytes, total), n == 1 ? "" : bars);
    output_table_print(table);
    return 0;
}

/* When the last of them was checked is when all were. */
static void print_checks(const struct keeping *keeping,
                         struct snapshot_summary *const *of, size_t n)
{
    struct checked_snapshot oldest = {UINT64_MAX, UINT64_MAX};
    char a[32], b[32];

    for (size_t i = 0; i < n; i++) {
        struct checked_snapshot c = keeping_find(keeping, of[i]->id).checked;

        oldest.structure_ns = MIN(oldest.structure_ns, c.structure_ns);
        oldest.data_ns = MIN(oldest.data_ns, c.data_ns);
    }
    output_text("\nall checked since: %s, all data read since: %s\n",
                oldest.structure_ns ? output_time(oldest.structure_ns, a)
                                    : "never",
                oldest.data_ns ? output_time(oldest.data_ns, b) : "never");
}

static int print_groups(const struct keeping *keeping,
                        struct snapshot_summary **of, size_t n,
                        struct error *err)
{
    size_t end;
    int rc = 0;

    qsort(of, n, sizeof(struct snapshot_summary *), in_groups);
    for (size_t at = 0; rc == 0 && at < n; at = end) {
        for (end = at + 1; end < n && by_vm(of[at], of[end]) == 0;)
            end++;
        if (at > 0)
            output_text("\n");
        rc = print_group(keeping, of + at, end - at, err);
    }
    if (rc == 0 && n > 0)
        print_checks(keeping, of, n);
    return rc;
}

static int print_all(const struct cli *cli, struct snapshots *s, const char *vm,
                     struct error *err)
{
    cleanup_free struct snapshot_summary **of =
        calloc(s->n + 1, sizeof(struct snapshot_summary *));
    size_t n = 0;
    int rc = of ? 0 : fail_nomem(err);

    for (size_t i = 0; rc == 0 && i < s->n; i++) {
        if (!is_of(&s->all[i], vm))
            continue;
        of[n++] = &s->all[i];
        if (cli->json)
            rc = print_json(&s->keeping, &s->all[i], err);
    }
    if (rc < 0 || cli->json)
        return rc;
    rc = print_groups(&s->keeping, of, n, err);
    if (n == 0 && !cli->quiet)
        output_message("firn: no snapshots%s%s yet\n", vm ? " of " : "",
                       vm ? vm : "");
    return rc < 0 ? rc : output_flush(err);
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
    keeping_load(repository, cli->stop, &s.keeping);
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
    .details = "ALONE is what deleting this snapshot alone would give back. "
               "NEW is what a snapshot added to the repository when it was "
               "taken; the bars above a VM's snapshots show it over time, each "
               "step of height a like factor. A snapshot that cannot be read "
               "is named on stderr; the "
               "others are listed, and the exit status is 13.",
    .run = run,
};

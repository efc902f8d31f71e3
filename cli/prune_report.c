/*
 * prune_report.c - runs prune with a progress line, then prints what it did.
 *
 * Both commands that prune say the same in the same words; in a dry run the
 * same figures are told in the conditional.
 */
#include "cli/prune_report.h"

#include <inttypes.h>

#include "cli/output.h"
#include "cli/progress.h"

static void show_progress(void *arg, const char *what, uint64_t done,
                          uint64_t total)
{
    if (total > 0)
        progress_update(arg, "%s: %" PRIu64 " of %" PRIu64, what, done, total);
    else
        progress_update(arg, "%s", what);
}

static void show_note(void *arg, const char *text)
{
    progress_say(arg, "%s", text);
}

static json_t *report_json(const struct prune_report *r, bool dry_run)
{
    return json_pack(
        "{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, "
        "s:o}",
        "type", "prune", "dry_run", dry_run, "snapshots",
        (json_int_t)r->snapshots, "packs", (json_int_t)r->packs, "bytes",
        (json_int_t)r->bytes, "removed_packs", (json_int_t)r->removed_packs,
        "removed_bytes", (json_int_t)r->removed_bytes, "rewritten_packs",
        (json_int_t)r->rewritten_packs, "written_bytes",
        (json_int_t)r->written_bytes, "condemned_packs",
        (json_int_t)r->condemned_packs, "condemned_bytes",
        (json_int_t)r->condemned_bytes, "unused_bytes",
        (json_int_t)r->unused_bytes, "finished", r->finished, "waits_for",
        json_text(r->waits_for));
}

static void print_text(const struct prune_report *r, bool dry_run)
{
    char removed[32], written[32], left[32];

    output_text("%" PRIu64 " pack%s (%s) %s", r->removed_packs,
                r->removed_packs == 1 ? "" : "s",
                output_size(r->removed_bytes, removed),
                dry_run ? "would be removed" : "removed");
    if (r->rewritten_packs > 0)
        output_text(", %" PRIu64 " thin one%s %s (%s)", r->rewritten_packs,
                    r->rewritten_packs == 1 ? "" : "s",
                    dry_run ? "would be written again" : "written again",
                    output_size(r->written_bytes, written));
    output_text("\n");
    if (r->condemned_packs > 0)
        output_text("%" PRIu64 " pack%s (%s) will go later, when this has "
                    "ended: %s\n",
                    r->condemned_packs, r->condemned_packs == 1 ? "" : "s",
                    output_size(r->condemned_bytes, left), r->waits_for);
    if (!r->finished)
        output_text("time was up: the next prune goes on\n");
}

int prune_and_report(struct cli *cli, const struct prune_args *args,
                     struct error *err)
{
    cleanup(progress) struct progress *progress = NULL;
    struct prune_args a = *args;
    struct prune_report report = {0};
    int rc = progress_new(cli, &progress, err);

    if (rc < 0)
        return rc;
    a.stop = cli->stop;
    a.progress = show_progress;
    a.note = show_note;
    a.arg = progress;
    rc = prune_run(&a, &report, err);
    progress_clear(progress);
    if (rc < 0)
        return rc;
    if (cli->json)
        return output_json(report_json(&report, a.dry_run), err);
    if (!cli->quiet)
        print_text(&report, a.dry_run);
    return output_flush(err);
}

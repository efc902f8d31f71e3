/*
 * summary.c - the one list of a summary's field names in JSON.
 *
 * `list`, `show`, `snapshot` and `import` print the same object; names are what
 * scripts hold on to, so they are added and never changed.
 */
#include "cli/summary.h"

#include "core/base/clock.h"

static json_t *pages_json(const struct snapshot_summary *s)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "total",
                     (json_int_t)s->pages_total, "zero",
                     (json_int_t)s->pages_zero, "duplicate",
                     (json_int_t)s->pages_duplicate, "stored",
                     (json_int_t)s->pages_stored, "superseded",
                     (json_int_t)s->pages_superseded, "unseen",
                     (json_int_t)s->pages_unseen);
}

static json_t *cpu_json(const struct cpu_stages *cpu)
{
    json_t *o = json_object();

    for (unsigned i = 0; i < CPU_STAGES; i++)
        json_object_set_new(o, cpu_stage_name(i),
                            json_real((double)(cpu->ns[i] / 1000) / 1000.0));
    return o;
}

int summary_append_cost(const struct snapshot_cost *cost, uint64_t ram_bytes,
                        struct buf *ret, struct error *err)
{
    double gib = (double)ram_bytes / (double)(1 << 30);
    double per_gib = gib > 0 ? 1e9 * gib : 1e9;
    int rc = buf_printf(ret, err, "%.2f CPU seconds a GiB of RAM:",
                        (double)cpu_stages_total(&cost->cpu) / per_gib);

    for (unsigned i = 0; rc == 0 && i < CPU_STAGES; i++)
        rc = buf_printf(ret, err, "%s %s %.3f", i ? "," : "", cpu_stage_name(i),
                        (double)cost->cpu.ns[i] / per_gib);
    return rc < 0 ? rc
                  : buf_printf(ret, err, "; at most %.0f MB of memory",
                               (double)cost->peak_bytes / 1e6);
}

static json_t *summary_fields_json(const struct snapshot_summary *s)
{
    char time[32];

    clock_format_utc(s->time_ns, time);
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:o, s:o,"
                     " s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:o}",
                     "type", "snapshot", "id", s->id, "vm", json_text(s->vm),
                     "vm_uuid", s->vm_uuid, "time", time, "mode", s->mode,
                     "run_state", s->run_state, "machine",
                     json_text(s->machine), "qemu_version",
                     json_text(s->qemu_version), "downtime_ms",
                     (json_int_t)s->downtime_ms, "duration_ms",
                     (json_int_t)s->duration_ms, "rounds",
                     (json_int_t)s->rounds, "channels", (json_int_t)s->channels,
                     "ram_bytes", (json_int_t)s->ram_bytes, "pages",
                     pages_json(s), "stored_bytes", (json_int_t)s->stored_bytes,
                     "device_bytes", (json_int_t)s->device_bytes, "tags",
                     s->tags ? json_incref(s->tags) : json_object());
}

json_t *summary_json(const struct snapshot_summary *s)
{
    json_t *o = summary_fields_json(s);

    /* Unknown in lists. */
    if (o && cpu_stages_total(&s->cost.cpu) > 0) {
        json_object_set_new(o, "cpu_ms", cpu_json(&s->cost.cpu));
        json_object_set_new(o, "peak_bytes",
                            json_integer((json_int_t)s->cost.peak_bytes));
    }
    return o;
}

json_t *summary_and_capture_json(const struct snapshot_summary *s,
                                 json_t *capture)
{
    cleanup_json json_t *object = summary_json(s);
    json_t *reason = json_object_get(capture, "mode_reason");

    if (!object || (capture && json_object_set(object, "capture", capture) < 0))
        return NULL;
    if (reason && json_object_set(object, "mode_reason", reason) < 0)
        return NULL;
    return steal_ptr(&object);
}

int summary_append_tags(const json_t *tags, struct buf *ret, struct error *err)
{
    const char *between = "";
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)tags, key, value)
    {
        int rc = buf_printf(ret, err, "%s%s=%s", between, key,
                            json_string_value(value) ? json_string_value(value)
                                                     : "?");
        if (rc < 0)
            return rc;
        between = ", ";
    }
    return 0;
}

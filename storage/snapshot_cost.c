/*
 * snapshot_cost.c - figures for people, which nobody may trip over.
 *
 * They are told by `show` and never decided by, so reading is lenient: a
 * snapshot of an older or a newer version has some of them, and what is missing
 * is 0. Microseconds in the file, nanoseconds in memory; numbers too large to
 * convert are cut rather than wrapped.
 */
#include "storage/snapshot_cost.h"

#define NS_PER_US 1000u

static uint64_t number_of(const json_t *object, const char *name)
{
    json_int_t v = json_integer_value(json_object_get(object, name));

    return v > 0 ? (uint64_t)v : 0;
}

json_t *snapshot_cost_json(const struct snapshot_cost *cost)
{
    json_t *cpu = json_object();
    int failed = !cpu;

    for (unsigned i = 0; !failed && i < CPU_STAGES; i++)
        failed = json_object_set_new(cpu, cpu_stage_name(i),
                                     json_integer((json_int_t)(cost->cpu.ns[i] /
                                                               NS_PER_US))) < 0;
    if (failed) {
        json_decref(cpu);
        return NULL;
    }
    return json_pack("{s:o, s:I, s:I, s:I, s:I}", "cpu_us", cpu, "peak_bytes",
                     (json_int_t)cost->peak_bytes, "segments",
                     (json_int_t)cost->segments, "places",
                     (json_int_t)cost->places, "rejoined_pages",
                     (json_int_t)cost->rejoined_pages);
}

void snapshot_cost_parse(const json_t *object, struct snapshot_cost *ret)
{
    const json_t *cpu = json_object_get(object, "cpu_us");

    *ret = (struct snapshot_cost){
        .peak_bytes = number_of(object, "peak_bytes"),
        .segments = number_of(object, "segments"),
        .places = number_of(object, "places"),
        .rejoined_pages = number_of(object, "rejoined_pages"),
    };
    for (unsigned i = 0; i < CPU_STAGES; i++)
        ret->cpu.ns[i] = MIN(number_of(cpu, cpu_stage_name(i)),
                             UINT64_MAX / NS_PER_US / 16) *
                         NS_PER_US;
}

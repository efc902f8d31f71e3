/*
 * fault_report.c - the counted faults of a restore, block by block, for --json.
 *
 * Blocks without a fault are left out; the entry behind the last one, without a
 * name, is for blocks of QEMU that the snapshot does not have. Without memory
 * an array may lack entries: it is a report, and nobody decides by it.
 */
#include "restore/pages/fault_report.h"

static json_t *histogram(const struct fault_stats *s)
{
    uint64_t powers[FAULT_STATS_POWERS];
    json_t *pairs = json_array();

    fault_stats_powers(s, powers);
    for (unsigned i = 0; pairs && i < FAULT_STATS_POWERS; i++) {
        if (powers[i])
            json_array_append_new(
                pairs, json_pack("[I, I]", (json_int_t)(UINT64_C(1) << i),
                                 (json_int_t)powers[i]));
    }
    return pairs;
}

static json_t *report_block(const char *name, const struct fault_stats *s)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "block", name, "faults",
                     (json_int_t)s->count, "fault_p50_us",
                     (json_int_t)fault_stats_percentile_us(s, 50),
                     "fault_p99_us",
                     (json_int_t)fault_stats_percentile_us(s, 99),
                     "fault_max_us", (json_int_t)s->max_us, "histogram",
                     histogram(s));
}

json_t *fault_report(const struct ramblock_list *blocks,
                     const struct fault_stats *stats)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list && i <= blocks->n; i++) {
        if (stats[i].count == 0)
            continue;
        json_array_append_new(
            list, report_block(i < blocks->n ? blocks->blocks[i].idstr : "",
                               &stats[i]));
    }
    return list;
}

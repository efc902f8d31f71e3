/*
 * fault_report.h - faults by block, as JSON.
 */
#ifndef FIRN_RESTORE_PAGES_FAULT_REPORT_H
#define FIRN_RESTORE_PAGES_FAULT_REPORT_H

#include "core/base/json.h"
#include "core/vm/ramblock.h"
#include "restore/pages/fault_stats.h"

/*
 * An array with one object for each block that was asked for, and one without a
 * name for blocks that the snapshot does not have:
 *
 *   {"block", "faults", "fault_p50_us", "fault_p99_us", "fault_max_us",
 *    "histogram": [[below_us, faults], ...]}
 *
 * The pairs are in order, those without a fault are left out. `stats` has one
 * more than there are blocks. NULL when there is no memory.
 */
json_t *fault_report(const struct ramblock_list *blocks,
                     const struct fault_stats *stats);

#endif

/*
 * fault_stats.h - how long faults took: count, median, 99th percentile.
 *
 * A histogram with buckets that grow with the value, so that it is small and
 * exact to 6 %, whatever the number of faults. Plain data, all zero is empty;
 * one thread.
 */
#ifndef FIRN_RESTORE_PAGES_FAULT_STATS_H
#define FIRN_RESTORE_PAGES_FAULT_STATS_H

#include "core/base/compiler.h"

/* Each power of two of microseconds is cut in 16: 60 powers cover 64 bits. */
#define FAULT_STATS_BUCKETS (16u * 61u)

struct fault_stats {
    uint64_t count;
    uint64_t max_us;
    uint64_t buckets[FAULT_STATS_BUCKETS];
};

/* One fault that took so many ns. */
void fault_stats_add(struct fault_stats *s, uint64_t ns);
/* Microseconds that `percent` of the faults did not exceed (upper edge of the
 * bucket); 0 when there was none. */
uint64_t fault_stats_percentile_us(const struct fault_stats *s,
                                   unsigned percent);

/* Powers of two of microseconds: how many faults took less than 2^i and no less
 * than the half of it; the first counts those below 1 us. */
#define FAULT_STATS_POWERS 64u
void fault_stats_powers(const struct fault_stats *s,
                        uint64_t ret[static FAULT_STATS_POWERS]);

#endif

/*
 * Bucket of a value: below 16 the value itself; above, the four bits behind
 * the leading one choose among 16 buckets of its power of two.
 */
#include "restore/pages/fault_stats.h"

#include <string.h>

static_assert((63 - 3) * 16 + 15 < FAULT_STATS_BUCKETS,
              "the largest value has a bucket");

static unsigned bucket_of(uint64_t us)
{
    unsigned power;

    if (us < 16)
        return (unsigned)us;
    power = 63u - (unsigned)__builtin_clzll(us);
    return (power - 3u) * 16u + (unsigned)((us >> (power - 4u)) & 15u);
}

static uint64_t upper_edge(unsigned bucket)
{
    unsigned power;

    if (bucket < 16)
        return bucket;
    power = bucket / 16u + 3u;
    return ((UINT64_C(16) + bucket % 16u + 1u) << (power - 4u)) - 1u;
}

void fault_stats_add(struct fault_stats *s, uint64_t ns)
{
    s->count++;
    s->max_us = MAX(s->max_us, ns / 1000);
    s->buckets[bucket_of(ns / 1000)]++;
}

uint64_t fault_stats_percentile_us(const struct fault_stats *s,
                                   unsigned percent)
{
    uint64_t rank = (s->count * percent + 99u) / 100u;
    uint64_t seen = 0;

    assert(percent >= 1 && percent <= 100);
    for (unsigned i = 0; i < FAULT_STATS_BUCKETS; i++) {
        seen += s->buckets[i];
        if (s->count > 0 && seen >= rank)
            return upper_edge(i);
    }
    return 0;
}

void fault_stats_powers(const struct fault_stats *s,
                        uint64_t ret[static FAULT_STATS_POWERS])
{
    memset(ret, 0, FAULT_STATS_POWERS * sizeof(*ret));
    for (unsigned i = 0; i < FAULT_STATS_BUCKETS; i++) {
        uint64_t us = upper_edge(i);

        if (s->buckets[i])
            ret[us ? MIN(64u - (unsigned)__builtin_clzll(us), 63u) : 0] +=
                s->buckets[i];
    }
}

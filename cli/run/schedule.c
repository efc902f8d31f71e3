/*
 * schedule.c - the one sum that decides whether a VM is due.
 *
 * A tenth of the interval is forgiven: a timer that fires every hour meets a
 * last snapshot that is 59 minutes old, and must not wait for the next hour.
 */
#include "cli/run/schedule.h"

#include "core/base/clock.h"

bool schedule_is_due(uint64_t last_ns, uint64_t now_ns, uint64_t every_ms)
{
    if (!last_ns || last_ns > now_ns)
        return true;
    return (now_ns - last_ns) / NS_PER_MS >= every_ms - every_ms / 10;
}

/*
 * clock.c - the system's clocks as nanoseconds in 64 bits.
 *
 * Monotonic time decides (it counts from boot and never goes back), real time
 * is only written down. clock_poll_ms() rounds up: rounded down, a wait would
 * come back just before its deadline and be asked for again as "0 ms", in a
 * circle.
 */
#include "core/base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t now_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t clock_monotonic_ns(void)
{
    return now_ns(CLOCK_MONOTONIC);
}

uint64_t clock_thread_cpu_ns(void)
{
    return now_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_process_cpu_ns(void)
{
    return now_ns(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t clock_realtime_ns(void)
{
    return now_ns(CLOCK_REALTIME);
}

void clock_format_utc(uint64_t realtime_ns, char text[static 32])
{
    time_t secs = (time_t)(realtime_ns / NS_PER_SEC);
    struct tm tm;

    if (!gmtime_r(&secs, &tm) ||
        strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(text, 32, "-");
}

bool clock_parse_utc(const char *text, uint64_t *ret_realtime_ns)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    time_t secs = end && !*end ? timegm(&tm) : -1;

    if (secs < 0)
        return false;
    *ret_realtime_ns = (uint64_t)secs * NS_PER_SEC;
    return true;
}

int clock_poll_ms(uint64_t deadline_ns)
{
    const uint64_t hour_ms = 3600 * 1000;
    uint64_t now;
    uint64_t ms;

    if (deadline_ns == 0)
        return -1;
    now = clock_monotonic_ns();
    if (now >= deadline_ns)
        return 0;
    ms = (deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS;
    return (int)MIN(ms, hour_ms);
}

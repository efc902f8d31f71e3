/*
 * clock.h - the time, in nanoseconds (ns) or as text. Any thread.
 *
 * Pure modules get the time as a parameter; only doors call these.
 */
#ifndef FIRN_CORE_BASE_CLOCK_H
#define FIRN_CORE_BASE_CLOCK_H

#include "core/base/compiler.h"

#define NS_PER_MS  UINT64_C(1000000)
#define NS_PER_SEC UINT64_C(1000000000)

/* CLOCK_MONOTONIC: for durations and time limits. */
uint64_t clock_monotonic_ns(void);

/* What this thread has used of the processors. */
uint64_t clock_thread_cpu_ns(void);
/* The whole process, its ended threads included. */
uint64_t clock_process_cpu_ns(void);

/* CLOCK_REALTIME since 1970, UTC: for records. */
uint64_t clock_realtime_ns(void);

/* "2026-11-21T13:34:58Z" of a real time; `text` holds at least 32 bytes. */
void clock_format_utc(uint64_t realtime_ns, char text[static 32]);

/* Back from that text, to the second; false when it is none. */
bool clock_parse_utc(const char *text, uint64_t *ret_realtime_ns);

/*
 * Milliseconds from now until `deadline_ns` (monotonic), for poll(2): at least
 * 0, at most one hour; `deadline_ns` 0 means no deadline and gives -1.
 */
int clock_poll_ms(uint64_t deadline_ns);

#endif

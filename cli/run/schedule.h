/*
 * schedule.h - whose turn it is. Pure.
 */
#ifndef FIRN_CLI_RUN_SCHEDULE_H
#define FIRN_CLI_RUN_SCHEDULE_H

#include "core/base/compiler.h"

/*
 * A snapshot is due when nine tenths of its interval have passed since the
 * last one: a timer that fires a little early, or whose last turn began late,
 * does not lose a turn. Times are real time in ns; `last_ns` 0: there was none;
 * `every_ms` 0: always. A last one in the future (the clock was set back) says
 * nothing, so that one is due as well.
 */
bool schedule_is_due(uint64_t last_ns, uint64_t now_ns, uint64_t every_ms);

#endif

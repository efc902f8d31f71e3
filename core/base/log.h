/*
 * log.h - messages for people, on standard error, one line an event.
 *
 * Each source defines LOG_AREA (a short word, "ring", "qmp") before it
 * includes this header; --debug picks areas by these words. Nothing of guest
 * memory and no secret ever goes into a line. Any thread may log: a line is
 * one write(2). This is the one module of core with state of the whole
 * process, set once at start by log_configure().
 */
#ifndef FIRN_CORE_BASE_LOG_H
#define FIRN_CORE_BASE_LOG_H

#include "core/base/compiler.h"

enum log_level {
    LOG_LEVEL_ERROR = 0,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

/*
 * Messages above `level` are dropped; those of the areas in `debug_areas`
 * (comma separated, "all" for every one, NULL for none) pass at any level.
 * The string must outlive the process. Call before any thread is started.
 */
void log_configure(enum log_level level, const char *debug_areas);

/* The areas of log_configure(), for a program that is started; NULL: none. */
const char *log_debug_areas(void);
/* Asked by the macros below, before the message's arguments are worked out. */
bool log_enabled(enum log_level level, const char *area);

/* Writes the line, whatever the level; errno is as before. Longer messages than
 * a line of 1 KiB are cut. */
void log_write(enum log_level level, const char *area, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* The area is the including file's; error.c logs before any other area. */
#ifdef LOG_AREA
#define log_at(level, ...)                                                     \
    do {                                                                       \
        if (log_enabled((level), LOG_AREA))                                    \
            log_write((level), LOG_AREA, __VA_ARGS__);                         \
    } while (0)
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
#endif

#endif

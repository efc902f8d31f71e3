/*
 * log.c - a line to standard error in one write(2).
 *
 * One call, not stdio: lines of several threads, or of this process and a
 * child, do not mix, no lock is taken, and a message is out before the next
 * step can crash. Levels and areas are plain variables, which is why they are
 * set before the first thread and never again.
 */
#include "core/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Set once by log_configure() before threads start, then read only. */
static enum log_level max_level = LOG_LEVEL_WARN;
static const char *debug_list;

void log_configure(enum log_level level, const char *debug_areas)
{
    max_level = level;
    debug_list = debug_areas;
}

const char *log_debug_areas(void)
{
    return debug_list;
}

static bool area_listed(const char *area)
{
    size_t len = strlen(area);

    for (const char *p = debug_list; p && *p;) {
        size_t n = strcspn(p, ",");

        if ((n == len && memcmp(p, area, n) == 0) ||
            (n == 3 && memcmp(p, "all", 3) == 0))
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

bool log_enabled(enum log_level level, const char *area)
{
    return level <= max_level || (debug_list && area_listed(area));
}

void log_write(enum log_level level, const char *area, const char *fmt, ...)
{
    static const char *const words[] = {"error: ", "warning: ", "", ""};
    char line[1024];
    int saved = errno;
    int used = 0;
    va_list ap;

    static_assert(ARRAY_LEN(words) == LOG_LEVEL_DEBUG + 1, "words of a level");
    assert(level <= LOG_LEVEL_DEBUG);
    if (level == LOG_LEVEL_DEBUG)
        used = snprintf(line, sizeof(line), "firn[%s]: ", area);
    else
        used = snprintf(line, sizeof(line), "firn: %s", words[level]);

    va_start(ap, fmt);
    used += vsnprintf(line + used, sizeof(line) - (size_t)used - 1, fmt, ap);
    va_end(ap);
    if ((size_t)used > sizeof(line) - 2)
        used = sizeof(line) - 2;
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)used) < 0) {
        /* Nobody is left to be told. */
    }
    errno = saved;
}

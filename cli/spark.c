/*
 * spark.c - values into columns, columns into one of eight heights.
 */
#include "cli/spark.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEIGHTS 8

/* Eighths of a power of two, rising. */
static unsigned height_of(uint64_t value)
{
    unsigned power;

    if (value < 8)
        return (unsigned)value;
    power = 63 - (unsigned)__builtin_clzll(value);
    return 8 * power + (unsigned)((value >> (power - 3)) & 7);
}

static uint64_t column(const uint64_t *values, size_t n, size_t at, size_t of)
{
    uint64_t most = 0;

    for (size_t i = at * n / of; i < (at + 1) * n / of; i++)
        most = MAX(most, values[i]);
    return most;
}

size_t spark_draw(const uint64_t *values, size_t n, bool utf8,
                  char ret[static SPARK_BYTES])
{
    static const char ascii[HEIGHTS + 1] = "_.-:=+*#";
    size_t columns = MIN(n, (size_t)SPARK_COLUMNS);
    unsigned low = UINT_MAX, high = 0;
    char *to = ret;

    for (size_t i = 0; i < columns; i++) {
        low = MIN(low, height_of(column(values, n, i, columns)));
        high = MAX(high, height_of(column(values, n, i, columns)));
    }
    for (size_t i = 0; i < columns; i++) {
        unsigned h = height_of(column(values, n, i, columns));
        unsigned bar =
            high > low ? (h - low) * (HEIGHTS - 1) / (high - low) : 0;

        if (utf8) { /* U+2581 to U+2588 */
            *to++ = '\xe2';
            *to++ = '\x96';
            *to++ = (char)(0x81 + bar);
        } else {
            *to++ = ascii[bar];
        }
    }
    *to = '\0';
    return columns;
}

bool spark_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *value = getenv(names[i]);

        if (value && *value)
            return strcasestr(value, "UTF-8") || strcasestr(value, "UTF8");
    }
    return false;
}

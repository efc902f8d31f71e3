/*
 * spark.h - sizes over time as a line of bars. Pure.
 */
#ifndef FIRN_CLI_SPARK_H
#define FIRN_CLI_SPARK_H

#include "core/base/compiler.h"

#define SPARK_COLUMNS 40u
/* Three bytes a bar in UTF-8, and the end. */
#define SPARK_BYTES (SPARK_COLUMNS * 3 + 1)

/*
 * A bar for each of `n` values, at most SPARK_COLUMNS: of more, the largest of
 * each run of neighbours. The height tells the power of two, between the least
 * and the largest: a first snapshot is a thousand times the later ones, and
 * they shall be seen all the same. With `utf8` the eight block characters, else
 * "_.-:=+*#". Writes SPARK_BYTES at most, ended by zero; returns how many bars.
 */
size_t spark_draw(const uint64_t *values, size_t n, bool utf8,
                  char ret[static SPARK_BYTES]);

/* Whether the environment asks for UTF-8 (LC_ALL, LC_CTYPE, LANG). */
bool spark_utf8(void);

#endif

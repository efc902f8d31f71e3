/*
 * config_lines.h - the text of a config file as sections, keys and values. Pure.
 *
 * A line is empty, a comment ('#' first), a section "[word NAME]" or
 * "key = value". Blanks around each part do not count; there are no quotes and
 * no line that goes on in the next.
 */
#ifndef FIRN_CLI_CONFIG_LINES_H
#define FIRN_CLI_CONFIG_LINES_H

#include "core/base/error.h"

struct config_line {
    unsigned number;  /* from 1 */
    const char *word; /* of a section: "vm"; NULL for a key */
    const char *name; /* of a section: "web1" or "" */
    const char *key;
    const char *value; /* may be "" */
};

/*
 * Tells each section and key in turn. The strings are pieces of `text`, which
 * is cut up for that, and live as long as it does. ERR_USAGE, and whatever
 * `line` returns, get "NAME:LINE: " in front.
 */
int config_lines_read(char *text, const char *name,
                      int (*line)(void *arg, const struct config_line *l,
                                  struct error *err),
                      void *arg, struct error *err) NODISCARD;

#endif

/*
 * raw_format.c - one format so far; later ones join here. It must be named all
 * the same, so that a command line keeps its meaning when there are two.
 */
#include "cli/raw_format.h"

#include <string.h>

int raw_format_check(const char *format, struct error *err)
{
    if (!format)
        return fail(err, ERR_USAGE, "--format FORMAT is missing");
    if (strcmp(format, "raw") == 0)
        return 0;
    fail(err, ERR_UNSUPPORTED, "format '%s' is not known to this version",
         format);
    return error_hint(err, "there is 'raw': a flat memory file");
}

/*
 * raw_format.h - the formats that import and export know: one, so far.
 */
#ifndef FIRN_CLI_RAW_FORMAT_H
#define FIRN_CLI_RAW_FORMAT_H

#include "core/base/error.h"

/* ERR_USAGE when none is given, ERR_UNSUPPORTED names any but "raw". */
int raw_format_check(const char *format, struct error *err) NODISCARD;

#endif

/*
 * option_value.h - the text of one option's value, checked and stored. Pure.
 */
#ifndef FIRN_CLI_OPTION_VALUE_H
#define FIRN_CLI_OPTION_VALUE_H

#include "cli/options.h"

/* The kind needs a value; OPTION_PERCENT may have one, behind '=' only. */
bool option_kind_takes_value(enum option_kind kind);

/* Puts `text` (NULL: none was given) where `spec` says within `values`.
 * ERR_USAGE names the option and what is wrong with the text. */
int option_value_set(const struct option_spec *spec, const char *text,
                     void *values, struct error *err) NODISCARD;

/* The same for a place that has another name for it: no name in the error. */
int option_value_read(const struct option_spec *spec, const char *text,
                      void *values, struct error *err) NODISCARD;

/* Would it be taken? A flag is asked for "yes" or "no". */
int option_value_check(const struct option_spec *spec, const char *text,
                       struct error *err) NODISCARD;

#endif

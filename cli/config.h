/*
 * config.h - which repository is meant when the command line does not say.
 *
 * The environment (FIRN_REPOSITORY) counts before the first config file that
 * exists: $XDG_CONFIG_HOME/firn/config (~/.config/firn/config without the
 * variable), /etc/firn/config. A config file holds lines `repository = PATH`;
 * PATH is absolute or starts with "~/"; '#' starts a comment line.
 */
#ifndef FIRN_CLI_CONFIG_H
#define FIRN_CLI_CONFIG_H

#include "core/base/error.h"

/* A new string, NULL when none is configured. ERR_USAGE names file and line of
 * what makes no sense. */
int config_find_repository(char **ret, struct error *err) NODISCARD;

/* The same for the text of one file, called `name` in messages. */
int config_parse(const char *text, const char *name, char **ret_repository,
                 struct error *err) NODISCARD;

#endif

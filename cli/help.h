/*
 * help.h - usage texts, all made from the tables that the program runs by, and
 * within 80 columns. Printed on stdout: who asks for help gets data.
 */
#ifndef FIRN_CLI_HELP_H
#define FIRN_CLI_HELP_H

#include "cli/command.h"

/* The commands (a list that ends with NULL), hidden ones left out, and the
 * options that every command has. */
int help_print_overview(const struct command *const *commands,
                        const struct option_spec *globals,
                        struct error *err) NODISCARD;

/* Usage, summary, options, details of one command. */
int help_print_command(const struct command *command,
                       const struct option_spec *globals,
                       struct error *err) NODISCARD;

/* Every error: exit status, `code` of JSON errors, sentence. */
int help_print_exit_codes(bool json, struct error *err) NODISCARD;

#endif

/*
 * prune_report.h - runs prune for a command and says what it did: for `prune`
 * and for `forget --prune`.
 */
#ifndef FIRN_CLI_PRUNE_REPORT_H
#define FIRN_CLI_PRUNE_REPORT_H

#include "cli/command.h"
#include "storage/keeping/prune.h"

/* `args` without callbacks. Progress and notes go to stderr, the report to
 * stdout. */
int prune_and_report(struct cli *cli, const struct prune_args *args,
                     struct error *err) NODISCARD;

#endif

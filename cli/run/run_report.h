/*
 * run_report.h - what became of a run: lines, objects, one exit status.
 */
#ifndef FIRN_CLI_RUN_RUN_REPORT_H
#define FIRN_CLI_RUN_RUN_REPORT_H

#include "cli/command.h"
#include "cli/run/run_task.h"

struct run_report {
    const struct cli *cli;
    bool dry_run;

    unsigned n_ok;
    unsigned n_not_due;
    unsigned n_not_running;
    unsigned n_failed;
    int worst;           /* code of the worst failure; 0: none */
    struct error output; /* the first failure to print; code 0: none */
};

/* Is `a` the worse of two error codes? The order is the one in firn-run(1). */
bool run_report_worse(int a, int b);

/* Counts a task that is done. A failure is a line on stderr; the rest is told
 * with --json, with -v and in a dry run. */
void run_report_add(struct run_report *r, const struct run_task *t);

/* The last object of --json; 0, or the code of the worst failure, told
 * already. */
int run_report_end(struct run_report *r, uint64_t duration_ms,
                   struct error *err) NODISCARD;

#endif

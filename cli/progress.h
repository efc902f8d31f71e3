/*
 * progress.h - one line that tells the truth: on a terminal while it works,
 * and once on SIGUSR1 anywhere. Silent otherwise, with -q and with --json.
 */
#ifndef FIRN_CLI_PROGRESS_H
#define FIRN_CLI_PROGRESS_H

#include "cli/command.h"

struct progress;

/* Starts a thread. Draws only on a terminal, without --quiet and --json. */
int progress_new(const struct cli *cli, struct progress **ret,
                 struct error *err) NODISCARD;
/* Cheap; redraws at most ten times a second. Any thread. */
void progress_update(struct progress *p, const char *fmt, ...)
    PRINTF_LIKE(2, 3);
/* A message for people on stderr, a line of its own that progress does not
 * overwrite; nothing with -q. Any thread. */
void progress_say(struct progress *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Clears the line, which comes back with the next redraw: for data that goes
 * to the same terminal. */
void progress_clear(struct progress *p);
/* Clears the line for good; NULL is fine. */
void progress_free(struct progress *p);

DEFINE_CLEANUP(progress, struct progress *, progress_free)

#endif

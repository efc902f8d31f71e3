/*
 * run_words.h - the command line of each step of a task. Pure.
 */
#ifndef FIRN_CLI_RUN_RUN_WORDS_H
#define FIRN_CLI_RUN_RUN_WORDS_H

#include "cli/run/run_task.h"

struct run_words {
    char **items; /* ends with NULL */
    size_t n;
};

struct run_words_args {
    const char *program; /* ours: argv[0] of the command */
    bool verbose;        /* notes of the commands on stderr */
    uint64_t left_ms;    /* of the whole run; UINT64_MAX: no limit */
    uint64_t prune_for_ms;
    uint64_t check_for_ms;
};

/* For the task's state, which is one of a command. */
int run_words_make(const struct run_task *t, const struct run_words_args *args,
                   struct run_words *ret, struct error *err) NODISCARD;
/* All zero is fine. */
void run_words_release(struct run_words *w);

#endif

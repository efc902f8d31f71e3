/*
 * run_child.h - one command of ours in a process, and the lines it prints.
 */
#ifndef FIRN_CLI_RUN_RUN_CHILD_H
#define FIRN_CLI_RUN_RUN_CHILD_H

#include "cli/run/run_words.h"
#include "core/host/child.h"

struct run_child {
    struct child child;
    int out_fd; /* its stdout, non-blocking; -1: closed */
    struct buf out;
};

#define RUN_CHILD_NONE ((struct run_child){.child.fd = -1, .out_fd = -1})

static inline bool run_child_runs(const struct run_child *c)
{
    return c->child.pid > 0;
}

/* Starts this program with `words`; the process keeps `keep_fd` (-1: none). */
int run_child_start(struct run_child *c, const struct run_words *words,
                    int keep_fd, struct error *err) NODISCARD;

/* Takes in what it has printed so far, whole lines at a time. */
int run_child_read(struct run_child *c, struct run_task *t,
                   struct error *err) NODISCARD;

/* Waits for one that has ended, reads the rest and moves the task on. */
int run_child_finish(struct run_child *c, struct run_task *t,
                     struct error *err) NODISCARD;

/* Kills it if it runs. */
void run_child_release(struct run_child *c);

#endif

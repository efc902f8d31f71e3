/*
 * run_job.h - the tasks of a run, side by side, until all are done.
 *
 * Each step of a task is a process of its own, this very program: one VM's
 * failure, hang or crash touches no other, and a limit is held by a signal.
 * A capture that is ended so leaves its VM running, as any other. When the time
 * is up or a signal comes, SIGTERM goes to all that run; what has not ended
 * after RUN_GRACE_MS is killed. One thread, the caller's.
 */
#ifndef FIRN_CLI_RUN_RUN_JOB_H
#define FIRN_CLI_RUN_RUN_JOB_H

#include "cli/run/run_task.h"
#include "core/base/stopper.h"

#define RUN_GRACE_MS 10000u

struct run_job_args {
    struct run_task *tasks; /* VMs first, then repositories */
    size_t n_tasks;
    const char *program; /* argv[0] of the children */
    const char *lock_folder;
    bool verbose;
    uint64_t jobs;        /* processes at one time */
    uint64_t wait_ms;     /* for a VM's lock */
    uint64_t deadline_ns; /* monotonic; 0: none */
    uint64_t prune_for_ms;
    uint64_t check_for_ms;
    struct stopper *stop;
    /* A task is done. */
    void (*done)(void *arg, const struct run_task *t);
    void *arg;
};

/* An error is one of the run as a whole; those of tasks are in the tasks. */
int run_job(const struct run_job_args *args, struct error *err) NODISCARD;

#endif

/*
 * run_task.h - what a run does for one VM, or for one repository. Pure.
 *
 * A task goes through its states one command of ours at a time; each tells
 * what it did in JSON lines. The table of moves is in run_task.c. One thread.
 */
#ifndef FIRN_CLI_RUN_RUN_TASK_H
#define FIRN_CLI_RUN_RUN_TASK_H

#include "cli/config.h"
#include "core/base/json.h"

enum run_state {
    RUN_WAITING = 0, /* for its turn */
    RUN_LOCKING,     /* a VM: for whoever works on it */
    RUN_LOOKING,     /* `list`: when was the last one? */
    RUN_TAKING,      /* `snapshot` */
    RUN_FORGETTING,  /* `forget` */
    RUN_PRUNING,     /* a repository: `prune` */
    RUN_CHECKING,    /* `check` */
    RUN_DONE,
    RUN__STATES,
};

enum run_result {
    RUN_UNKNOWN = 0, /* not done yet */
    RUN_OK,          /* all that was due */
    RUN_NOT_DUE,
    RUN_NOT_RUNNING, /* skipped: nobody listens on its socket */
    RUN_FAILED,      /* `why` */
};

struct run_task {
    /* set when it is made */
    const struct config_vm *vm; /* NULL: the task of a repository */
    const char *repository;
    bool forgets; /* the VM has a policy */
    bool prunes;
    bool checks;
    bool dry_run;
    bool always_due;
    uint64_t now_ns; /* real time at which the run began */

    enum run_state state;
    enum run_result result;
    struct error why; /* the first failure; code 0: none */

    /* what the commands told */
    bool due;
    uint64_t last_ns;    /* real time of the newest snapshot; 0: none */
    char id[32];         /* of the one taken; "" */
    uint64_t downtime_ms;
    uint64_t duration_ms;
    uint64_t stored_bytes;
    uint64_t qemu_faults;
    uint64_t checked_ns; /* a repository: when it was found good; 0: not */
    uint64_t forgotten;  /* snapshots; in a dry run: that would be */
    bool error_told;     /* by the command that runs now */
    bool snapshot_told;
    bool harmless; /* its error */
    bool check_told;
};

/* "snapshot", "check", ...: the command that it runs then. */
const char *run_state_name(enum run_state state);
/* "ok", "not_due", ...: as in JSON; never changes. */
const char *run_result_name(enum run_result result);

/* To the next state that has something to do; RUN_DONE sets the result. */
void run_task_advance(struct run_task *t);
/* Ends it here, with that error if it is the first, or as skipped. */
void run_task_fail(struct run_task *t, const struct error *why);
/* RUN_NOT_DUE or RUN_NOT_RUNNING: done, and no failure. */
void run_task_skip(struct run_task *t, enum run_result result);

/* A JSON line of the command that runs now; others than objects are passed
 * over. */
void run_task_told(struct run_task *t, const json_t *line);
/* That command has ended, `wait_status` as wait(2) has it: goes on to the next
 * state or fails. */
void run_task_ended(struct run_task *t, int wait_status);

#endif

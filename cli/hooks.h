/*
 * hooks.h - commands of the user's at the moments of a capture.
 *
 * Each is run by the shell with one line of JSON on stdin and, for scripts
 * without a JSON reader, the variables FIRN_WHEN, FIRN_VM and FIRN_ID. What it
 * prints goes to our stderr. Beyond its time limit it is killed with all it
 * started; the limit of `paused` is also the downtime budget, so that no hook
 * holds a VM longer than the VM may stand still anyway.
 */
#ifndef FIRN_CLI_HOOKS_H
#define FIRN_CLI_HOOKS_H

#include "cli/options.h"
#include "snapshot/snapshot_job.h"

struct hooks {
    /* set by the caller */
    const struct option_list *words; /* "WHEN=COMMAND" each; borrowed */
    uint64_t limit_ms;               /* of one command */
    uint64_t paused_limit_ms;        /* of all commands of `paused` */
    const char *qmp_path;
    const char *repository;
    struct stopper *stop;

    /* what the moments told; moments of one capture never overlap */
    char vm[256];
    char vm_uuid[40];
    char mode[16];
    struct error late; /* of a hook that failed when the snapshot was safe */
};

/* ERR_USAGE names the word that is no WHEN=COMMAND. */
int hooks_check(const struct option_list *words, struct error *err) NODISCARD;

/* Is one of them for that moment? */
bool hooks_have(const struct option_list *words, enum snapshot_moment moment);

/*
 * Runs the commands of a moment, in the order given, up to the first that
 * fails. `before-pause` and `paused` give their error back; of the others it
 * is kept in `late`.
 */
int hooks_run(struct hooks *h, const struct snapshot_event *event,
              struct error *err) NODISCARD;

#endif

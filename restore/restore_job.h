/*
 * restore_job.h - door: bring one snapshot back into a QEMU.
 *
 * The caller (the *front*) starts a *keeper* in a session of its own and
 * listens to it; the keeper starts QEMU and the *pager*, and goes on when the
 * front is interrupted after `running`.
 */
#ifndef FIRN_RESTORE_RESTORE_JOB_H
#define FIRN_RESTORE_RESTORE_JOB_H

#include "core/base/json.h"
#include "core/base/stopper.h"
#include "storage/repository.h"

enum restore_on_error { RESTORE_ON_ERROR_HANG = 0, RESTORE_ON_ERROR_KILL };

/* Until the hints are there, or a short one when they are too many. */
#define RESTORE_HEAD_START_AUTO UINT64_MAX

struct restore_event_running {
    uint64_t elapsed_ms;
    uint64_t read_bytes;
    uint64_t image_bytes;
    pid_t qemu_pid;
};

struct restore_event_resident {
    uint64_t elapsed_ms;
    uint64_t faults;
    uint64_t fault_p50_us;
    uint64_t fault_p99_us;
    uint64_t prefetched_pages; /* by hints */
    uint64_t read_bytes;
    const json_t *report; /* all figures, as --json prints them; borrowed */
};

struct restore_args {
    struct repository *repository;
    const char *id;       /* full id */
    const char *qmp_path; /* into a QEMU that waits; NULL: start one */
    char *const *command; /* QEMU's argv, NULL-terminated; NULL: the recorded */
    bool eager;
    bool detach;
    bool dry_run;
    bool disks_changed_ok;
    /* A VM that runs already, and whose pager is gone: a new one takes over.
     * `qmp_path` may be NULL when there is one VM of the snapshot. */
    bool resume;
    bool prefetch;          /* bring what earlier restores asked for first */
    bool fill;              /* bring what nobody asks for */
    bool preempt;           /* what is asked for has a socket of its own */
    bool blocktime;         /* QEMU counts too how long vCPUs wait */
    uint64_t max_bandwidth; /* bytes a second of what nobody asks for; 0: any */
    uint64_t settle_ms;     /* all is there so long after `running`; 0: any */
    /* Hints come first, so long at most; 0: none; RESTORE_HEAD_START_AUTO. */
    uint64_t head_start_ms;
    /* "OLD=NEW", n of them: replaced in the recorded command line. */
    const char *const *map;
    size_t n_map;
    bool new_identity; /* a new GUID in its vmgenid device */
    enum restore_on_error on_error;
    /* A pager that says nothing for so long, though QEMU would listen, is
     * replaced. */
    uint64_t pager_limit_ms;
    struct stopper *stop;
    void (*running)(void *arg, const struct restore_event_running *e);
    void (*resident)(void *arg, const struct restore_event_resident *e);
    void (*note)(void *arg, const char *text);
    void *arg;
};

/* From the front's process: returns when the VM is resident (or detached),
 * has failed, or the stopper was pulled. ERR_INCOMPATIBLE: preflight refuses;
 * ERR_PEER: QEMU; ERR_CORRUPT: the snapshot. */
int restore_job_run(const struct restore_args *args,
                    struct error *err) NODISCARD;

/* Entry of the pager process (`firn pager`, not for people): everything comes
 * over descriptors and arguments that the keeper sets up. */
int restore_pager_main(int argc, char **argv, struct error *err) NODISCARD;

#endif

/*
 * plan_job.h - door: what a capture of this VM would take, and what is in its
 * way. Nothing is captured, and QEMU is left as it was found.
 *
 * QEMU samples its dirty rate for a second (calc-dirty-rate, page sampling);
 * how much of RAM is in use, and how it compresses, is taken from the VM's
 * last snapshot, else from the memory that QEMU has touched and a moment's
 * measurement of this host. One thread.
 */
#ifndef FIRN_SNAPSHOT_PLAN_JOB_H
#define FIRN_SNAPSHOT_PLAN_JOB_H

#include "snapshot/plan.h"

/* Something that a capture would stop at, or (a warning) could. */
struct plan_blocker {
    bool warning;
    const struct error *why; /* code, message, hint; borrowed */
};

struct plan_args {
    struct repository *repository;
    const char *qmp_path;
    const char *name; /* NULL: QEMU's -name */
    enum snapshot_mode mode;
    uint64_t max_downtime_ms;           /* 0: 300 */
    uint64_t max_bandwidth_bytes_per_s; /* 0: no limit */
    uint64_t reserve_bytes;             /* 0: see storage/space.h */
    int level;
    struct stopper *stop;
    void (*blocker)(void *arg, const struct plan_blocker *blocker);
    void *arg;
};

struct plan_report {
    char vm[256];
    unsigned n_blockers; /* warnings not counted */
    int first_code;      /* of the first blocker */
    bool predicted;      /* the rest is known: QEMU could be asked */
    enum snapshot_mode mode;
    const char *mode_reason;
    bool falls_back; /* auto: the stream will not converge */
    uint64_t ram_bytes;
    bool from_history; /* the VM was captured before */
    struct plan_question question;
    struct plan_answer answer;
    uint64_t free_bytes;
};

/* Blockers are no errors: they are told and counted. */
int plan_job_run(const struct plan_args *args, struct plan_report *ret,
                 struct error *err) NODISCARD;

#endif

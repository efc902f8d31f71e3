/*
 * metrics.h - figures for Prometheus, in the text format of its node
 * exporter's textfile collector.
 *
 * What a run does not find out anew stays as the file had it: the last success
 * of a VM whose capture failed now, or that nobody asked about. Times are
 * seconds since 1970, so that an age is `time() - X` there. One thread.
 */
#ifndef FIRN_CLI_METRICS_H
#define FIRN_CLI_METRICS_H

#include "core/base/error.h"

/*
 * X(constant, name, help): with a VM's name as label, or without.
 */
#define METRICS_OF_VMS(X)                                                      \
    X(METRIC_LAST_SUCCESS, "firn_last_success_timestamp_seconds",              \
      "When the newest snapshot was captured.")                                \
    X(METRIC_SUCCESS, "firn_success",                                          \
      "1 if all that was due for the VM was done, else 0.")                    \
    X(METRIC_RUNNING, "firn_vm_running",                                       \
      "1 if the VM was there to be captured, else 0.")                         \
    X(METRIC_DURATION, "firn_snapshot_duration_seconds",                       \
      "How long the last capture took.")                                       \
    X(METRIC_DOWNTIME, "firn_snapshot_downtime_seconds",                       \
      "How long the guest stood still for the last capture.")                  \
    X(METRIC_BYTES, "firn_snapshot_stored_bytes",                              \
      "What the last capture added to the repository.")                        \
    X(METRIC_FAULTS, "firn_snapshot_qemu_faults",                              \
      "Page faults of QEMU during the last capture.")                          \
    X(METRIC_LAST_CHECK, "firn_last_check_timestamp_seconds",                  \
      "When the VM's repository was last checked and found good.")

#define METRICS_OF_RUNS(X)                                                     \
    X(METRIC_RUN_TIME, "firn_run_timestamp_seconds", "When the last run ended.") \
    X(METRIC_RUN_DURATION, "firn_run_duration_seconds",                        \
      "How long the last run took.")                                           \
    X(METRIC_RUN_STATUS, "firn_run_exit_status",                               \
      "Exit status of the last run: that of its worst failure.")

enum metric {
#define X(constant, name, help) constant,
    METRICS_OF_VMS(X) METRICS_OF_RUNS(X)
#undef X
        METRICS,
};

struct metric_value {
    enum metric metric;
    char *vm; /* "" for one of runs */
    double value;
};

struct metrics {
    struct metric_value *values;
    size_t n;
};

/* What the file holds; none if it is not there, lines that are not ours are
 * passed over. To be released in any case; all zero is fine. */
int metrics_load(const char *path, struct metrics *ret,
                 struct error *err) NODISCARD;
/* One figure, new or in place of the old one; `vm` "" for one of runs. */
int metrics_set(struct metrics *m, enum metric metric, const char *vm,
                double value, struct error *err) NODISCARD;

/* What is known of one VM now; 0 or false: nothing new. */
struct metrics_of_vm {
    const char *vm;
    bool success;
    bool runs;
    uint64_t last_ns;    /* real time of its newest snapshot */
    uint64_t checked_ns; /* real time at which its repository was found good */
    bool taken;          /* a snapshot, with these figures: */
    uint64_t duration_ms;
    uint64_t downtime_ms;
    uint64_t stored_bytes;
    uint64_t qemu_faults;
};

/* Those of its figures that are known now; the others stay as they were. */
int metrics_set_vm(struct metrics *m, const struct metrics_of_vm *f,
                   struct error *err) NODISCARD;

/* Drops what is told of VMs that are not `wanted`. */
void metrics_retain(struct metrics *m, bool (*wanted)(void *arg, const char *vm),
                    void *arg);
/* Whole or not at all: beside it, then renamed. Mode 0644. */
int metrics_write(const struct metrics *m, const char *path,
                  struct error *err) NODISCARD;
/* Frees them; none remain. */
void metrics_release(struct metrics *m);

#endif

/*
 * snapshot_job.h - door: capture one VM into a repository.
 *
 * Runs one snapshot from the QMP socket to the commit. Whatever happens, the
 * VM ends in the run state in which it was found.
 */
#ifndef FIRN_SNAPSHOT_SNAPSHOT_JOB_H
#define FIRN_SNAPSHOT_SNAPSHOT_JOB_H

#include "core/base/stopper.h"
#include "storage/repository.h"

enum snapshot_mode {
    SNAPSHOT_AUTO = 0,
    SNAPSHOT_STREAM,
    SNAPSHOT_BACKGROUND,
};

/* How QEMU compresses what it sends through multifd channels. */
enum snapshot_channel_method {
    SNAPSHOT_METHOD_AUTO = 0, /* by what this host is measured to do */
    SNAPSHOT_METHOD_NONE,
    SNAPSHOT_METHOD_ZLIB,
    SNAPSHOT_METHOD_ZSTD,
};

#define SNAPSHOT_CHANNELS_MAX 16u

/* The downtime budget unless another is given. */
#define SNAPSHOT_DOWNTIME_MS 300u

struct snapshot_progress {
    const char *phase; /* "connecting", "precopy round 2", "committing", ... */
    uint64_t done_bytes;
    uint64_t total_bytes;
    uint64_t stored_bytes;
};

/*
 * The instants at which others may act (hooks). PAUSED is told in the thread
 * that reads the stream, the others in the caller's. FAILED follows whatever
 * went wrong, also before the first of the others.
 */
enum snapshot_moment {
    SNAPSHOT_BEFORE_PAUSE = 0, /* nothing was asked of QEMU yet */
    SNAPSHOT_PAUSED,           /* mode stream: all is here, the guest stands
                                  still until the call returns */
    SNAPSHOT_RESUMED,          /* the VM is as it was found */
    SNAPSHOT_COMMITTED,        /* the snapshot is listed */
    SNAPSHOT_FAILED,           /* nothing was stored; the VM is as found */
};

struct snapshot_event {
    enum snapshot_moment moment;
    /* Borrowed; NULL where it is not known (yet). */
    const char *vm;
    const char *vm_uuid;
    const char *mode;                       /* not for PAUSED */
    const struct snapshot_summary *summary; /* COMMITTED */
    uint64_t qemu_faults;    /* COMMITTED: page faults of QEMU from BEFORE_PAUSE
                                to RESUMED, among them all that we caused */
    const struct error *why; /* FAILED */
};

struct snapshot_args {
    struct repository *repository;
    const char *qmp_path;
    const char *name; /* NULL: QEMU's -name */
    enum snapshot_mode mode;
    unsigned channels; /* of multifd, in mode stream; 0: by the host's cores */
    enum snapshot_channel_method channel_method;
    bool auto_converge;                 /* QEMU may throttle the guest */
    uint64_t max_downtime_ms;           /* 0: 300 */
    uint64_t max_bandwidth_bytes_per_s; /* 0: no limit */
    uint64_t timeout_ms;                /* 0: none */
    uint64_t reserve_bytes; /* stays free on the disk; 0: see storage/space.h */
    int level;              /* zstd; 0: default */
    bool across_vms;        /* dedup against other VMs, byte by byte */
    bool verify;            /* read all data back before commit */
    json_t *tags;           /* object of strings; borrowed */
    uint64_t time_ns; /* recorded as its time; 0: that of the instant */
    struct stopper *stop;
    void (*progress)(void *arg, const struct snapshot_progress *p);
    /* A sentence for the user ("mode background: ..."); may be NULL. */
    void (*note)(void *arg, const char *text);
    /* May be NULL. An error of BEFORE_PAUSE or PAUSED gives the capture up;
     * that of another moment is not looked at. */
    int (*moment)(void *arg, const struct snapshot_event *event,
                  struct error *err);
    void *arg;
};

/* What a capture tells beside the summary. */
struct snapshot_outcome {
    bool over_budget; /* complete, but the guest stood still for too long */
    /* How it went, as it is kept in the snapshot's facts: {"mode_reason": str,
     * "downtime_limit_ms", "expected_downtime_ms", "dirty_bytes_per_s",
     * "bytes_per_s", "throttle_percent": int, "rounds": [{"bytes","ms"}]}.
     * Owned. */
    json_t *capture;
};

/* Drops what it owns, after success and after failure. */
void snapshot_outcome_release(struct snapshot_outcome *o);

/* On success `ret` is the snapshot's summary; the caller releases both.
 * ERR_BUDGET: given up before the VM was stopped, nothing is stored. */
int snapshot_job_run(const struct snapshot_args *args,
                     struct snapshot_summary *ret,
                     struct snapshot_outcome *ret_outcome,
                     struct error *err) NODISCARD;

#endif

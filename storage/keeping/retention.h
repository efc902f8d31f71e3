/*
 * retention.h - door: which snapshots a policy keeps, and why. Pure.
 *
 * The words and their meaning are restic's. Each VM is looked at by itself
 * (its uuid, else its name), from its newest snapshot back. A rule such as
 * `daily` keeps the newest snapshot of each of the last N days that have one;
 * while it has days left, the oldest snapshot is kept as well. A snapshot is
 * kept when any rule keeps it. Hours, days, weeks (ISO 8601: Monday first, the
 * year that holds the Thursday), months and years are those of local time
 * (TZ); an hour that a change of the clocks repeats counts as two.
 */
#ifndef FIRN_STORAGE_KEEPING_RETENTION_H
#define FIRN_STORAGE_KEEPING_RETENTION_H

#include "storage/repository.h"

enum retention_rule {
    RETENTION_LAST,
    RETENTION_HOURLY,
    RETENTION_DAILY,
    RETENTION_WEEKLY,
    RETENTION_MONTHLY,
    RETENTION_YEARLY,
    RETENTION__RULES,
};

struct retention_policy {
    uint64_t keep[RETENTION__RULES]; /* 0: the rule is not asked for */
    uint64_t within_ms; /* of the VM's newest snapshot; 0: not asked for */
    const json_t *tags; /* object of strings, any of them keeps; or NULL */
};

/* One for each rule, one for the time, one for the tag. */
#define RETENTION_REASONS_MAX (RETENTION__RULES + 2)

struct retention_decision {
    bool keep;
    unsigned n_reasons;
    const char *reasons[RETENTION_REASONS_MAX]; /* static texts */
};

/* No rule, no time, no tag is asked for. */
bool retention_policy_is_empty(const struct retention_policy *p);

/* Snapshots of one and the same VM? */
bool retention_same_vm(const struct snapshot_summary *a,
                       const struct snapshot_summary *b);

/* Decides about `n` snapshots, given oldest first; `ret` has room for `n`. An
 * empty policy keeps everything, without a reason. */
void retention_apply(const struct snapshot_summary *all, size_t n,
                     const struct retention_policy *policy,
                     struct retention_decision *ret);

#endif

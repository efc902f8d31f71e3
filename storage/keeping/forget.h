/*
 * forget.h - door: takes snapshots off the list, by id or by a policy.
 *
 * Space comes back with prune.h. A snapshot that a restore or a page server
 * uses is kept, whatever was asked for: a VM whose pager died needs it to go
 * on. Each is removed by itself, so whatever ends this in between has removed
 * some and harmed none.
 */
#ifndef FIRN_STORAGE_KEEPING_FORGET_H
#define FIRN_STORAGE_KEEPING_FORGET_H

#include "storage/keeping/retention.h"

struct forget_decision {
    const struct snapshot_summary *snapshot; /* of a damaged one the id alone */
    struct retention_decision why;
    /* Would go, but somebody has it: "restore of host a, pid 12"; else "". */
    char in_use[192];
};

struct forget_args {
    struct repository *repository;
    /* Either full ids, or a policy that is not empty. */
    const char *const *ids;
    size_t n_ids;
    const struct retention_policy *policy;
    const char *vm; /* name or uuid: the others are left alone; NULL: all */
    bool dry_run;
    /* Each snapshot that was decided about, VM by VM, the oldest first; what
     * is to go is gone already. Borrowed until it returns. */
    void (*decided)(void *arg, const struct forget_decision *d);
    /* By policy: one that cannot be read is left alone and told; or NULL. */
    void (*bad)(void *arg, const char *id, const struct error *why);
    void *arg;
};

struct forget_report {
    size_t kept;
    size_t removed; /* with dry_run: that would be */
    size_t in_use;  /* of the kept: were to go */
};

/* ERR_INVALID: the policy is empty, or would keep no snapshot of a VM: then
 * nothing is removed. ERR_NOTFOUND: no such id. */
int forget_run(const struct forget_args *args, struct forget_report *ret,
               struct error *err) NODISCARD;

#endif

/*
 * forget.c - a lease that claims, a look at who has what, then the removals.
 *
 * The claim is written before the others' leases are read, and a restore
 * writes its lease before it looks for claims: one of the two sees the other.
 */
#include "storage/keeping/forget.h"

#define LOG_AREA "forget"
#include "core/base/log.h"
#include "storage/layout.h"
#include "storage/lease.h"
#include "storage/manifest.h"
#include "storage/repository_inside.h"

struct forgetting {
    const struct forget_args *args;
    struct forget_report report;
    struct snapshot_summary *all;
    size_t n;
    struct forget_decision *decisions; /* one for each of `all` */
};

static void release(struct forgetting *f)
{
    for (size_t i = 0; i < f->n; i++)
        snapshot_summary_release(&f->all[i]);
    free(f->all);
    free(f->decisions);
}

static int make_decisions(struct forgetting *f, struct error *err)
{
    f->decisions = calloc(f->n + 1, sizeof(*f->decisions));
    if (!f->decisions)
        return fail_nomem(err);
    for (size_t i = 0; i < f->n; i++)
        f->decisions[i].snapshot = &f->all[i];
    return 0;
}

/* By id: also what is damaged, so that it can be got rid of. */
static int read_named(struct forgetting *f, struct error *err)
{
    int dirfd = repository_snapshots_dirfd(f->args->repository);

    f->all = calloc(f->args->n_ids + 1, sizeof(*f->all));
    if (!f->all)
        return fail_nomem(err);
    for (size_t i = 0; i < f->args->n_ids; i++) {
        struct snapshot_summary *s = &f->all[f->n];
        const char *id = f->args->ids[i];
        struct error why;
        bool twice = false;
        int rc;

        for (size_t j = 0; j < f->n; j++)
            twice |= strcmp(f->all[j].id, id) == 0;
        if (twice)
            continue;
        rc = manifest_read_summary(dirfd, id, s, &why);
        if (rc == ERR_NOTFOUND || rc == ERR_NOMEM)
            return error_copy(err, &why);
        snprintf(s->id, sizeof(s->id), "%s", id);
        f->n++;
    }
    return make_decisions(f, err);
}

static bool is_meant(const struct forgetting *f,
                     const struct snapshot_summary *s)
{
    const char *vm = f->args->vm;

    return !vm || strcmp(vm, s->vm) == 0 || strcmp(vm, s->vm_uuid) == 0;
}

static void drop_others(struct forgetting *f)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++) {
        if (is_meant(f, &f->all[i]))
            f->all[n++] = f->all[i];
        else
            snapshot_summary_release(&f->all[i]);
    }
    f->n = n;
}

/* Stable: within a VM the order of age stays. */
static void group_by_vm(struct forgetting *f)
{
    for (size_t i = 0; i < f->n; i++) {
        size_t end = i + 1;

        for (size_t j = end; j < f->n; j++) {
            struct snapshot_summary s = f->all[j];

            if (!retention_same_vm(&s, &f->all[i]))
                continue;
            memmove(&f->all[end + 1], &f->all[end], (j - end) * sizeof(s));
            f->all[end++] = s;
        }
        i = end - 1;
    }
}

static int check_kept(const struct forgetting *f, struct error *err)
{
    for (size_t i = 0; i < f->n; i++) {
        bool any = false;

        for (size_t j = 0; j < f->n && !any; j++)
            any = f->decisions[j].why.keep &&
                  retention_same_vm(&f->all[i], &f->all[j]);
        if (any)
            continue;
        fail(err, ERR_INVALID, "the policy keeps no snapshot of VM '%s'",
             f->all[i].vm);
        return error_hint(err, "name snapshots to remove all of a VM's, or add "
                               "'--keep-last 1'");
    }
    return 0;
}

static int read_by_policy(struct forgetting *f, struct error *err)
{
    const struct forget_args *a = f->args;
    cleanup_free struct retention_decision *why = NULL;
    int rc;

    if (!a->policy || retention_policy_is_empty(a->policy))
        return fail(err, ERR_INVALID, "the policy keeps nothing");
    rc = repository_list(a->repository, a->bad, a->arg, &f->all, &f->n, err);
    if (rc < 0)
        return rc;
    drop_others(f);
    group_by_vm(f);
    rc = make_decisions(f, err);
    if (rc < 0)
        return rc;
    why = calloc(f->n + 1, sizeof(*why));
    if (!why)
        return fail_nomem(err);
    retention_apply(f->all, f->n, a->policy, why);
    for (size_t i = 0; i < f->n; i++)
        f->decisions[i].why = why[i];
    return check_kept(f, err);
}

static void keep_used(struct forgetting *f, const struct lease_infos *leases)
{
    for (size_t i = 0; i < f->n; i++) {
        struct forget_decision *d = &f->decisions[i];
        const struct lease_info *reader =
            lease_infos_reader(leases, f->all[i].id);

        if (d->why.keep || !reader)
            continue;
        snprintf(d->in_use, sizeof(d->in_use), "%s on host %s, pid %d",
                 reader->purpose, reader->host, (int)reader->pid);
        d->why.keep = true;
        f->report.in_use++;
    }
}

static int remove_one(struct forgetting *f, const char *id, struct error *err)
{
    struct repository *r = f->args->repository;
    struct object_folder folder =
        layout_snapshots(repository_snapshots_dirfd(r));
    char hints[SNAPSHOT_ID_LEN + sizeof(LAYOUT_HINTS) + 1];
    int rc = object_remove(&folder, id, err);

    if (rc < 0 && rc != ERR_NOTFOUND)
        return rc;
    snprintf(hints, sizeof(hints), LAYOUT_HINTS "/%s", id);
    if (unlinkat(repository_dirfd(r), hints, 0) < 0 && errno != ENOENT)
        log_debug("%s stays: %s", hints, strerror(errno));
    return 0;
}

static int remove_all(struct forgetting *f, struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < f->n; i++) {
        bool goes = !f->decisions[i].why.keep;

        if (goes && !f->args->dry_run)
            rc = remove_one(f, f->all[i].id, err);
        f->report.removed += goes;
        f->report.kept += !goes;
    }
    return rc;
}

static int claim(struct forgetting *f, struct lease *l, struct error *err)
{
    cleanup_free const char **ids = calloc(f->n + 1, sizeof(*ids));
    size_t n = 0;

    if (!ids)
        return fail_nomem(err);
    for (size_t i = 0; i < f->n; i++) {
        if (!f->decisions[i].why.keep)
            ids[n++] = f->all[i].id;
    }
    return lease_claim(l, ids, n, err);
}

static int carry_out(struct forgetting *f, struct error *err)
{
    cleanup(lease) struct lease *l = NULL;
    cleanup(lease_infos) struct lease_infos leases = {0};
    struct repository *r = f->args->repository;
    int rc = 0;

    if (!f->args->dry_run)
        rc = lease_acquire(r, "forget", NULL, &l, err);
    if (rc == 0 && l)
        rc = claim(f, l, err);
    if (rc == 0)
        rc = lease_list(r, l, &leases, err);
    if (rc < 0)
        return rc;
    keep_used(f, &leases);
    return remove_all(f, err);
}

int forget_run(const struct forget_args *args, struct forget_report *ret,
               struct error *err)
{
    struct forgetting f = {.args = args};
    int rc = args->n_ids ? read_named(&f, err) : read_by_policy(&f, err);

    if (rc == 0)
        rc = carry_out(&f, err);
    for (size_t i = 0; rc == 0 && args->decided && i < f.n; i++)
        args->decided(args->arg, &f.decisions[i]);
    release(&f);
    if (rc == 0)
        *ret = f.report;
    return rc;
}

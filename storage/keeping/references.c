/*
 * references.c - the lists of packs of many snapshots, made one set.
 *
 * Who removes packs must know all that is needed: there one snapshot that
 * cannot be read stops everything, since its packs would look like waste.
 * Who only counts what is shared goes on without it.
 */
#include "storage/keeping/references.h"

#include "storage/manifest.h"
#include "storage/repository_inside.h"

struct reading {
    struct repository *repository;
    struct stopper *stop;
    struct references found;
};

void references_release(struct references *r)
{
    pack_set_release(&r->packs);
    *r = (struct references){0};
}

static int unreadable(const char *id, const struct error *why,
                      struct error *err)
{
    error_copy(err, why);
    error_wrap(err, "nobody knows what snapshot '%s' needs", id);
    return error_hint(
        err, "'firn check' says more; 'firn forget %s' gives it up", id);
}

static int add_snapshot(void *arg, const char *id, struct error *err)
{
    struct reading *r = arg;
    cleanup(manifest) struct manifest *m = NULL;
    struct error why;
    int rc;

    if (r->stop && stopper_pulled(r->stop))
        return stopper_error(r->stop, err);
    rc = manifest_open(repository_snapshots_dirfd(r->repository), id, &m, &why);
    if (rc == ERR_NOTFOUND)
        return 0;
    if (rc < 0)
        return unreadable(id, &why, err);
    r->found.snapshots++;
    return manifest_add_packs(m, &r->found.packs, err);
}

int references_read(struct repository *r, struct stopper *stop,
                    struct references *ret, struct error *err)
{
    struct object_folder folder =
        layout_snapshots(repository_snapshots_dirfd(r));
    struct reading reading = {.repository = r, .stop = stop};
    int rc = object_list(&folder, add_snapshot, &reading, err);

    if (rc < 0) {
        references_release(&reading.found);
        return rc;
    }
    *ret = reading.found;
    return 0;
}

/* One that cannot be read is passed over: `check` names it. */
static int add_one(struct repository *r, const char *id, struct pack_set *add,
                   struct error *err)
{
    cleanup(manifest) struct manifest *m = NULL;
    int rc = manifest_open(repository_snapshots_dirfd(r), id, &m, err);

    if (rc == ERR_NOMEM)
        return rc;
    return rc < 0 ? 0 : manifest_add_packs(m, add, err);
}

static int add_older(struct repository *r, const char *id, struct stopper *stop,
                     struct pack_set *add, struct error *err)
{
    struct snapshot_summary *all;
    bool older = true;
    size_t n;
    int rc = repository_list(r, NULL, NULL, &all, &n, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        older = older && strcmp(all[i].id, id) != 0;
        if (rc == 0 && older && stopper_pulled(stop))
            rc = stopper_error(stop, err);
        if (rc == 0 && older)
            rc = add_one(r, all[i].id, add, err);
        snapshot_summary_release(&all[i]);
    }
    free(all);
    return rc;
}

int references_shared(struct repository *r, const struct snapshot_reader *s,
                      struct stopper *stop, bool **ret, struct error *err)
{
    size_t n;
    const struct snapshot_pack *packs = snapshot_reader_packs(s, &n);
    cleanup_free bool *shared = calloc(n + 1, sizeof(*shared));
    struct pack_set older = {0};
    int rc =
        shared ? add_older(r, snapshot_reader_summary(s)->id, stop, &older, err)
               : fail_nomem(err);

    for (size_t i = 0; rc == 0 && i < n; i++)
        shared[i] = pack_set_find_text(&older, packs[i].id) != PACK_SET_NONE;
    pack_set_release(&older);
    if (rc == 0)
        *ret = steal_ptr(&shared);
    return rc;
}

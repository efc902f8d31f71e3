#include "storage/references.h"

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
    const struct manifest_pack *packs;
    uint8_t bytes[LAYOUT_PACK_ID_BYTES];
    struct error why;
    uint32_t n, number;
    int rc;

    if (r->stop && stopper_pulled(r->stop))
        return stopper_error(r->stop, err);
    rc = manifest_open(repository_snapshots_dirfd(r->repository), id, &m, &why);
    if (rc == ERR_NOTFOUND)
        return 0;
    if (rc < 0)
        return unreadable(id, &why, err);
    r->found.snapshots++;
    packs = manifest_packs(m, &n);
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        if (layout_id_bytes(packs[i].id, bytes, sizeof(bytes)))
            rc = pack_set_add(&r->found.packs, bytes, &number, err);
    }
    return rc;
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

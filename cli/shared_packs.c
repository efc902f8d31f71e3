/*
 * shared_packs.c - the older snapshots' lists of packs against ours, sorted.
 */
#include "cli/shared_packs.h"

struct numbered {
    const char *id;
    uint32_t number;
};

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct numbered *)a)->id,
                  ((const struct numbered *)b)->id);
}

static int mark(struct repository *repository, const char *id,
                const struct numbered *ours, size_t n, bool *shared,
                struct error *err)
{
    cleanup(snapshot_reader) struct snapshot_reader *older = NULL;
    const struct snapshot_pack *packs;
    size_t n_packs;
    int rc = snapshot_reader_open(repository, id, &older, err);

    if (rc == ERR_NOMEM)
        return rc;
    if (rc < 0)
        return 0;
    packs = snapshot_reader_packs(older, &n_packs);
    for (size_t i = 0; i < n_packs; i++) {
        struct numbered key = {.id = packs[i].id};
        const struct numbered *found =
            bsearch(&key, ours, n, sizeof(key), by_id);

        if (found)
            shared[found->number] = true;
    }
    return 0;
}

static int mark_all(struct repository *repository, const char *until,
                    const struct numbered *ours, size_t n, bool *shared,
                    struct stopper *stop, struct error *err)
{
    struct snapshot_summary *all;
    size_t n_all;
    bool older = true;
    int rc = repository_list(repository, NULL, NULL, &all, &n_all, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n_all; i++) {
        older = older && strcmp(all[i].id, until) != 0;
        if (rc == 0 && older && stopper_pulled(stop))
            rc = stopper_error(stop, err);
        if (rc == 0 && older)
            rc = mark(repository, all[i].id, ours, n, shared, err);
        snapshot_summary_release(&all[i]);
    }
    free(all);
    return rc;
}

int shared_packs_find(struct repository *repository,
                      struct snapshot_reader *reader, struct stopper *stop,
                      bool **ret, struct error *err)
{
    size_t n;
    const struct snapshot_pack *packs = snapshot_reader_packs(reader, &n);
    cleanup_free struct numbered *ours = calloc(n + 1, sizeof(*ours));
    cleanup_free bool *shared = calloc(n + 1, sizeof(*shared));
    int rc;

    if (!ours || !shared)
        return fail_nomem(err);
    for (size_t i = 0; i < n; i++)
        ours[i] = (struct numbered){.id = packs[i].id, .number = (uint32_t)i};
    qsort(ours, n, sizeof(*ours), by_id);
    rc = mark_all(repository, snapshot_reader_summary(reader)->id, ours, n,
                  shared, stop, err);
    if (rc == 0)
        *ret = steal_ptr(&shared);
    return rc;
}

/*
 * snapshot_history.c - what this VM's earlier snapshots have stored.
 *
 * The item tables of their packs are read in bulk, 16 bytes a page, and no
 * frame. Only snapshots lead to packs: what another capture has written but
 * not committed cannot be found. The lease, taken before, keeps what is found
 * here from being removed; the commit looks once more.
 */
#include "storage/snapshot_writer_inside.h"

#define LOG_AREA "history"
#include "core/base/log.h"
#include "storage/condemned.h"
#include "storage/manifest.h"
#include "storage/repository_inside.h"

static bool same_vm(const struct snapshot_writer *w,
                    const struct snapshot_summary *s)
{
    if (w->vm_uuid[0])
        return strcmp(s->vm_uuid, w->vm_uuid) == 0;
    return !s->vm_uuid[0] && strcmp(s->vm, w->vm) == 0;
}

static int add_items(struct snapshot_writer *w, uint32_t number,
                     struct pack_reader *reader, struct error *err)
{
    struct dedup *known =
        w->packs[number].kind == PACK_INDEX ? &w->index_known : &w->pages_known;
    uint32_t n = pack_reader_n_items(reader);
    const struct page_hash *hashes;
    int rc = pack_reader_hashes(reader, &hashes, err);

    if (rc < 0)
        return rc;
    if (known->n < known->max)
        dedup_reserve(known, n);
    for (uint32_t i = 0; i < n; i++) {
        if (!dedup_add(known, hashes[i], (struct dedup_place){number, i}))
            break;
    }
    return 0;
}

/* A pack written with another key has hashes that mean nothing to us. */
static int load_pack(struct snapshot_writer *w, const struct manifest_pack *p,
                     bool compare, struct error *err)
{
    cleanup(pack_reader) struct pack_reader *reader = NULL;
    struct error why;
    uint32_t number;
    int rc = pack_reader_open(repository_packs_dirfd(w->repository), p->id,
                              p->kind, &reader, &why);

    if (rc < 0) {
        log_debug("passed over: %s", why.message);
        return rc == ERR_NOMEM ? error_copy(err, &why) : 0;
    }
    if (pack_reader_hash_key_id(reader) != w->key->id)
        return 0;
    rc = writer_add_pack(w, p->id, p->kind, NULL, &number, err);
    if (rc < 0)
        return rc;
    w->packs[number].bytes = pack_reader_bytes(reader);
    w->packs[number].items = pack_reader_n_items(reader);
    w->packs[number].compare = compare;
    w->has_compared |= compare;
    rc = add_items(w, number, reader, &why);
    if (rc < 0)
        log_debug("passed over: %s", why.message);
    return rc == ERR_NOMEM ? error_copy(err, &why) : 0;
}

/* Among the packs that an earlier capture of this VM took from others. */
static bool is_foreign(const json_t *facts, const char *id)
{
    const json_t *one;
    size_t i;

    json_array_foreach(json_object_get(facts, SNAPSHOT_FOREIGN_PACKS), i, one)
    {
        const char *text = json_string_value(one);

        if (text && strcmp(text, id) == 0)
            return true;
    }
    return false;
}

static int load_snapshot(struct snapshot_writer *w, const char *id, bool others,
                         struct pack_set *seen, struct error *err)
{
    cleanup(manifest) struct manifest *m = NULL;
    const struct manifest_pack *packs;
    uint8_t bytes[LAYOUT_PACK_ID_BYTES];
    struct error why;
    uint32_t n, n_seen, number;
    int rc =
        manifest_open(repository_snapshots_dirfd(w->repository), id, &m, &why);

    if (rc < 0) {
        log_debug("passed over: %s", why.message);
        return rc == ERR_NOMEM ? error_copy(err, &why) : 0;
    }
    packs = manifest_packs(m, &n);
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        n_seen = seen->n;
        if (!layout_id_bytes(packs[i].id, bytes, sizeof(bytes)) ||
            (others && packs[i].kind != PACK_PAGES))
            continue;
        rc = pack_set_add(seen, bytes, &number, err);
        if (rc == 0 && seen->n > n_seen)
            rc = load_pack(w, &packs[i],
                           others || is_foreign(manifest_facts(m), packs[i].id),
                           err);
    }
    return rc;
}

/* Condemned packs count as seen: what is stored in them is stored again. They
 * are read after the lease was taken, see condemned.h. */
static int pass_over_condemned(struct snapshot_writer *w, struct pack_set *seen,
                               struct error *err)
{
    cleanup(condemned_list) struct condemned_list lists = {0};
    int rc = condemned_list_read(w->repository, &lists, err);

    return rc < 0 ? rc : condemned_list_packs(&lists, seen, err);
}

static int load_own(struct snapshot_writer *w,
                    const struct snapshot_summary *all, size_t n,
                    struct pack_set *seen, struct error *err)
{
    int rc = 0;

    /* Of the newest one all, however large; see dedup.h. */
    w->pages_known.max = DEDUP_MAX_ENTRIES / 2;
    for (size_t i = n; rc == 0 && i-- > 0;) {
        if (!same_vm(w, &all[i]) || w->pages_known.n >= w->pages_known.max)
            continue;
        rc = load_snapshot(w, all[i].id, false, seen, err);
        w->pages_known.max = DEDUP_HISTORY_ENTRIES;
    }
    return rc;
}

static bool is_newest_of_its_vm(const struct snapshot_summary *all, size_t n,
                                size_t i)
{
    for (size_t k = i + 1; k < n; k++) {
        if (strcmp(all[k].vm, all[i].vm) == 0 &&
            strcmp(all[k].vm_uuid, all[i].vm_uuid) == 0)
            return false;
    }
    return true;
}

static int load_others(struct snapshot_writer *w,
                       const struct snapshot_summary *all, size_t n,
                       struct pack_set *seen, struct error *err)
{
    int rc = 0;

    w->pages_known.max = DEDUP_HISTORY_ENTRIES;
    for (size_t i = n; rc == 0 && i-- > 0;) {
        if (!same_vm(w, &all[i]) && is_newest_of_its_vm(all, n, i) &&
            w->pages_known.n < w->pages_known.max)
            rc = load_snapshot(w, all[i].id, true, seen, err);
    }
    return rc;
}

int snapshot_history_load(struct snapshot_writer *w, struct error *err)
{
    cleanup(pack_set) struct pack_set seen = {0};
    struct snapshot_summary *all;
    size_t n;
    int rc = pass_over_condemned(w, &seen, err);

    if (rc == 0)
        rc = repository_list(w->repository, NULL, NULL, &all, &n, err);
    if (rc < 0)
        return rc;
    rc = load_own(w, all, n, &seen, err);
    if (rc == 0 && w->across_vms)
        rc = load_others(w, all, n, &seen, err);
    w->pages_known.max = DEDUP_MAX_ENTRIES;
    for (size_t i = 0; i < n; i++)
        snapshot_summary_release(&all[i]);
    free(all);
    return rc;
}

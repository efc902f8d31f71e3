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
                     struct error *err)
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
    rc = add_items(w, number, reader, &why);
    if (rc < 0)
        log_debug("passed over: %s", why.message);
    return rc == ERR_NOMEM ? error_copy(err, &why) : 0;
}

static int load_snapshot(struct snapshot_writer *w, const char *id,
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
        if (!layout_id_bytes(packs[i].id, bytes, sizeof(bytes)))
            continue;
        rc = pack_set_add(seen, bytes, &number, err);
        if (rc == 0 && seen->n > n_seen)
            rc = load_pack(w, &packs[i], err);
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
    /* Of the newest one all, however large; see dedup.h. */
    w->pages_known.max = DEDUP_MAX_ENTRIES / 2;
    for (size_t i = n; i-- > 0;) {
        if (rc == 0 && same_vm(w, &all[i]) &&
            w->pages_known.n < w->pages_known.max) {
            rc = load_snapshot(w, all[i].id, &seen, err);
            w->pages_known.max = DEDUP_HISTORY_ENTRIES;
        }
        snapshot_summary_release(&all[i]);
    }
    w->pages_known.max = DEDUP_MAX_ENTRIES;
    free(all);
    return rc;
}

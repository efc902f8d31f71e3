/*
 * prune_rewrite.c - packs that are mostly dead, written again.
 *
 * Packs are immutable and snapshots name them, so a pack is written again by
 * making new packs and new objects of all snapshots that refer to it. In this
 * order, for a few packs at a time:
 *   1. the old packs are read whole and checked; a damaged one stays;
 *   2. their live pages and the changed segments go to new, unnamed packs;
 *   3. the lease names the new packs, they are linked and read back;
 *   4. each snapshot's new object is written under a hidden name, then the
 *      snapshots are claimed, and each object changes places with its new one
 *      at one instant. One that is gone stays gone; one that somebody reads by
 *      name (a restore, which counts on the numbers in it) keeps its old packs;
 *   5. the old packs, as far as nobody refers to them now, are condemned like
 *      any others.
 * A death before 4 leaves packs that the lease names, which the next open
 * removes. A death within 4 leaves some snapshots with new packs and some with
 * the old ones: all whole. Hidden names go with the next open.
 */
#define LOG_AREA "prune"
#include "core/base/log.h"
#include "core/base/path.h"
#include "storage/keeping/prune_inside.h"
#include "storage/keeping/rewriter.h"
#include "storage/layout.h"
#include "storage/repository_inside.h"
#include "storage/verify_pack.h"

/* A batch: what is lost when it is interrupted, and how long it may overrun. */
#define BATCH_PACKS 64u
#define BATCH_BYTES (UINT64_C(128) << 20)
/* Objects that are made before they are put in place, together. */
#define OBJECTS_AT_ONCE 64u
/* A pack with fewer dead bytes in a hundred is no use to write again. */
#define MIN_DEAD_PERCENT 5u

struct rewriting {
    struct prune *p;
    struct usage *u;
    uint32_t *order; /* of the snapshots, the newest first */
    uint32_t *chosen;
    uint32_t n_chosen;
    bool *excluded; /* packs of snapshots in use, or damaged */
};

/* A new object on its way. */
struct waiting_object {
    char id[SNAPSHOT_ID_LEN + 1];
    struct object_file file;
};

/* ---- Which ---- */

static unsigned dead_percent(const struct usage_pack *p)
{
    return p->pack.items ? (unsigned)((uint64_t)(p->pack.items - p->live) *
                                      100 / p->pack.items)
                         : 0;
}

static int compare_dead(const void *a, const void *b, void *arg)
{
    const struct usage *u = arg;
    const struct usage_pack *x = &u->packs[*(const uint32_t *)a];
    const struct usage_pack *y = &u->packs[*(const uint32_t *)b];
    unsigned dx = dead_percent(x), dy = dead_percent(y);

    if (dx != dy)
        return dx > dy ? -1 : 1;
    return strcmp(x->pack.id, y->pack.id);
}

static int compare_newest(const void *a, const void *b, void *arg)
{
    const struct usage *u = arg;
    uint64_t x = u->snapshots[*(const uint32_t *)a].time_ns;
    uint64_t y = u->snapshots[*(const uint32_t *)b].time_ns;

    return x != y ? (x > y ? -1 : 1) : 0;
}

/* Packs of snapshots that somebody reads by name stay as they are. */
static int exclude_used(struct rewriting *r, struct error *err)
{
    cleanup(lease_infos) struct lease_infos leases = {0};
    struct prune *p = r->p;
    int dirfd = repository_snapshots_dirfd(p->repository);
    int rc = lease_list(p->repository, p->lease, &leases, err);

    for (size_t i = 0; rc == 0 && i < leases.n; i++) {
        cleanup(manifest) struct manifest *m = NULL;
        const struct manifest_pack *packs;
        struct error ignored;
        uint32_t n;

        if (!leases.all[i].snapshot[0] ||
            manifest_open(dirfd, leases.all[i].snapshot, &m, &ignored) < 0)
            continue;
        packs = manifest_packs(m, &n);
        for (uint32_t j = 0; j < n; j++) {
            uint32_t number = pack_set_find_text(&r->u->ids, packs[j].id);

            if (number != PACK_SET_NONE)
                r->excluded[number] = true;
        }
    }
    return rc;
}

/* The deadest first, until few dead bytes are left. */
static void choose(struct rewriting *r)
{
    const struct usage *u = r->u;
    uint64_t dead = 0, alive = 0, allowed;
    uint32_t n = 0;

    for (uint32_t i = 0; i < u->ids.n; i++) {
        dead += usage_dead_bytes(&u->packs[i]);
        alive += u->packs[i].pack.bytes - usage_dead_bytes(&u->packs[i]);
        if (!r->excluded[i])
            r->chosen[n++] = i;
    }
    qsort_r(r->chosen, n, sizeof(*r->chosen), compare_dead, r->u);
    allowed = alive / 100 * r->p->args->max_unused_percent;
    while (r->n_chosen < n && dead > allowed) {
        const struct usage_pack *p = &u->packs[r->chosen[r->n_chosen]];

        if (dead_percent(p) < MIN_DEAD_PERCENT)
            break;
        dead -= usage_dead_bytes(p);
        r->n_chosen++;
    }
    r->p->report.unused_bytes = dead;
}

static int prepare(struct rewriting *r, struct error *err)
{
    struct prune *p = r->p;
    int rc;

    prune_progress(p, "looking for packs that are mostly dead", 0, 0);
    rc = usage_read(p->repository, p->args->stop, &r->u, err);
    if (rc < 0)
        return rc;
    r->order = calloc((size_t)r->u->n_snapshots + 1, sizeof(*r->order));
    r->chosen = calloc((size_t)r->u->ids.n + 1, sizeof(*r->chosen));
    r->excluded = calloc((size_t)r->u->ids.n + 1, sizeof(*r->excluded));
    if (!r->order || !r->chosen || !r->excluded)
        return fail_nomem(err);
    for (uint32_t i = 0; i < r->u->n_snapshots; i++)
        r->order[i] = i;
    if (r->u->n_snapshots > 0)
        qsort_r(r->order, r->u->n_snapshots, sizeof(*r->order), compare_newest,
                r->u);
    rc = exclude_used(r, err);
    if (rc == 0)
        choose(r);
    return rc;
}

/* ---- One batch ---- */

/* A pack that is damaged is for `check` to tell; nothing of it is moved. */
static int choose_sound(struct rewriting *r, struct rewriter *w, uint32_t from,
                        uint32_t end, uint32_t *ret_n, struct error *err)
{
    struct prune *p = r->p;
    struct error why;

    *ret_n = 0;
    for (uint32_t i = from; i < end; i++) {
        const struct manifest_pack *pack = &r->u->packs[r->chosen[i]].pack;
        int rc = verify_pack_whole(p->repository, pack, p->args->stop, &why);

        if (rc == ERR_CORRUPT) {
            prune_note(p, "pack '%s' is damaged and stays: %s", pack->id,
                       why.message);
            continue;
        }
        if (rc < 0)
            return error_copy(err, &why);
        rewriter_choose(w, r->chosen[i]);
        ++*ret_n;
    }
    return 0;
}

/* Calls `visit` for each snapshot that refers to a chosen pack, the newest
 * first. */
static int each_touched(struct rewriting *r, struct rewriter *w,
                        int (*visit)(struct rewriting *r, struct rewriter *w,
                                     struct manifest *m, void *arg,
                                     struct error *err),
                        void *arg, struct error *err)
{
    int dirfd = repository_snapshots_dirfd(r->p->repository);
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < r->u->n_snapshots; i++) {
        const char *id = r->u->snapshots[r->order[i]].sizes.id;
        cleanup(manifest) struct manifest *m = NULL;

        rc = prune_check_stop(r->p, err);
        if (rc == 0)
            rc = manifest_open(dirfd, id, &m, err);
        if (rc == ERR_NOTFOUND)
            rc = 0; /* forgotten meanwhile */
        else if (rc == 0 && rewriter_touches(w, m))
            rc = visit(r, w, m, arg, err);
    }
    return rc;
}

static int collect(struct rewriting *r, struct rewriter *w, struct manifest *m,
                   void *arg, struct error *err)
{
    return rewriter_collect(w, m, err);
}

struct placing {
    struct waiting_object all[OBJECTS_AT_ONCE];
    unsigned n;
};

static void release_objects(struct placing *pl)
{
    for (unsigned i = 0; i < pl->n; i++)
        object_file_release(&pl->all[i].file);
    pl->n = 0;
}

static int exchange(struct rewriting *r, struct placing *pl,
                    const struct lease_infos *leases, struct error *err)
{
    struct object_folder folder =
        layout_snapshots(repository_snapshots_dirfd(r->p->repository));
    struct error why;
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < pl->n; i++) {
        struct waiting_object *o = &pl->all[i];

        if (lease_infos_reader(leases, o->id))
            continue;
        rc = object_file_exchange(&folder, &o->file, o->id, &why);
        if (rc == ERR_NOTFOUND)
            rc = 0; /* forgotten meanwhile, and stays so */
        else if (rc < 0)
            error_copy(err, &why);
    }
    return rc;
}

/* The objects that wait, in the places of the old ones. */
static int put_in_place(struct rewriting *r, struct placing *pl,
                        struct error *err)
{
    cleanup(lease_infos) struct lease_infos leases = {0};
    const char *ids[OBJECTS_AT_ONCE];
    struct lease *lease = r->p->lease;
    struct error ignored;
    int rc;

    for (unsigned i = 0; i < pl->n; i++)
        ids[i] = pl->all[i].id;
    rc = lease_claim(lease, ids, pl->n, err);
    if (rc == 0)
        rc = lease_list(r->p->repository, lease, &leases, err);
    if (rc == 0)
        rc = exchange(r, pl, &leases, err);
    /* A claim that stays would keep readers waiting: it goes in any case. */
    if (lease_claim(lease, NULL, 0, rc == 0 ? err : &ignored) < 0 && rc == 0)
        rc = err->code;
    release_objects(pl);
    return rc;
}

static int write_object(struct rewriting *r, const struct buf *object,
                        struct object_file *ret, struct error *err)
{
    struct object_folder folder =
        layout_snapshots(repository_snapshots_dirfd(r->p->repository));
    int rc;

    folder.no_unnamed = true; /* what is exchanged needs a name */
    rc = object_file_create(&folder, ret, err);
    if (rc == 0)
        rc = path_write_at(ret->fd, object->data, object->len, 0, err);
    if (rc == 0 && fsync(ret->fd) < 0)
        rc = fail_errno(err, ERR_IO, "cannot sync a snapshot");
    return rc;
}

static int build(struct rewriting *r, struct rewriter *w, struct manifest *m,
                 void *arg, struct error *err)
{
    struct placing *pl = arg;
    cleanup_buf struct buf object = BUF_INIT;
    struct waiting_object *o = &pl->all[pl->n];
    int rc = rewriter_object(w, m, &object, err);

    if (rc < 0)
        return rc;
    memcpy(o->id, manifest_summary(m)->id, sizeof(o->id));
    o->file = OBJECT_FILE_INIT;
    rc = write_object(r, &object, &o->file, err);
    pl->n++;
    if (rc == 0 && pl->n == OBJECTS_AT_ONCE)
        rc = put_in_place(r, pl, err);
    return rc;
}

static int build_all(struct rewriting *r, struct rewriter *w, struct error *err)
{
    struct placing *pl = calloc(1, sizeof(*pl));
    int rc;

    if (!pl)
        return fail_nomem(err);
    rc = each_touched(r, w, build, pl, err);
    if (rc == 0 && pl->n > 0)
        rc = put_in_place(r, pl, err);
    release_objects(pl);
    free(pl);
    return rc;
}

/* The next batch finds snapshots that refer to them. */
static int note_products(struct rewriting *r, const struct rewriter *w,
                         struct error *err)
{
    const struct manifest_pack *pack;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && (pack = rewriter_product(w, i)); i++)
        rc = usage_add(r->u, pack, err);
    return rc;
}

static int run_batch(struct rewriting *r, uint32_t from, uint32_t end,
                     struct error *err)
{
    cleanup(rewriter) struct rewriter *w = NULL;
    struct prune *p = r->p;
    uint32_t n = 0;
    int rc = rewriter_new(p->repository, r->u, p->args->stop, &w, err);

    if (rc == 0)
        rc = choose_sound(r, w, from, end, &n, err);
    if (rc < 0 || n == 0)
        return rc;
    rc = each_touched(r, w, collect, NULL, err);
    if (rc == 0)
        rc = rewriter_seal(w, err);
    if (rc < 0)
        return rc;
    p->linking = true;
    rc = rewriter_link(w, p->lease, err);
    if (rc == 0)
        rc = build_all(r, w, err);
    if (rc == 0)
        rc = lease_intend(p->lease, NULL, 0, err);
    if (rc < 0)
        return rc;
    p->linking = false;
    rc = note_products(r, w, err);
    if (rc < 0)
        return rc;
    p->report.rewritten_packs += n;
    p->report.written_bytes += rewriter_bytes(w);
    return prune_sweep(p, err);
}

/* Where the batch that begins at `from` ends. */
static uint32_t batch_end(const struct rewriting *r, uint32_t from)
{
    uint64_t bytes = 0;
    uint32_t end = from;

    while (end < r->n_chosen && end - from < BATCH_PACKS &&
           (end == from || bytes < BATCH_BYTES)) {
        const struct usage_pack *p = &r->u->packs[r->chosen[end++]];

        bytes += p->pack.bytes - usage_dead_bytes(p);
    }
    return end;
}

static int run_batches(struct rewriting *r, struct error *err)
{
    int rc = 0;

    for (uint32_t at = 0; rc == 0 && at < r->n_chosen;) {
        uint32_t end = batch_end(r, at);

        if (prune_time_is_up(r->p))
            break;
        prune_progress(r->p, "writing thin packs again", at, r->n_chosen);
        rc = run_batch(r, at, end, err);
        at = end;
    }
    return rc;
}

static void only_tell(struct rewriting *r)
{
    struct prune_report *report = &r->p->report;

    for (uint32_t i = 0; i < r->n_chosen; i++) {
        const struct usage_pack *p = &r->u->packs[r->chosen[i]];

        report->rewritten_packs++;
        report->written_bytes += p->pack.bytes - usage_dead_bytes(p);
    }
}

int prune_rewrite(struct prune *p, struct error *err)
{
    struct rewriting r = {.p = p};
    struct error why;
    int rc = prepare(&r, &why);

    if (rc == 0 && p->args->dry_run)
        only_tell(&r);
    else if (rc == 0)
        rc = run_batches(&r, &why);
    usage_free(r.u);
    free(r.order);
    free(r.chosen);
    free(r.excluded);
    /* It only saves space: where there is none, or names cannot change places,
     * the packs stay as they are. */
    if (rc == ERR_NOSPC || rc == ERR_UNSUPPORTED) {
        prune_note(p, "thin packs stay as they are: %s", why.message);
        return 0;
    }
    return rc < 0 ? error_copy(err, &why) : 0;
}

/*
 * prune_sweep.c - condemn, wait out, remove.
 *
 * Why nothing that is needed goes:
 *   - a pack is condemned when no listed snapshot refers to it and no live
 *     lease is about to link it; after the list of condemned packs is in
 *     place, the leases are read and their holders noted in it;
 *   - whoever takes a lease later sees the list before it looks for content,
 *     and finds packs only through snapshots: it never starts to use one;
 *   - whoever had a lease before is waited for. Then the snapshots are read
 *     once more: one that came meanwhile and refers to a condemned pack takes
 *     it off the list, any other pack has no user left and cannot get one.
 * A run that dies anywhere leaves lists of condemned packs; the next run ends
 * what they began.
 */
#include <sys/stat.h>
#include <time.h>

#define LOG_AREA "prune"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "storage/condemned.h"
#include "storage/keeping/prune_inside.h"
#include "storage/keeping/references.h"
#include "storage/packs/pack_writer.h"
#include "storage/repository_inside.h"

#define WAIT_POLL_NS (200 * NS_PER_MS)

static int note_pack(void *arg, const char *id, struct error *err)
{
    struct pack_set *all = arg;
    uint8_t bytes[LAYOUT_PACK_ID_BYTES];
    uint32_t number;

    if (!layout_id_bytes(id, bytes, sizeof(bytes)))
        return 0;
    return pack_set_add(all, bytes, &number, err);
}

static int intended(const struct lease_infos *leases, struct pack_set *ret,
                    struct error *err)
{
    int rc = 0;

    for (size_t i = 0; i < leases->n; i++) {
        size_t at;
        json_t *value;

        json_array_foreach(leases->all[i].packs, at, value)
        {
            const char *id = json_string_value(value);

            if (rc == 0 && id)
                rc = note_pack(ret, id, err);
        }
    }
    return rc;
}

static uint64_t pack_bytes(const struct prune *p, const char *id)
{
    struct error ignored;
    uint64_t bytes;

    return layout_pack_stat(repository_packs_dirfd(p->repository), id, &bytes,
                            &ignored) < 0
               ? 0
               : bytes;
}

static bool is_in(const struct pack_set *s, const uint8_t *id)
{
    return pack_set_find(s, id) != PACK_SET_NONE;
}

/* What is there, and neither referred to, nor condemned, nor on its way. The
 * order matters: a pack that is seen was named in a lease before, so its owner
 * is seen, or its owner has ended, and then its snapshot is seen. */
static int find_dead(struct prune *p, const struct pack_set *known, json_t *ret,
                     struct error *err)
{
    struct object_folder folder =
        layout_packs(repository_packs_dirfd(p->repository));
    cleanup(pack_set) struct pack_set all = {0};
    cleanup(pack_set) struct pack_set coming = {0};
    cleanup(lease_infos) struct lease_infos leases = {0};
    cleanup(references) struct references used = {0};
    int rc = object_list(&folder, note_pack, &all, err);

    if (rc == 0)
        rc = lease_list(p->repository, p->lease, &leases, err);
    if (rc == 0)
        rc = intended(&leases, &coming, err);
    if (rc == 0)
        rc = references_read(p->repository, p->args->stop, &used, err);
    p->report.snapshots = used.snapshots;
    for (uint32_t i = 0; rc == 0 && i < all.n; i++) {
        char id[PACK_ID_LEN + 1];

        if (is_in(&used.packs, all.ids[i]) || is_in(&coming, all.ids[i]) ||
            is_in(known, all.ids[i]))
            continue;
        layout_id_text(all.ids[i], LAYOUT_PACK_ID_BYTES, id);
        if (json_array_append_new(ret, json_string(id)) < 0)
            rc = fail_nomem(err);
    }
    return rc;
}

/* Notes whom the list has to wait for. */
static int note_holders(struct prune *p, struct condemned *c,
                        const struct lease_infos *leases, struct error *err)
{
    c->holders = json_array();
    for (size_t i = 0; c->holders && i < leases->n; i++) {
        if (json_array_append_new(c->holders,
                                  json_string(leases->all[i].holder)) < 0)
            return fail_nomem(err);
    }
    if (!c->holders)
        return fail_nomem(err);
    return condemned_write(p->repository, c, err);
}

static const struct lease_info *holder_of(const struct condemned *c,
                                          const struct lease_infos *leases)
{
    size_t at;
    json_t *value;

    json_array_foreach(c->holders, at, value)
    {
        for (size_t i = 0; i < leases->n; i++) {
            if (strcmp(json_string_value(value), leases->all[i].holder) == 0)
                return &leases->all[i];
        }
    }
    return NULL;
}

static int remove_pack(struct prune *p, const char *id, struct error *err)
{
    struct object_folder folder =
        layout_packs(repository_packs_dirfd(p->repository));
    uint64_t bytes = pack_bytes(p, id);
    int rc = object_remove(&folder, id, err);

    if (rc == ERR_NOTFOUND)
        return 0;
    if (rc < 0)
        return rc;
    log_debug("removed pack %s", id);
    p->report.removed_packs++;
    p->report.removed_bytes += bytes;
    return 0;
}

/* Nobody who was there when it was written is left. */
static int carry_out(struct prune *p, const struct condemned *c,
                     const struct references *used, struct error *err)
{
    size_t n = json_array_size(c->packs);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        const char *id = json_string_value(json_array_get(c->packs, i));

        rc = prune_check_stop(p, err);
        prune_progress(p, "removing packs", i, n);
        if (rc == 0 && pack_set_find_text(&used->packs, id) == PACK_SET_NONE)
            rc = remove_pack(p, id, err);
    }
    return rc < 0 ? rc : condemned_remove(p->repository, c->id, err);
}

static void count_left(struct prune *p, const struct condemned *c,
                       const struct lease_info *who)
{
    size_t n = json_array_size(c->packs);

    p->report.condemned_packs += n;
    for (size_t i = 0; i < n; i++)
        p->report.condemned_bytes +=
            pack_bytes(p, json_string_value(json_array_get(c->packs, i)));
    snprintf(p->report.waits_for, sizeof(p->report.waits_for),
             "%s on host %s, pid %d", who->purpose, who->host, (int)who->pid);
}

/* One look at the leases: *ret_waits tells if some list has to wait. */
static int settle(struct prune *p, struct condemned_list *lists,
                  bool *ret_waits, struct error *err)
{
    cleanup(lease_infos) struct lease_infos leases = {0};
    cleanup(references) struct references used = {0};
    int rc = lease_list(p->repository, p->lease, &leases, err);

    *ret_waits = false;
    p->report.condemned_packs = 0;
    p->report.condemned_bytes = 0;
    p->report.waits_for[0] = '\0';
    for (size_t i = 0; rc == 0 && i < lists->n; i++) {
        if (!lists->all[i].holders && leases.n > 0)
            rc = note_holders(p, &lists->all[i], &leases, err);
    }
    /* After the leases: what those who have ended have committed is seen. */
    if (rc == 0)
        rc = references_read(p->repository, p->args->stop, &used, err);
    for (size_t i = 0; rc == 0 && i < lists->n; i++) {
        struct condemned *c = &lists->all[i];
        const struct lease_info *who = holder_of(c, &leases);

        if (!c->id[0])
            continue;
        if (who) {
            *ret_waits = true;
            count_left(p, c, who);
            continue;
        }
        rc = carry_out(p, c, &used, err);
        c->id[0] = '\0';
    }
    return rc;
}

static int settle_all(struct prune *p, struct condemned_list *lists,
                      struct error *err)
{
    struct timespec pause = {.tv_nsec = WAIT_POLL_NS};
    bool waits = true;
    int rc = 0;

    while (rc == 0 && lists->n > 0) {
        rc = settle(p, lists, &waits, err);
        if (rc < 0 || !waits || !p->args->wait || prune_time_is_up(p))
            break;
        rc = prune_check_stop(p, err);
        prune_progress(p, "waiting for others to end", 0, 0);
        nanosleep(&pause, NULL);
    }
    return rc;
}

static int count_packs(struct prune *p, struct error *err)
{
    struct object_folder folder =
        layout_packs(repository_packs_dirfd(p->repository));
    cleanup(pack_set) struct pack_set all = {0};
    char id[PACK_ID_LEN + 1];
    int rc = object_list(&folder, note_pack, &all, err);

    p->report.packs = all.n;
    for (uint32_t i = 0; rc == 0 && i < all.n; i++) {
        layout_id_text(all.ids[i], LAYOUT_PACK_ID_BYTES, id);
        p->report.bytes += pack_bytes(p, id);
    }
    return rc;
}

static int condemn(struct prune *p, json_t *dead, struct error *err)
{
    struct condemned c = {.packs = dead};

    /* Without holders first: they are asked for when it is in place. */
    return json_array_size(dead) ? condemned_write(p->repository, &c, err) : 0;
}

static int only_tell(struct prune *p, const struct condemned_list *lists,
                     const json_t *dead)
{
    size_t n = json_array_size(dead);

    for (size_t i = 0; i < n; i++)
        p->report.removed_bytes +=
            pack_bytes(p, json_string_value(json_array_get(dead, i)));
    p->report.removed_packs = n;
    for (size_t i = 0; i < lists->n; i++) {
        const json_t *packs = lists->all[i].packs;

        for (size_t j = 0; j < json_array_size(packs); j++) {
            p->report.removed_bytes +=
                pack_bytes(p, json_string_value(json_array_get(packs, j)));
            p->report.removed_packs++;
        }
    }
    return 0;
}

int prune_sweep(struct prune *p, struct error *err)
{
    cleanup(condemned_list) struct condemned_list lists = {0};
    cleanup(pack_set) struct pack_set known = {0};
    cleanup_json json_t *dead = json_array();
    int rc = dead ? 0 : fail_nomem(err);

    prune_progress(p, "looking for packs that nobody needs", 0, 0);
    if (rc == 0 && p->report.packs == 0)
        rc = count_packs(p, err);
    if (rc == 0)
        rc = condemned_list_read(p->repository, &lists, err);
    if (rc == 0)
        rc = condemned_list_packs(&lists, &known, err);
    if (rc == 0)
        rc = find_dead(p, &known, dead, err);
    if (rc == 0 && p->args->dry_run)
        return only_tell(p, &lists, dead);
    if (rc == 0)
        rc = condemn(p, dead, err);
    condemned_list_release(&lists);
    if (rc == 0)
        rc = condemned_list_read(p->repository, &lists, err);
    return rc < 0 ? rc : settle_all(p, &lists, err);
}

/*
 * snapshot_put.c - a batch of pages: zero test, hash, place, store.
 *
 * Hashing and compressing take the time and are done by the lane alone. In
 * between the lock is taken for the whole batch: each page is looked up, new
 * content is given its place *before* it is written (one of its lane's open
 * packs, the next item), and the places go into the page map. So content that
 * comes twice is stored once, also when the second one comes while the first is
 * still being compressed. If storing fails the places are wrong, and with them
 * the whole snapshot: the writer keeps its first error and gives nothing else
 * from then on.
 *
 * The lock is taken twice: first to see which packs are needed and which
 * contents must be compared with stored ones, for both is done without it.
 */
#include "storage/snapshot_writer_inside.h"

#define LOG_AREA "put"
#include "core/base/log.h"

/* What becomes of each page of a batch. */
struct batch_plan {
    uint32_t n_content;
    uint32_t n_for[LANE_PACKS];     /* of them, at most */
    bool content[PAGE_BATCH_MAX];   /* not zero */
    bool again[PAGE_BATCH_MAX];     /* was put before */
    bool compared[PAGE_BATCH_MAX];  /* has the bytes of `same` */
    bool candidate[PAGE_BATCH_MAX]; /* to be compared with `same` */
    bool store[PAGE_BATCH_MAX];     /* not stored yet */
    struct dedup_place same[PAGE_BATCH_MAX];
    struct page_hash hash[PAGE_BATCH_MAX];
};

static int check_batch(const struct snapshot_writer *w, unsigned lane,
                       const struct page_batch *batch, struct error *err)
{
    const struct ramblock *block;

    assert(lane < w->n_lanes);
    if (batch->block >= w->blocks.n || batch->n > PAGE_BATCH_MAX)
        return fail(err, ERR_INVALID, "%u pages of block %u cannot be put",
                    batch->n, batch->block);
    block = &w->blocks.blocks[batch->block];
    if (block->left_out)
        return fail(err, ERR_INVALID, "block '%s' is left out", block->idstr);
    for (uint32_t i = 0; i < batch->n; i++) {
        if (batch->pgno[i] >= ramblock_pages(block))
            return fail(err, ERR_INVALID, "block '%s' has no page %llu",
                        block->idstr, (unsigned long long)batch->pgno[i]);
    }
    return 0;
}

static const uint8_t *page_at(const struct page_batch *batch, uint32_t i)
{
    return batch->data + (size_t)i * PAGE_BYTES;
}

/* Two passes over a batch, which lies in a cache, and not one: so each of
 * them can be told what it costs. */
static void plan_batch(const struct snapshot_writer *w,
                       const struct page_batch *batch,
                       struct stage_clock *clock, struct batch_plan *ret)
{
    ret->n_content = 0;
    stage_clock_enter(clock, CPU_ZERO);
    for (uint32_t i = 0; i < batch->n; i++) {
        ret->store[i] = ret->again[i] = false;
        ret->compared[i] = ret->candidate[i] = false;
        ret->content[i] = batch->data && !page_is_zero(page_at(batch, i));
        ret->n_content += ret->content[i];
    }
    stage_clock_enter(clock, CPU_HASH);
    for (uint32_t i = 0; i < batch->n; i++) {
        if (ret->content[i])
            ret->hash[i] = page_hash_of(w->key, page_at(batch, i), PAGE_BYTES);
    }
}

static int look_up(struct snapshot_writer *w, const struct page_batch *batch,
                   struct batch_plan *plan, struct error *err)
{
    LOCK_SCOPE(&w->lock);
    if (w->why_failed.code)
        return error_copy(err, &w->why_failed);
    plan->n_for[PACK_FIRST] = plan->n_for[PACK_AGAIN] = 0;
    for (uint32_t i = 0; i < batch->n; i++) {
        if (!plan->content[i])
            continue;
        plan->again[i] =
            page_map_get(&w->map, batch->block, batch->pgno[i]).pack !=
            PAGE_MAP_UNSEEN;
        plan->n_for[plan->again[i] ? PACK_AGAIN : PACK_FIRST]++;
        plan->candidate[i] =
            w->has_compared &&
            dedup_find(&w->pages_known, plan->hash[i], &plan->same[i]) &&
            w->packs[plan->same[i].pack].compare;
    }
    return 0;
}

/* What cannot be read is stored again: it only saves nothing. */
static bool is_same(struct snapshot_writer *w, struct snapshot_lane *l,
                    struct dedup_place place, const uint8_t *page)
{
    char id[PACK_ID_LEN + 1];
    const uint8_t *stored;
    struct error why;
    {
        LOCK_SCOPE(&w->lock); /* the table of packs may move */
        memcpy(id, w->packs[place.pack].id, sizeof(id));
    }
    if (pack_pages_get(&l->stored, place.pack, id, place.item, &stored, &why) <
        0) {
        log_debug("not compared: %s", why.message);
        return false;
    }
    return memcmp(page, stored, PAGE_BYTES) == 0;
}

static void compare_batch(struct snapshot_writer *w, struct snapshot_lane *l,
                          const struct page_batch *batch,
                          struct batch_plan *plan)
{
    for (uint32_t i = 0; w->has_compared && i < batch->n; i++) {
        if (plan->candidate[i])
            plan->compared[i] = is_same(w, l, plan->same[i], page_at(batch, i));
    }
}

static bool same_place(struct dedup_place a, struct dedup_place b)
{
    return a.pack == b.pack && a.item == b.item;
}

/* Whether a page's content lies at a place already. */
static bool is_known_locked(const struct snapshot_writer *w,
                            const struct batch_plan *plan, uint32_t i,
                            struct dedup_place *ret)
{
    if (!dedup_find(&w->pages_known, plan->hash[i], ret))
        return false;
    return !w->packs[ret->pack].compare ||
           (plan->compared[i] && same_place(*ret, plan->same[i]));
}

/* Where one page of a batch lies; `next_item` is that of each open pack. */
static struct dedup_place place_page_locked(struct snapshot_writer *w,
                                            const struct snapshot_lane *l,
                                            uint32_t i, struct batch_plan *plan,
                                            uint32_t next_item[LANE_PACKS])
{
    enum lane_pack which = plan->again[i] ? PACK_AGAIN : PACK_FIRST;
    struct dedup_place place = {.pack = PAGE_MAP_ZERO};

    if (!plan->content[i])
        return place;
    if (is_known_locked(w, plan, i, &place)) {
        w->stats.duplicate++;
        return place;
    }
    place = (struct dedup_place){.pack = l->open[which].number,
                                 .item = next_item[which]++};
    /* A full table only means that this content may be stored again; so does
     * another content with this hash. */
    (void)dedup_add(&w->pages_known, plan->hash[i], place);
    plan->store[i] = true;
    w->stats.stored++;
    return place;
}

static int place_batch(struct snapshot_writer *w, struct snapshot_lane *l,
                       const struct page_batch *batch, struct batch_plan *plan,
                       struct error *err)
{
    uint32_t next_item[LANE_PACKS];
    int rc = 0;

    LOCK_SCOPE(&w->lock);
    for (unsigned k = 0; k < LANE_PACKS; k++) {
        struct open_pack *o = &l->open[k];
        uint64_t bytes = o->writer ? pack_writer_bytes(o->writer) : 0;

        next_item[k] = o->writer ? pack_writer_n_items(o->writer) : 0;
        w->stats.pack_bytes += bytes - o->told_bytes;
        o->told_bytes = bytes;
    }
    for (uint32_t i = 0; rc == 0 && i < batch->n; i++) {
        struct dedup_place place = place_page_locked(w, l, i, plan, next_item);

        rc = page_map_put(&w->map, batch->block, batch->pgno[i], batch->seq,
                          place, err);
    }
    w->stats.pages += batch->n;
    return rc;
}

/* How many pages from `i` on go to the same pack, one behind the other. */
static uint32_t run_length(const struct page_batch *batch,
                           const struct batch_plan *plan, uint32_t i)
{
    uint32_t n = 0;

    while (i + n < batch->n && plan->store[i + n] &&
           plan->again[i + n] == plan->again[i])
        n++;
    return n;
}

static int store_batch(struct snapshot_lane *l, const struct page_batch *batch,
                       const struct batch_plan *plan, struct error *err)
{
    uint32_t n;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < batch->n; i += MAX(n, 1u)) {
        enum lane_pack which = plan->again[i] ? PACK_AGAIN : PACK_FIRST;

        n = run_length(batch, plan, i);
        if (n > 0)
            rc = pack_writer_add_pages(l->open[which].writer, page_at(batch, i),
                                       n, &plan->hash[i], err);
    }
    return rc;
}

static int keep_failure(struct snapshot_writer *w, const struct error *why)
{
    LOCK_SCOPE(&w->lock);
    if (!w->why_failed.code)
        error_copy(&w->why_failed, why);
    return why->code;
}

static int put(struct snapshot_writer *w, struct snapshot_lane *l,
               const struct page_batch *batch, struct batch_plan *plan,
               struct error *err)
{
    int rc;

    plan_batch(w, batch, &l->clock, plan);
    stage_clock_enter(&l->clock, CPU_INDEX);
    rc = look_up(w, batch, plan, err);
    if (rc < 0)
        return rc;
    compare_batch(w, l, batch, plan);
    for (unsigned k = 0; rc == 0 && k < LANE_PACKS; k++) {
        if (plan->n_for[k] > 0)
            rc = writer_make_room(w, &l->open[k], l->ring, &l->clock,
                                  plan->n_for[k], err);
    }
    if (rc == 0)
        rc = place_batch(w, l, batch, plan, err);
    stage_clock_enter(&l->clock, CPU_COMPRESS);
    return rc < 0 ? rc : store_batch(l, batch, plan, err);
}

int snapshot_writer_put(struct snapshot_writer *w, unsigned lane,
                        const struct page_batch *batch, struct error *err)
{
    struct batch_plan plan;
    int rc = check_batch(w, lane, batch, err);

    if (rc < 0)
        return rc;
    rc = put(w, &w->lanes[lane], batch, &plan, err);
    stage_clock_enter(&w->lanes[lane].clock, CPU_STAGES);
    return rc < 0 ? keep_failure(w, err) : 0;
}

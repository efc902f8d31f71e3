/*
 * prefetch_plan.c - groups, where the guest is, and a log.
 *
 * A page's place among the hints is found in an open table of twice their
 * number, filled at birth and read only from then on. The state of a group is
 * one atomic byte, which one thread moves on from open to taken. The log of
 * what was asked for is under the one lock; of hinted pages only a mark is
 * kept.
 */
#include "restore/prefetch/prefetch_plan.h"

#include <stdatomic.h>

#include "core/base/lock.h"

/* The first touches that are worth remembering: what hints can hold. */
#define LOG_MAX HINTS_MAX

enum group_state { GROUP_OPEN = 0, GROUP_TAKEN, GROUP_DONE };

struct prefetch_plan {
    /* set at birth, then read only */
    struct prefetch_block *blocks;
    uint32_t n_blocks;
    size_t group_pages;
    struct hint *wanted; /* hinted pages in order */
    size_t n_wanted;
    size_t n_groups;
    uint32_t *table; /* place in `wanted`, plus 1; 0: empty */
    size_t table_mask;

    /* by any thread, each for itself */
    _Atomic unsigned char *groups; /* enum group_state */
    _Atomic unsigned char *asked;  /* of a hinted page */
    _Atomic size_t n_taken;        /* groups, once open */
    _Atomic size_t next_group;     /* where to go on */
    _Atomic size_t swept_groups;   /* the second time through, for gaps */

    /* protected by `lock` */
    struct lock lock; /* `log` */
    struct hint *log GUARDED_BY(lock);
    size_t n_log GUARDED_BY(lock);
    size_t cap_log GUARDED_BY(lock);
    uint64_t n_unhinted GUARDED_BY(lock); /* also what the log has no room for */

    struct hint *run; /* prefetch_plan_run() */
};

static size_t slot_of(const struct prefetch_plan *p, uint32_t block,
                      pgno_t pgno)
{
    uint64_t key = (pgno + ((uint64_t)block << 48)) * 0x9e3779b97f4a7c15u;

    return (size_t)(key >> 20) & p->table_mask;
}

/* Its slot: one that holds it, or an empty one. */
static size_t find_slot(const struct prefetch_plan *p, uint32_t block,
                        pgno_t pgno)
{
    size_t slot = slot_of(p, block, pgno);

    for (; p->table[slot]; slot = (slot + 1) & p->table_mask) {
        const struct hint *h = &p->wanted[p->table[slot] - 1];

        if (h->block == block && h->pgno == pgno)
            break;
    }
    return slot;
}

static void take_hint(struct prefetch_plan *p, const struct hint *h)
{
    const struct prefetch_block *b =
        h->block < p->n_blocks ? &p->blocks[h->block] : NULL;
    pgno_t pgno;
    size_t slot;

    if (!b || h->pgno >= b->pages)
        return;
    assert(b->unit_pages > 0);
    pgno = h->pgno / b->unit_pages * b->unit_pages;
    slot = find_slot(p, h->block, pgno);
    if (p->table[slot])
        return;
    p->wanted[p->n_wanted++] = (struct hint){.block = h->block, .pgno = pgno};
    p->table[slot] = (uint32_t)p->n_wanted;
}

static int take_hints(struct prefetch_plan *p, const struct hints *h,
                      struct error *err)
{
    size_t slots = 64;

    while (slots < 2 * h->n)
        slots *= 2;
    p->table_mask = slots - 1;
    p->table = calloc(slots, sizeof(*p->table));
    p->wanted = calloc(h->n + 1, sizeof(*p->wanted));
    if (!p->table || !p->wanted)
        return fail_nomem(err);
    for (size_t i = 0; i < h->n; i++) {
        if (hint_is_wanted(h, i))
            take_hint(p, &h->list[i]);
    }
    p->n_groups = (p->n_wanted + p->group_pages - 1) / p->group_pages;
    p->groups = calloc(p->n_groups + 1, sizeof(*p->groups));
    p->asked = calloc(p->n_wanted + 1, sizeof(*p->asked));
    return p->groups && p->asked ? 0 : fail_nomem(err);
}

int prefetch_plan_new(const struct prefetch_args *args,
                      struct prefetch_plan **ret, struct error *err)
{
    static const struct hints none;
    cleanup(prefetch_plan) struct prefetch_plan *p = calloc(1, sizeof(*p));
    size_t bytes = args->n_blocks * sizeof(*p->blocks);
    int rc;

    assert(args->group_pages > 0);
    if (!p)
        return fail_nomem(err);
    lock_init(&p->lock);
    p->group_pages = args->group_pages;
    p->n_blocks = args->n_blocks;
    p->blocks = malloc(MAX(bytes, (size_t)1));
    if (!p->blocks)
        return fail_nomem(err);
    if (bytes > 0)
        memcpy(p->blocks, args->blocks, bytes);
    rc = take_hints(p, args->hints ? args->hints : &none, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&p);
    return 0;
}

void prefetch_plan_free(struct prefetch_plan *p)
{
    if (!p)
        return;
    free(p->blocks);
    free(p->wanted);
    free(p->table);
    free((void *)p->groups);
    free((void *)p->asked);
    free(p->log);
    free(p->run);
    lock_release(&p->lock);
    free(p);
}

/* ---- Groups ---- */

size_t prefetch_plan_groups(const struct prefetch_plan *p)
{
    return p->n_groups;
}

const struct hint *prefetch_plan_group(const struct prefetch_plan *p, size_t g,
                                       size_t *ret_n)
{
    size_t first = g * p->group_pages;

    assert(g < p->n_groups);
    *ret_n = MIN(p->group_pages, p->n_wanted - first);
    return p->wanted + first;
}

static bool is_sample(const struct prefetch_plan *p, size_t i)
{
    return p->group_pages > 1 && (i + 1) % p->group_pages == 0;
}

static bool find(const struct prefetch_plan *p, uint32_t block, pgno_t pgno,
                 size_t *ret)
{
    uint32_t at;

    if (p->n_wanted == 0)
        return false;
    at = p->table[find_slot(p, block, pgno)];
    *ret = at - 1;
    return at > 0;
}

bool prefetch_plan_find(const struct prefetch_plan *p, uint32_t block,
                        pgno_t pgno, size_t *ret_group, bool *ret_sample)
{
    size_t i;

    if (!find(p, block, pgno, &i))
        return false;
    *ret_group = i / p->group_pages;
    if (ret_sample)
        *ret_sample = is_sample(p, i);
    return true;
}

bool prefetch_plan_claim(struct prefetch_plan *p, size_t g)
{
    unsigned char open = GROUP_OPEN;

    assert(g < p->n_groups);
    if (!atomic_compare_exchange_strong_explicit(
            &p->groups[g], &open, GROUP_TAKEN, memory_order_seq_cst,
            memory_order_seq_cst))
        return false;
    p->n_taken++;
    return true;
}

size_t prefetch_plan_taken(const struct prefetch_plan *p)
{
    return p->n_taken;
}

bool prefetch_plan_next(struct prefetch_plan *p, size_t *ret)
{
    for (;;) {
        size_t g = p->next_group;

        if (g >= p->n_groups) {
            g = p->swept_groups++;
            if (g >= p->n_groups)
                return false;
        } else {
            p->next_group++;
        }
        if (g < p->n_groups && prefetch_plan_claim(p, g)) {
            *ret = g;
            return true;
        }
    }
}

void prefetch_plan_jump(struct prefetch_plan *p, size_t g)
{
    assert(g < p->n_groups);
    if (p->groups[g] != GROUP_OPEN)
        g++;
    if (p->next_group < g)
        p->next_group = g;
}

void prefetch_plan_finish(struct prefetch_plan *p, size_t g)
{
    assert(g < p->n_groups);
    p->groups[g] = GROUP_DONE;
}

bool prefetch_plan_in_work(const struct prefetch_plan *p, size_t g)
{
    assert(g < p->n_groups);
    return p->groups[g] == GROUP_TAKEN;
}

/* ---- What was asked for ---- */

static void log_touch(struct prefetch_plan *p, uint32_t block, pgno_t pgno)
{
    LOCK_SCOPE(&p->lock);

    p->n_unhinted++;
    if (p->n_log == LOG_MAX)
        return;
    if (p->n_log == p->cap_log) {
        size_t cap = MAX(p->cap_log * 2, (size_t)1024);
        struct hint *more = realloc(p->log, cap * sizeof(*more));

        if (!more)
            return; /* a hint less */
        p->log = more;
        p->cap_log = cap;
    }
    p->log[p->n_log++] = (struct hint){.block = block, .pgno = pgno};
}

void prefetch_plan_asked(struct prefetch_plan *p, uint32_t block, pgno_t pgno)
{
    size_t i;

    if (find(p, block, pgno, &i))
        p->asked[i] = 1;
    else
        log_touch(p, block, pgno);
}

/* The i-th hinted page is a sample, and nobody asked for it. */
static bool is_unasked(const struct prefetch_plan *p, size_t i)
{
    return is_sample(p, i) && !p->asked[i];
}

void prefetch_plan_stats(struct prefetch_plan *p, struct prefetch_stats *ret)
{
    LOCK_SCOPE(&p->lock);

    *ret = (struct prefetch_stats){.hinted = p->n_wanted,
                                   .unhinted = p->n_unhinted};
    for (size_t i = 0; i < p->n_wanted; i++) {
        ret->sampled += is_sample(p, i);
        ret->unasked += is_unasked(p, i);
        ret->late += p->asked[i] && !is_sample(p, i);
    }
}

const struct hint *prefetch_plan_run(struct prefetch_plan *p, size_t *ret_n,
                                     struct error *err)
{
    size_t n = 0;
    LOCK_SCOPE(&p->lock);

    free(p->run);
    p->run = calloc(p->n_wanted + p->n_log + 1, sizeof(*p->run));
    if (!p->run) {
        fail_nomem(err);
        return NULL;
    }
    for (size_t i = 0; i < p->n_wanted; i++) {
        size_t sample = (i / p->group_pages + 1) * p->group_pages - 1;

        if (sample >= p->n_wanted || !is_unasked(p, sample) || p->asked[i])
            p->run[n++] = p->wanted[i];
    }
    for (size_t i = 0; i < p->n_log; i++)
        p->run[n++] = p->log[i];
    *ret_n = n;
    return p->run;
}

static int merge(struct prefetch_plan *p, const struct hints *now,
                 size_t min_pages, struct hints *ret, struct error *err)
{
    size_t n;
    const struct hint *run = prefetch_plan_run(p, &n, err);

    if (!run)
        return err->code;
    if (n >= min_pages)
        return hints_merge(now, run, n, ret, err);
    *ret = (struct hints){.runs = now->runs, .n = now->n};
    ret->list = calloc(now->n + 1, sizeof(*ret->list));
    if (!ret->list)
        return fail_nomem(err);
    if (now->n > 0)
        memcpy(ret->list, now->list, now->n * sizeof(*ret->list));
    return 0;
}

int prefetch_plan_store(struct prefetch_plan *p, struct repository *r,
                        const char *id, size_t min_pages, const char *figures,
                        struct error *err)
{
    cleanup(hints) struct hints now = {0};
    cleanup(hints) struct hints merged = {0};
    struct error ignored = ERROR_INIT;
    int rc;

    /* What is damaged is replaced. */
    if (hints_load(r, id, &now, &ignored) < 0)
        now = (struct hints){0};
    rc = merge(p, &now, min_pages, &merged, err);
    if (rc < 0)
        return rc;
    merged.figures = figures ? strdup(figures) : steal_ptr(&now.figures);
    if (figures && !merged.figures)
        return fail_nomem(err);
    if (merged.n == 0 && !merged.figures)
        return 0;
    return hints_store(r, id, &merged, err);
}

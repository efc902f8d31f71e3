/*
 * prefetch_plan.h - what a run will want, in groups, before it asks; and what
 * it did ask for, for the next run.
 *
 * Hints are cut into groups in the order of first touch. Whoever brings pages
 * takes one group after the other; a page that is asked for too early tells
 * where the guest is, and the plan goes on from there.
 *
 * What was prefetched is never heard of again: a touch of a page that is there
 * is not told by anybody. So that old hints can die, the last page of each full
 * group is kept back as a *sample*. If it is asked for, its group was right; if
 * not, the whole group counts as not asked for in this run.
 *
 * Any thread, but for new(), run() and free(). Served by `firn serve` and by
 * the lazy restore alike.
 */
#ifndef FIRN_RESTORE_PREFETCH_PREFETCH_PLAN_H
#define FIRN_RESTORE_PREFETCH_PREFETCH_PLAN_H

#include "core/base/cleanup.h"
#include "storage/hints.h"

#define PREFETCH_GROUP 32u

struct prefetch_plan;

struct prefetch_block {
    pgno_t pages;        /* 0: of no concern, its hints are left out */
    uint32_t unit_pages; /* of a host page: a hint stands for all of it */
};

struct prefetch_args {
    const struct hints *hints; /* NULL: none; not needed after new() */
    const struct prefetch_block *blocks;
    uint32_t n_blocks;
    size_t group_pages; /* 1: no samples */
};

/* Cuts the hints into groups; ERR_NOMEM is the only error. */
int prefetch_plan_new(const struct prefetch_args *args,
                      struct prefetch_plan **ret, struct error *err) NODISCARD;
/* All threads have ended. Takes NULL. */
void prefetch_plan_free(struct prefetch_plan *p);

/* How many groups there are; 0 without hints. */
size_t prefetch_plan_groups(const struct prefetch_plan *p);
/* Pages of a group, its sample included; borrowed. */
const struct hint *prefetch_plan_group(const struct prefetch_plan *p, size_t g,
                                       size_t *ret_n);
/* The group of a page, by its first page of the host page; false if it is not
 * hinted. *ret_sample may be NULL. */
bool prefetch_plan_find(const struct prefetch_plan *p, uint32_t block,
                        pgno_t pgno, size_t *ret_group, bool *ret_sample);

/* Takes the next group that nobody has: first on from where the guest is, then
 * from the beginning, for what it jumped over. False: none is left. */
bool prefetch_plan_next(struct prefetch_plan *p, size_t *ret);
/* Takes this one; false if somebody has it. */
bool prefetch_plan_claim(struct prefetch_plan *p, size_t g);
/* The guest is at this group: go on with it, or behind it if it is taken. */
void prefetch_plan_jump(struct prefetch_plan *p, size_t g);
/* How many are taken. */
size_t prefetch_plan_taken(const struct prefetch_plan *p);
/* All pages of a taken group are brought. */
void prefetch_plan_finish(struct prefetch_plan *p, size_t g);
/* Somebody took it and has not finished it. */
bool prefetch_plan_in_work(const struct prefetch_plan *p, size_t g);

/* A page was asked for. */
void prefetch_plan_asked(struct prefetch_plan *p, uint32_t block, pgno_t pgno);

struct prefetch_stats {
    uint64_t hinted;   /* pages of the plan */
    uint64_t sampled;  /* of these, kept back */
    uint64_t unasked;  /* of the sample, nobody asked for */
    uint64_t late;     /* of the others, asked for before they were there */
    uint64_t unhinted; /* times that a page was asked for besides */
};
/* As they are now, counted over all groups. */
void prefetch_plan_stats(struct prefetch_plan *p, struct prefetch_stats *ret);

/* What this run asked for, for hints_merge(): hinted pages whose group was
 * right, then what was asked for besides, each in its order. Once all threads
 * have ended; borrowed. */
const struct hint *prefetch_plan_run(struct prefetch_plan *p, size_t *ret_n,
                                     struct error *err);
/* Merges run() into the snapshot's hints as they are by now. Runs of fewer
 * pages than `min_pages` tell nothing and are left out. `figures` (JSON) take
 * the place of those that are there; NULL: they stay. */
int prefetch_plan_store(struct prefetch_plan *p, struct repository *r,
                        const char *id, size_t min_pages, const char *figures,
                        struct error *err) NODISCARD;

DEFINE_CLEANUP(prefetch_plan, struct prefetch_plan *, prefetch_plan_free)

#endif

/*
 * hints.h - door: which pages the last runs of a snapshot asked for first.
 *
 * hints/<id> holds a list of pages in the order of first touch, each with the
 * number of runs that wanted it. It is a cache: it may be missing, lost or
 * replaced at any time, and a damaged one reads as none. Pages are *wanted*
 * when more than half of the recorded runs asked for them: with two runs those
 * of both. With no run yet they are those that the capture saw: wanted, and
 * forgotten with the first run. Plain data that the caller owns; load and store
 * for one thread.
 */
#ifndef FIRN_STORAGE_HINTS_H
#define FIRN_STORAGE_HINTS_H

#include "storage/repository.h"

/* 1 GiB of pages: more is no hint, but the image. */
#define HINTS_MAX         262144u
#define HINTS_FIGURES_MAX (64u << 10)
/* After so many runs the old ones count half. */
#define HINTS_RUNS_MAX 8u

struct hint {
    uint32_t block;
    uint32_t seen; /* by so many of the runs */
    pgno_t pgno;
};

struct hints {
    struct hint *list; /* in the order of first touch */
    size_t n;
    uint32_t runs;
    char *figures; /* of the last restore, as JSON; owned, NULL: none */
};

/* Frees list and figures; no hints remain. */
void hints_release(struct hints *h);

/* Empty when there are none. ERR_CORRUPT: they are damaged; go on without. */
int hints_load(struct repository *r, const char *id, struct hints *ret,
               struct error *err) NODISCARD;
/* Replaces what was there; a crash leaves the new, or none. */
int hints_store(struct repository *r, const char *id, const struct hints *h,
                struct error *err) NODISCARD;

static inline bool hint_is_wanted(const struct hints *h, size_t i)
{
    return h->runs == 0 || h->list[i].seen * 2 > h->runs;
}

/* The hints after one more run, without figures: `run` is what it asked for, in
 * order (`seen` is not looked at; a page named twice counts once). Pure. */
int hints_merge(const struct hints *old, const struct hint *run, size_t n,
                struct hints *ret, struct error *err) NODISCARD;

/* The file's bytes. Pure. */
int hints_encode(const struct hints *h, struct buf *ret,
                 struct error *err) NODISCARD;
/* ERR_CORRUPT unless encode() could have written it. */
int hints_decode(const void *data, size_t len, struct hints *ret,
                 struct error *err) NODISCARD;

static inline UNUSED void cleanup_hints_fn(struct hints *h)
{
    hints_release(h);
}

#endif

/*
 * prune.h - door: gives back the space that no snapshot needs.
 *
 * Packs that no listed snapshot refers to are condemned; they go when all that
 * used the repository at that moment have ended (a capture may be about to
 * refer to one, a restore may read one), in this run or in a later one. Packs
 * that are mostly dead are written again, smaller, their pages in the order of
 * the guest's memory, and the snapshots' objects are replaced one by one. It
 * may be stopped or killed anywhere: nothing listed is ever incomplete, and
 * the next run goes on. Captures and readers work all the while. One prune at
 * a time: ERR_LOCKED.
 */
#ifndef FIRN_STORAGE_KEEPING_PRUNE_H
#define FIRN_STORAGE_KEEPING_PRUNE_H

#include "core/base/stopper.h"
#include "storage/repository.h"

/* Dead bytes that may stay, in percent of what is alive. */
#define PRUNE_MAX_UNUSED_DEFAULT 10u

struct prune_args {
    struct repository *repository;
    bool dry_run;                /* changes nothing, tells the figures */
    bool wait;                   /* for those who may use what is condemned */
    bool no_rewrite;             /* whole packs only */
    unsigned max_unused_percent; /* write packs again down to this */
    uint64_t max_duration_ms;    /* 0: none; what is left is for the next run */
    struct stopper *stop;        /* may be NULL */
    /* May be NULL: what it does now, in words. */
    void (*progress)(void *arg, const char *what, uint64_t done,
                     uint64_t total);
    /* May be NULL: something that the user should know, no error. */
    void (*note)(void *arg, const char *text);
    void *arg;
};

struct prune_report {
    uint64_t snapshots;
    uint64_t packs; /* before */
    uint64_t bytes; /* of them */
    uint64_t removed_packs;
    uint64_t removed_bytes;
    uint64_t rewritten_packs; /* of the removed or condemned ones */
    uint64_t written_bytes;   /* by writing them again */
    uint64_t condemned_packs; /* left for a later run */
    uint64_t condemned_bytes;
    uint64_t unused_bytes; /* dead bytes in packs that stay */
    bool finished;         /* false: time was up, there is more to do */
    char waits_for[192];   /* who keeps condemned packs; "" if nobody */
};

/* ERR_CORRUPT when a snapshot cannot be read: then nothing is removed. */
int prune_run(const struct prune_args *args, struct prune_report *ret,
              struct error *err) NODISCARD;

#endif

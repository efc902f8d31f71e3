/*
 * prune_inside.h - one run of prune, as its sources share it: prune.c leads,
 * prune_sweep.c condemns and removes whole packs, prune_rewrite.c writes thin
 * ones again. No door.
 */
#ifndef FIRN_STORAGE_KEEPING_PRUNE_INSIDE_H
#define FIRN_STORAGE_KEEPING_PRUNE_INSIDE_H

#include "storage/keeping/prune.h"
#include "storage/lease.h"

struct prune {
    const struct prune_args *args;
    struct repository *repository;
    struct lease *lease;
    uint64_t deadline_ns; /* monotonic; 0: none */
    bool linking; /* packs have names that the lease alone accounts for */
    struct prune_report report;
};

/* The stopper's error when it was pulled. */
int prune_check_stop(const struct prune *p, struct error *err) NODISCARD;
/* The run's time limit is over: end what is begun, begin nothing. */
bool prune_time_is_up(const struct prune *p);
/* Tell the caller of prune_run(), if it wants to hear it. */
void prune_progress(const struct prune *p, const char *what, uint64_t done,
                    uint64_t total);
/* Something to tell the user, formatted; no error. */
void prune_note(const struct prune *p, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Condemns what nobody refers to, removes what nobody can use any more. */
int prune_sweep(struct prune *p, struct error *err) NODISCARD;
/* Writes packs that are mostly dead again, until few dead bytes are left or
 * time is up. What it replaced is left to prune_sweep(). */
int prune_rewrite(struct prune *p, struct error *err) NODISCARD;

#endif

/*
 * snapshot_feed_inside.h - what the sources of a feed share. No door.
 *
 * snapshot_feed.c: the provider, the fill, the counts. feed_lane.c: a thread's
 * reading and placing. feed_hints.c: the groups of the prefetch.
 */
#ifndef FIRN_RESTORE_UFFD_SNAPSHOT_FEED_INSIDE_H
#define FIRN_RESTORE_UFFD_SNAPSHOT_FEED_INSIDE_H

#include "core/base/worker.h"
#include "restore/prefetch/prefetch_plan.h"
#include "restore/uffd/snapshot_feed.h"

#define CHUNK_PAGES 512u /* 2 MiB: what the caches of a core hold */

/* A thread's workspace: of a fault thread or of a worker. */
struct lane {
    struct snapshot_feed *feed;
    struct frame_reader *reader;
    uint8_t *staging;         /* CHUNK_PAGES */
    struct frame_want *wants; /* CHUNK_PAGES */
    size_t n_wants;
    _Atomic uint64_t *counter; /* of what scan() places */
    bool failed;               /* a page of the last scan cannot be had */
    bool waits;                /* a worker: may wait for others */
    bool quietly;              /* waiters are woken by the fault thread */
    bool quiet;                /* scan() only brings: the caller places */
    struct error why;

    /* the page answered last, for its neighbours */
    struct page_place place;
    const uint8_t *frame; /* NULL: it was zero, or came in another way */
    bool cached;
};

struct snapshot_feed {
    /* set before the threads start, then read only */
    struct snapshot_feed_args args;
    struct uffd_engine *engine;
    uint64_t n_pages;
    unsigned per_page; /* image pages in a host page */
    struct lane faults[UFFD_ENGINE_THREADS_MAX];
    struct lane *workers;
    struct worker_group group;
    int done_fd;
    struct prefetch_plan *plan; /* also without hints: it logs */

    /* by any thread, each for itself */
    struct page_marks logged; /* asked for already */
    struct page_marks held;   /* samples of the hints */
    struct page_marks bad;    /* cannot be had */
    _Atomic uint64_t next_chunk;
    _Atomic unsigned busy_workers;
    _Atomic bool stop;
    _Atomic bool fill;
    _Atomic bool filled;
    _Atomic uint64_t asked;
    _Atomic uint64_t near_pages;
    _Atomic uint64_t prefetched;
    _Atomic uint64_t fill_count;
    _Atomic uint64_t worker_cpu_ns;
};

/* The descriptor of the client itself, not of its children. */
struct uffd_space *feed_main_space(struct snapshot_feed *f);
/* A page that a worker has no business with. */
bool feed_is_settled(struct snapshot_feed *f, const struct uffd_space *s,
                     pgno_t pgno);
/* Tells the caller of the feed, once for each page. */
int feed_tell_damage(struct snapshot_feed *f, pgno_t pgno,
                     const struct error *why, struct error *err) NODISCARD;

/* ---- feed_lane.c: one lane, its own thread ---- */

/* Reader and staging; release() is due whatever comes back. */
int feed_lane_init(struct lane *l, struct snapshot_feed *f,
                   struct error *err) NODISCARD;
/* Its thread has ended; an all-zero lane is taken as well. */
void feed_lane_release(struct lane *l);
/* One more page for scan(), at a place of the staging. */
void feed_lane_want(struct lane *l, const struct page_place *place, pgno_t pgno,
                    size_t slot);
/* Reads and places what is wanted; `quiet`: reads only. */
int feed_lane_scan(struct lane *l, struct error *err) NODISCARD;
/* The whole host page at `pgno` into the staging; *ret NULL if it is zero. */
int feed_lane_gather(struct lane *l, pgno_t pgno, const uint8_t **ret,
                     struct error *err) NODISCARD;
/* Fills one host page; zero ones are left to the kernel. */
int feed_lane_place_huge(struct lane *l, pgno_t pgno,
                         struct error *err) NODISCARD;

/* ---- feed_hints.c ---- */

/* Makes the plan of the feed, with or without hints. */
int feed_hints_take(struct snapshot_feed *f, struct error *err) NODISCARD;
/* A fault thread, before it answers: the group of `pgno`, if it is hinted, is
 * placed first, by it or by the worker that has it. */
void feed_hints_asked(struct lane *l, pgno_t pgno);
/* A worker: places one group after the other until none is left. */
int feed_hints_place_all(struct lane *l, struct error *err) NODISCARD;

#endif

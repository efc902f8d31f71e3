/*
 * snapshot_feed.h - an engine's pages, out of a snapshot: those asked for,
 * their neighbours, those of the hints, and in the end all of them.
 *
 * The provider of an engine over one block of a snapshot. It owns a frame
 * reader for each fault thread and for each of its workers, which prefetch
 * first and then fill. One client; the frames are shared with others.
 */
#ifndef FIRN_RESTORE_UFFD_SNAPSHOT_FEED_H
#define FIRN_RESTORE_UFFD_SNAPSHOT_FEED_H

#include "restore/uffd/uffd_engine.h"
#include "storage/hints.h"
#include "storage/snapshot_frames.h"

struct snapshot_feed;

struct snapshot_feed_args {
    struct snapshot_frames *frames; /* outlives the feed */
    uint32_t block;
    uint32_t page_bytes; /* host page */
    unsigned workers;    /* of prefetch and fill; 0: no more than faults */
    const struct hints *hints; /* to be prefetched; NULL: none. Borrowed. */
    /* A page that cannot be had, once for each page. Any thread. */
    int (*damaged)(void *arg, pgno_t pgno, const struct error *why,
                   struct error *err);
    void *arg;
};

/* Readers and plan; no thread yet. ERR_NOMEM. */
int snapshot_feed_new(const struct snapshot_feed_args *args,
                      struct snapshot_feed **ret, struct error *err) NODISCARD;
/* Stopped before. NULL is fine. */
void snapshot_feed_free(struct snapshot_feed *f);

/* For uffd_engine_new(). */
struct uffd_provider snapshot_feed_provider(struct snapshot_feed *f);

/* The engine that places, before it listens. */
void snapshot_feed_set_engine(struct snapshot_feed *f,
                              struct uffd_engine *engine);
/* Starts the workers: hints first (if there are any), then, with `fill`, all
 * other pages. */
int snapshot_feed_start(struct snapshot_feed *f, bool fill,
                        struct error *err) NODISCARD;
/* From here on the workers fill, whatever start() was told. */
int snapshot_feed_fill(struct snapshot_feed *f, struct error *err) NODISCARD;
/* Readable once no worker has anything to do; full() tells whether every page
 * is in. */
int snapshot_feed_done_fd(const struct snapshot_feed *f);
/* The fill is through, and no page was lost on the way. */
bool snapshot_feed_full(const struct snapshot_feed *f);
/* Ends the workers; the engine's threads may go on. */
int snapshot_feed_stop(struct snapshot_feed *f, struct error *err) NODISCARD;

struct snapshot_feed_stats {
    uint64_t asked;           /* pages by fault, each once */
    uint64_t near_pages;      /* placed beside them */
    uint64_t prefetched;      /* placed by the hints */
    uint64_t prefetch_held;   /* hints kept back as a sample */
    uint64_t prefetch_missed; /* of the sample: never asked for */
    uint64_t filled;
    uint64_t damaged;
    uint64_t read_bytes;
    uint64_t worker_cpu_ns; /* of workers that have ended */
};
/* As they are now. Any thread. */
void snapshot_feed_stats(struct snapshot_feed *f,
                         struct snapshot_feed_stats *ret);

/* Puts what this run asked for into the hints of the snapshot, unless it was
 * fewer than `min_pages`. Once all threads have ended. */
int snapshot_feed_store_run(struct snapshot_feed *f, struct repository *r,
                            const char *id, size_t min_pages,
                            struct error *err) NODISCARD;

DEFINE_CLEANUP(snapshot_feed, struct snapshot_feed *, snapshot_feed_free)

#endif

/*
 * uffd_engine.h - answers the faults of one image, for any number of
 * descriptors: what QEMU's postcopy does inside QEMU.
 *
 * The engine knows no repository: a provider says what a page contains. It
 * owns its threads and the descriptors attached to it. Calls come from one
 * owner thread, but for place() and the counters, which are for any thread.
 * States: uffd_state.h.
 */
#ifndef FIRN_RESTORE_UFFD_UFFD_ENGINE_H
#define FIRN_RESTORE_UFFD_UFFD_ENGINE_H

#include "restore/pages/fault_stats.h"
#include "restore/uffd/uffd_space.h"
#include "restore/uffd/uffd_state.h"

#define UFFD_ENGINE_SPACES_MAX  64u
#define UFFD_ENGINE_THREADS_MAX 8u

struct uffd_engine;

/* Called by the engine's threads; `lane` is the thread's number, so that each
 * may have workspace of its own. No lock is held. */
struct uffd_provider {
    void *arg;
    /* Content of the host page at `offset`, borrowed until the next call of
     * this lane; NULL: zero. An error: the page cannot be had, see damaged. */
    int (*fetch)(void *arg, unsigned lane, uint64_t offset, const uint8_t **ret,
                 struct error *err);
    /* Before the fetch: may place other pages first. May be NULL. */
    void (*asked)(void *arg, unsigned lane, struct uffd_space *space,
                  uint64_t offset);
    /* After the page was placed: may place its neighbours. May be NULL. */
    void (*answered)(void *arg, unsigned lane, struct uffd_space *space,
                     uint64_t offset);
    /* A page that cannot be had: it is not answered, whoever waits for it goes
     * on waiting. A negative answer ends the engine with that error. */
    int (*damaged)(void *arg, uint64_t offset, const struct error *why,
                   struct error *err);
};

enum uffd_notice {
    UFFD_NOTICE_PROBE = 0, /* may be refused: the engine stays in none */
    UFFD_NOTICE_ADVISE,
    UFFD_NOTICE_LISTEN, /* may be refused: nothing was registered */
    UFFD_NOTICE_END,
    UFFD_NOTICE__COUNT,
};

struct uffd_engine_args {
    uint64_t image_bytes;
    uint32_t page_bytes;    /* host page: 4096 or 2 MiB */
    unsigned fault_threads; /* 0: one */
    bool skip_probe;        /* the host was probed by the caller */
    struct uffd_provider provider;
};

/* State none: nothing is asked of the host, no thread runs. `args` is copied;
 * the provider outlives the engine. ERR_NOMEM, ERR_IO. */
int uffd_engine_new(const struct uffd_engine_args *args,
                    struct uffd_engine **ret, struct error *err) NODISCARD;
/* Ends it if need be, leaving the memory as it is (UFFD_END_LEAVE). */
void uffd_engine_free(struct uffd_engine *e);

/* Called in the order added; a negative answer to PROBE, ADVISE or LISTEN
 * refuses the move. At most 8. */
int uffd_engine_add_notifier(struct uffd_engine *e,
                             int (*notify)(void *arg, enum uffd_notice notice,
                                           struct error *err),
                             void *arg, struct error *err) NODISCARD;

/* none -> advise. ERR_UNSUPPORTED names what this host lacks. */
int uffd_engine_advise(struct uffd_engine *e, struct error *err) NODISCARD;

struct uffd_attach_args {
    int fd; /* taken over on success */
    const struct space_region *regions;
    uint32_t n_regions;
    unsigned modes; /* UFFD_MODE_…; 0: MISSING */
    bool local;     /* this process's own memory */
    bool shared;    /* shows the same pages as the other shared descriptors:
                       what one of them gets, all are woken for */
    bool place_protected;
};

/* From advise on, at any time. Before listen the ranges are only noted, then
 * registered by listen; later they are registered at once. */
int uffd_engine_attach(struct uffd_engine *e,
                       const struct uffd_attach_args *args,
                       struct error *err) NODISCARD;
/* The n-th descriptor; NULL behind the last. Borrowed. */
struct uffd_space *uffd_engine_space(struct uffd_engine *e, unsigned n);

/* advise or discard -> discard: pages of own memory become missing. */
int uffd_engine_discard(struct uffd_engine *e,
                        const struct space_region *region, uint64_t offset,
                        uint64_t len, bool shared, struct error *err) NODISCARD;
/* -> listening: registers, starts the threads. */
int uffd_engine_listen(struct uffd_engine *e, struct error *err) NODISCARD;
/* listening -> running. */
int uffd_engine_run(struct uffd_engine *e, struct error *err) NODISCARD;

/* Places image bytes in a space, and wakes for them in the shared ones. Only
 * with `quietly` who waits there is left to the fault threads, which have, or
 * will have, a fault of each. */
enum uffd_outcome uffd_engine_place(struct uffd_engine *e,
                                    struct uffd_space *space, uint64_t offset,
                                    const void *data, uint64_t len,
                                    bool quietly, uint64_t *ret_done,
                                    struct error *err);

enum uffd_end {
    /* Unregisters and wakes: what is missing becomes zero. When all is in. */
    UFFD_END_RELEASE = 0,
    /* Closes only: while its owner keeps the descriptor open as well, whoever
     * touches what is missing waits, and nobody sees wrong bytes. */
    UFFD_END_LEAVE,
};

/* -> end, from any state. Tells the first error of a thread. */
int uffd_engine_end(struct uffd_engine *e, enum uffd_end how,
                    struct error *err) NODISCARD;

/* Readable once the engine cannot go on: a thread failed, or every process
 * behind a descriptor is gone. */
int uffd_engine_over_fd(const struct uffd_engine *e);

struct uffd_engine_stats {
    uint64_t faults;    /* read */
    uint64_t coalesced; /* somebody answered already */
    uint64_t damaged;   /* could not be answered */
    uint64_t placed;    /* pages, by whomsoever */
    uint64_t present;
    uint64_t removed;
    uint64_t busy;
    uint64_t gone;
    uint64_t children;
    struct fault_stats latency; /* read to placed */
};

/* A copy, as they are now. Any thread. */
void uffd_engine_stats(struct uffd_engine *e, struct uffd_engine_stats *ret);
/* Any thread; a moment later it may be another. */
enum uffd_state uffd_engine_state(struct uffd_engine *e);

DEFINE_CLEANUP(uffd_engine, struct uffd_engine *, uffd_engine_free)

#endif

/*
 * postcopy_server.h - the source's side of a postcopy migration, whole.
 *
 * Over a connected socket on which a QEMU with `postcopy-ram` waits (and a
 * second one, with `postcopy-preempt`, for pages that are asked for): the
 * prologue (header to package), then pages until all have gone, then the end.
 * Runs in the calling thread, which is the only one that writes, and in two of
 * its own: one reads the return path (request_reader), one the snapshot ahead
 * of what is sent (page_stock).
 */
#ifndef FIRN_RESTORE_PAGES_POSTCOPY_SERVER_H
#define FIRN_RESTORE_PAGES_POSTCOPY_SERVER_H

#include "core/vm/device_state.h"
#include "core/vm/machine_config.h"
#include "core/vm/ramblock.h"
#include "restore/pages/fault_stats.h"
#include "restore/pages/page_source.h"

/* What is told while it runs; each may be NULL. From the calling thread. */
struct postcopy_watch {
    void *arg;
    /* The prologue is written. */
    void (*fed)(void *arg);
    /* QEMU accepted all device state (PONG 3): the guest executes now. */
    void (*loaded)(void *arg);
    /* With a head start: the pages of the hints are there, or its time is
     * over. Once, behind loaded(). */
    void (*ahead)(void *arg);
    /* Pages that cannot be had: told once, for the first. `asked_for`: QEMU
     * waits for it. */
    void (*damage)(void *arg, const struct error *why, bool asked_for);
    /* Everything but `lost_units` units that cannot be had was sent; requests
     * are answered on. */
    void (*exhausted)(void *arg, uint64_t lost_units);
    /* A pager that takes over knows what QEMU has, and goes on. */
    void (*resumed)(void *arg);
    /* At each turn of the loop, and every second while there is nothing to do:
     * who does not hear it sees a pager that hangs. */
    void (*turn)(void *arg);
};

struct snapshot_frames;
struct prefetch_plan;

struct postcopy_args {
    int fd;        /* borrowed */
    int urgent_fd; /* the second connection, borrowed; 0: none */
    const struct page_source *source;
    /* Of the snapshot, but host_page_bytes is the destination's. */
    const struct ramblock_list *blocks;
    const struct machine_config *config;
    const struct device_state *devices;
    uint32_t ram_section_id;
    /* A pager that takes over: no prologue; received bitmaps are awaited, for
     * which somebody has asked. */
    bool resume;
    const struct postcopy_watch *watch;

    /* All of these are zero in a restore that reads page by page, in order. */
    struct snapshot_frames *frames; /* to read ahead from; borrowed */
    struct prefetch_plan *plan;     /* gets what is asked for; borrowed */
    bool prefetch;                  /* bring the groups of the plan */
    bool no_fill;                   /* never send what nobody asked for */
    uint64_t max_bandwidth;         /* bytes a second of the rest; 0: any */
    uint64_t settle_ns;             /* all must be there by then; 0: any */
    uint64_t head_start_ns;         /* ahead() at the latest */
    /* Earlier, from then on, when not even half of the hints' pages will be
     * there by that time; 0: not so. */
    uint64_t head_start_look_ns;
    uint64_t data_pages;            /* with content, about */
};

struct postcopy_result {
    uint64_t faults;
    uint64_t fault_p50_us;
    uint64_t fault_p99_us;
    uint64_t fault_max_us;
    uint64_t prefetched_pages; /* by hints */
    uint64_t near_pages;       /* around pages that were asked for */
    uint64_t filled_pages;     /* the rest */
    /* The caller's, one more than there are blocks; NULL: not wanted. The last
     * is for blocks that the snapshot does not have. */
    struct fault_stats *blocks;
};

/*
 * Returns 0 when QEMU said that it has everything (SHUT 0). ERR_PEER: the
 * socket was closed; what state QEMU is in then, it tells over QMP.
 * ERR_CORRUPT: pages could not be had, and QEMU has ended meanwhile (until
 * then the server stays, and answers requests for all others). ERR_PROTOCOL,
 * ERR_TIMEOUT as they say.
 */
int postcopy_serve(const struct postcopy_args *args,
                   struct postcopy_result *ret, struct error *err) NODISCARD;

#endif

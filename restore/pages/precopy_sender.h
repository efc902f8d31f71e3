/*
 * precopy_sender.h - the eager way: everything first, then the VM runs.
 *
 * Over a connected socket on which a QEMU waits without `postcopy-ram`. Runs
 * in the calling thread, and in one that reads ahead (page_stock). No page that cannot be had is replaced by anything:
 * the feeding ends there, and QEMU with it.
 */
#ifndef FIRN_RESTORE_PAGES_PRECOPY_SENDER_H
#define FIRN_RESTORE_PAGES_PRECOPY_SENDER_H

#include "core/vm/device_state.h"
#include "core/vm/machine_config.h"
#include "core/vm/ramblock.h"
#include "restore/pages/page_source.h"

struct snapshot_frames;

struct precopy_args {
    int fd; /* borrowed */
    const struct page_source *source;
    const struct ramblock_list *blocks;
    const struct machine_config *config;
    const struct device_state *devices;
    uint32_t ram_section_id;
    /* A block that is known to be all zero in QEMU now: its zero pages are
     * left out. NULL: none is. */
    const char *zeroed_block;
    /* To read ahead from, in the order of the packs; NULL: page by page. */
    struct snapshot_frames *frames;
    uint64_t max_bandwidth; /* bytes a second; 0: any */
};

/* Returns 0 when QEMU has read everything and closed the socket; *ret_pages
 * are the data pages sent. ERR_PEER: closed before. ERR_CORRUPT: a page could
 * not be had. */
int precopy_send(const struct precopy_args *args, uint64_t *ret_pages,
                 struct error *err) NODISCARD;

#endif

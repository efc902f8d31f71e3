/*
 * snapshot_writer.h - door: pages in, a snapshot out, or nothing at all.
 *
 * new() takes a lease and fills the dedup table from the VM's history. Pages
 * come in batches through *lanes*: a lane owns a ring, a compressor and the
 * open pack, and is used by one thread at a time; different lanes by different
 * threads at once. Each batch has a sequence number: of two contents of one
 * page the one with the higher number counts, whatever lane was faster. All
 * files stay unnamed until commit(); free() without commit leaves nothing.
 */
#ifndef FIRN_STORAGE_SNAPSHOT_WRITER_H
#define FIRN_STORAGE_SNAPSHOT_WRITER_H

#include "core/base/stage_clock.h"
#include "core/base/stopper.h"
#include "core/vm/device_state.h"
#include "core/vm/machine_config.h"
#include "core/vm/ramblock.h"
#include "storage/repository.h"

struct snapshot_writer_args {
    struct repository *repository; /* must outlive the writer */
    const char *vm;                /* name; whose history is searched */
    const char *vm_uuid;           /* "" if unknown */
    int level;                     /* frame_codec.h's; 0: the default (1) */
    unsigned lanes;                /* 1 to 16 */
    /* Look among other VMs' newest snapshots, too: each hit there is compared
     * byte by byte, for guests choose their pages. */
    bool across_vms;
};

/* Pages of one block, at most PAGE_BATCH_MAX, each at most once. */
struct page_batch {
    uint64_t seq; /* below 2^32 */
    uint32_t block;
    uint32_t n;
    pgno_t pgno[PAGE_BATCH_MAX];
    const uint8_t *data; /* n × PAGE_BYTES in the order of pgno; NULL: zero */
};

/* Everything of a snapshot that is not a page. All borrowed during commit(). */
struct snapshot_record {
    const struct machine_config *config;
    const struct device_state *devices;
    uint32_t ram_section_id;
    /* What a restore compares and replays: QEMU version, command line, disks,
     * CPUs, host, ... as the capture found it. Kept as one JSON object. */
    json_t *facts;
    /* time_ns, mode, run_state, machine, qemu_version, downtime_ms,
     * duration_ms, rounds, channels, tags are taken from here; the rest is
     * filled in by commit(). */
    const struct snapshot_summary *summary;
    /* Unseen pages may be recorded as zero (free page hinting, virtio-mem);
     * false: commit() fails with ERR_PROTOCOL if there is one. */
    bool unseen_as_zero;
    /* All data of every pack referred to is read back and compared with its
     * hashes before the commit; ERR_CORRUPT, and nothing is listed. */
    bool verify;
    struct stopper *stop; /* ends that reading; may be NULL */
};

struct snapshot_writer_stats {
    uint64_t pages;      /* batches' pages, zero or not */
    uint64_t duplicate;  /* not stored again */
    uint64_t stored;     /* written */
    uint64_t pack_bytes; /* written so far */
};

struct snapshot_writer;

/* `args` is not needed afterwards, but for its repository. A history that
 * cannot be read is no error: less is found again. */
int snapshot_writer_new(const struct snapshot_writer_args *args,
                        struct snapshot_writer **ret,
                        struct error *err) NODISCARD;
/* Before the first batch. */
int snapshot_writer_set_blocks(struct snapshot_writer *w,
                               const struct ramblock_list *blocks,
                               struct error *err) NODISCARD;
/* Any thread, one at a time a lane. ERR_NOSPC when the disk is full. */
int snapshot_writer_put(struct snapshot_writer *w, unsigned lane,
                        const struct page_batch *batch,
                        struct error *err) NODISCARD;
/* The content put last for a page (for XBZRLE); only while no lane is busy.
 * ERR_NOTFOUND if it was never put. */
int snapshot_writer_get(struct snapshot_writer *w, uint32_t block, pgno_t pgno,
                        uint8_t *page, struct error *err) NODISCARD;
/* Why packs are written by plain system calls, for a note to the user; NULL
 * when they are written by io_uring. Borrowed. */
const char *snapshot_writer_slow_io(const struct snapshot_writer *w);
/* What other threads than the lanes' spent of the processors on this snapshot,
 * told by each at its end (or now and then); lanes count for themselves. Any
 * thread. */
void snapshot_writer_spent(struct snapshot_writer *w, enum cpu_stage stage,
                           uint64_t ns);
/* Any thread. */
/* Figures so far, for a progress line: taken while others count. */
void snapshot_writer_stats(struct snapshot_writer *w,
                           struct snapshot_writer_stats *ret);
/* Seals, verifies and fsyncs the packs, writes the index segments and the
 * snapshot object, links all, snapshot last. On success `ret` holds the whole
 * summary (tags not included), else the repository is as it was. */
int snapshot_writer_commit(struct snapshot_writer *w,
                           const struct snapshot_record *record,
                           struct snapshot_summary *ret,
                           struct error *err) NODISCARD;
/* No thread uses a lane any more. Gives the lease back. Takes NULL. */
void snapshot_writer_free(struct snapshot_writer *w);

DEFINE_CLEANUP(snapshot_writer, struct snapshot_writer *, snapshot_writer_free)

#endif

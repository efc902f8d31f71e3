/*
 * snapshot_writer_inside.h - a snapshot on its way, as its sources share it:
 * snapshot_writer.c holds it, snapshot_put.c takes pages, snapshot_history.c
 * knows what is stored already, snapshot_repack.c drops what is dead,
 * snapshot_rejoin.c brings together what lies too far apart, snapshot_commit.c
 * makes the snapshot of it. No door.
 */
#ifndef FIRN_STORAGE_SNAPSHOT_WRITER_INSIDE_H
#define FIRN_STORAGE_SNAPSHOT_WRITER_INSIDE_H

#include "core/base/lock.h"
#include "storage/dedup.h"
#include "storage/layout.h"
#include "storage/lease.h"
#include "storage/pack_pages.h"
#include "storage/page_map.h"
#include "storage/packs/pack_reader.h"
#include "storage/packs/pack_writer.h"
#include "storage/snapshot_writer.h"

#define SNAPSHOT_LANES_MAX 16u

/* Fact of a snapshot: array of ids of packs that were another VM's when they
 * were found. */
#define SNAPSHOT_FOREIGN_PACKS "foreign_packs"

/* A pack that this snapshot may refer to. */
struct writer_pack {
    char id[PACK_ID_LEN + 1];
    uint8_t id_bytes[LAYOUT_PACK_ID_BYTES];
    enum pack_kind kind;
    uint64_t bytes;          /* of an own one: once sealed */
    uint32_t items;          /* the same */
    struct pack_writer *own; /* NULL: it was there before us, or is dropped */
    /* Another VM's: a hash is not enough, bytes are compared. */
    bool compare;
};

/* A pack that is being filled. */
struct open_pack {
    struct pack_writer *writer; /* owned by the table of packs, or NULL */
    uint32_t number;            /* there */
    uint64_t told_bytes;        /* of it, in the writer's figures */
};

/* A page that was sent before will be sent again more likely than others: what
 * comes again goes to packs of its own, which are mostly dead at the end. */
enum lane_pack { PACK_FIRST = 0, PACK_AGAIN, LANE_PACKS };

struct snapshot_lane {
    /* only the thread that uses the lane */
    struct ring *ring;
    struct open_pack open[LANE_PACKS];
    struct stage_clock clock; /* runs inside put() only */
    struct pack_pages stored; /* for comparing */
};

struct snapshot_writer {
    /* set before the threads start, then read only */
    struct repository *repository;
    const struct hash_key *key;
    struct lease *lease;
    char vm[256];
    char vm_uuid[40];
    int level;
    unsigned n_lanes;
    bool across_vms;   /* other VMs' packs are looked at, too */
    bool has_compared; /* there are packs to be compared */
    struct ramblock_list blocks;
    struct place_book index_book;
    struct dedup index_known; /* index segments of the VM's history */
    uint64_t process_cpu_ns;  /* when the writer was made */
    uint64_t thread_cpu_ns;   /* the same, of the thread that made it */

    /* each by its own thread */
    struct snapshot_lane lanes[SNAPSHOT_LANES_MAX];

    /* protected by `lock` while lanes work; new() and commit() are alone */
    struct lock lock; /* everything below */
    struct place_book book;
    struct dedup pages_known;
    struct page_map map;
    struct writer_pack *packs;
    uint32_t n_packs;
    struct snapshot_writer_stats stats;
    struct cpu_stages spent; /* told by others, see snapshot_writer_spent() */
    struct error why_failed; /* code 0 while all is well */

    /* only the thread of commit() */
    struct stage_clock clock;

    /* only the thread that gets pages, while no lane is busy */
    struct pack_pages stored;
};

/* Adds a pack to the table; *ret_number is its place. Takes `own` over, if it
 * succeeds. */
int writer_add_pack(struct snapshot_writer *w, const char *id,
                    enum pack_kind kind, struct pack_writer *own,
                    uint32_t *ret_number, struct error *err) NODISCARD;

/* A new pack of our own, in the table, written through `ring`. Borrowed. */
int writer_new_pack(struct snapshot_writer *w, enum pack_kind kind,
                    struct ring *ring, struct stage_clock *clock,
                    struct pack_writer **ret, uint32_t *ret_number,
                    struct error *err) NODISCARD;
/* Seals it and takes its figures into the table. */
int writer_seal_pack(struct snapshot_writer *w, struct pack_writer *own,
                     uint32_t number, struct error *err) NODISCARD;

/* The content at a place, in a pack of ours or of others; for the thread of
 * get() and commit(). */
int writer_read_place(struct snapshot_writer *w, struct dedup_place place,
                      uint8_t *page, struct error *err) NODISCARD;
/* Makes sure that `open` has room for `n` more pages, whatever they compress
 * to: seals it and opens another one when need be. */
int writer_make_room(struct snapshot_writer *w, struct open_pack *open,
                     struct ring *ring, struct stage_clock *clock, uint32_t n,
                     struct error *err) NODISCARD;
/* Seals what is open there; a pack without items is dropped. */
int writer_seal_open(struct snapshot_writer *w, struct open_pack *open,
                     struct error *err) NODISCARD;

/* Packs from number `from` on are of a try that was given up. */
void writer_drop_from(struct snapshot_writer *w, uint32_t from);

/* The most that a page adds to a pack: a frame, an entry in both tables. */
#define WRITER_PAGE_WORST (PAGE_BYTES + 32u)

/* Stores the live pages of packs that are mostly dead together; between the
 * lanes' last batch and the index. */
int snapshot_repack(struct snapshot_writer *w, struct error *err) NODISCARD;

/* The processor time and the memory of the capture until now. */
void writer_sum_cost(struct snapshot_writer *w, struct snapshot_cost *cost);

/* Stores pages together that come from too many places; after repacking. */
int snapshot_rejoin(struct snapshot_writer *w, struct snapshot_cost *ret,
                    struct error *err) NODISCARD;

/* Fills both tables from the packs of the VM's snapshots, newest first. What
 * cannot be read is passed over: it saves nothing. */
int snapshot_history_load(struct snapshot_writer *w,
                          struct error *err) NODISCARD;

#endif

/*
 * snapshot_writer_inside.h - a snapshot on its way, as its four sources share
 * it: snapshot_writer.c takes pages, snapshot_history.c knows what is stored
 * already, snapshot_repack.c drops what is dead, snapshot_commit.c makes the
 * snapshot of it. No door.
 */
#ifndef FIRN_STORAGE_SNAPSHOT_WRITER_INSIDE_H
#define FIRN_STORAGE_SNAPSHOT_WRITER_INSIDE_H

#include "core/base/lock.h"
#include "storage/dedup.h"
#include "storage/layout.h"
#include "storage/lease.h"
#include "storage/page_map.h"
#include "storage/packs/pack_reader.h"
#include "storage/packs/pack_writer.h"
#include "storage/snapshot_writer.h"

#define SNAPSHOT_LANES_MAX 16u

/* A pack that this snapshot may refer to. */
struct writer_pack {
    char id[PACK_ID_LEN + 1];
    uint8_t id_bytes[LAYOUT_PACK_ID_BYTES];
    enum pack_kind kind;
    uint64_t bytes;          /* of an own one: once sealed */
    uint32_t items;          /* the same */
    struct pack_writer *own; /* NULL: it was there before us, or is dropped */
};

struct snapshot_lane {
    /* only the thread that uses the lane */
    struct ring *ring;
    struct pack_writer *open; /* owned by the table of packs */
    uint32_t pack;            /* its number there */
    struct stage_clock clock; /* runs inside put() only */
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
    uint64_t open_bytes[SNAPSHOT_LANES_MAX];
    struct cpu_stages spent; /* told by others, see snapshot_writer_spent() */
    struct error why_failed; /* code 0 while all is well */

    /* only the thread of commit() */
    struct stage_clock clock;

    /* only the thread that gets pages, while no lane is busy */
    struct pack_reader *get_reader;
    uint32_t get_pack;
    struct frame_codec *get_codec;
    struct buf get_frame;
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

/* The most that a page adds to a pack: a frame, an entry in both tables. */
#define WRITER_PAGE_WORST (PAGE_BYTES + 32u)

/* Stores the live pages of packs that are mostly dead together; between the
 * lanes' last batch and the index. */
int snapshot_repack(struct snapshot_writer *w, struct error *err) NODISCARD;

/* Fills both tables from the packs of the VM's snapshots, newest first. What
 * cannot be read is passed over: it saves nothing. */
int snapshot_history_load(struct snapshot_writer *w,
                          struct error *err) NODISCARD;

#endif

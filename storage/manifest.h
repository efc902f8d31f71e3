/*
 * manifest.h - the object that is a snapshot: the rows of its database.
 *
 * The object is read whole into memory (manifest_file.h); every row is then
 * checked for itself. Open ones live in memory only, and are for one thread.
 * manifest_builder.h makes them.
 */
#ifndef FIRN_STORAGE_MANIFEST_H
#define FIRN_STORAGE_MANIFEST_H

#include "core/vm/device_state.h"
#include "core/vm/machine_config.h"
#include "core/vm/ramblock.h"
#include "storage/manifest_file.h"
#include "storage/pack_set.h"
#include "storage/packs/pack_writer.h"
#include "storage/repository.h"

#define MANIFEST_SCHEMA_VERSION 1
#define MANIFEST_MAX_PACKS      (1u << 24)
#define MANIFEST_MAX_DEVICES    65536u
#define MANIFEST_MAX_CONFIG     (1u << 20)

struct manifest_pack {
    char id[PACK_ID_LEN + 1];
    enum pack_kind kind;
    uint64_t bytes;
    uint32_t items; /* in the whole pack */
    uint32_t used;  /* of those, by this snapshot */
};

struct manifest_segment {
    uint64_t segno;
    uint32_t pack; /* number in the manifest */
    uint32_t item;
    uint64_t checksum;
};

struct manifest;

/* ERR_NOTFOUND, ERR_CORRUPT, or ERR_FORMAT when its version is not known. */
int manifest_open(int snapshots_dirfd, const char *id, struct manifest **ret,
                  struct error *err) NODISCARD;
/* Frees all that was borrowed from it; takes NULL. */
void manifest_close(struct manifest *m);
/* The summary alone: for lists. The caller releases it. */
int manifest_read_summary(int snapshots_dirfd, const char *id,
                          struct snapshot_summary *ret,
                          struct error *err) NODISCARD;

/* What open() has read and checked; pointers are borrowed and live as long as
 * the manifest. */
const struct snapshot_summary *manifest_summary(const struct manifest *m);
/* The RAM blocks in the stream's order: a block's number is its place here. */
const struct ramblock_list *manifest_blocks(const struct manifest *m);
/* CONFIG of the captured stream. */
const struct machine_config *manifest_config(const struct manifest *m);
/* The device tail with its description and table of sections. */
const struct device_state *manifest_devices(const struct manifest *m);
/* What the capture found out about VM and host: a JSON object. */
const json_t *manifest_facts(const struct manifest *m);
/* The id that section `ram` had in the captured stream. */
uint32_t manifest_ram_section_id(const struct manifest *m);
/* All packs that it refers to; a pack's number is its place here. */
const struct manifest_pack *manifest_packs(const struct manifest *m,
                                           uint32_t *ret_n);
/* The number of a pack by its id, or PACK_SET_NONE. */
uint32_t manifest_pack_number(const struct manifest *m,
                              const uint8_t id[static LAYOUT_PACK_ID_BYTES]);
/* Adds the ids of all its packs. */
int manifest_add_packs(const struct manifest *m, struct pack_set *add,
                       struct error *err) NODISCARD;
/* Bytes of the file, as it is stored. */
uint64_t manifest_object_bytes(const struct manifest *m);

/* The first segment of `block` at or behind `segno` that is not all zero;
 * *ret_found tells if there is one. */
int manifest_next_segment(struct manifest *m, uint32_t block, uint64_t segno,
                          struct manifest_segment *ret, bool *ret_found,
                          struct error *err) NODISCARD;
/* Gives every segment to `visit`, by block and segno, quicker than by next. A
 * negative answer ends the walk and is returned. */
int manifest_walk(struct manifest *m,
                  int (*visit)(void *arg, uint32_t block,
                               const struct manifest_segment *segment,
                               struct error *err),
                  void *arg, struct error *err) NODISCARD;
/* The database's bytes. Borrowed. */
const void *manifest_image(const struct manifest *m, size_t *ret_len);

/* All rows, those of blocks that do not exist included. */
int manifest_count_segments(struct manifest *m, uint64_t *ret,
                            struct error *err) NODISCARD;

/* What a segment's row holds as checksum of its bytes. It covers the place as
 * well: the right bytes at the wrong place are damage. */
uint64_t manifest_segment_checksum(const char *idstr, uint64_t segno,
                                   const void *data, size_t len);

static inline uint64_t ramblock_segments(const struct ramblock *b)
{
    return (ramblock_pages(b) + 511) / 512;
}

DEFINE_CLEANUP(manifest, struct manifest *, manifest_close)

#endif

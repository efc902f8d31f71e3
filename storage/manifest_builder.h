/*
 * manifest_builder.h - puts a snapshot object together, in memory.
 *
 * Blocks, packs and segments are added in any order; finish() adds the rest
 * and gives the bytes of the whole object, footer included. One thread.
 */
#ifndef FIRN_STORAGE_MANIFEST_BUILDER_H
#define FIRN_STORAGE_MANIFEST_BUILDER_H

#include "storage/manifest.h"
#include "storage/snapshot_writer.h"

struct manifest_builder;

/* An empty database with the tables; nothing touches the disk. */
int manifest_builder_new(struct manifest_builder **ret,
                         struct error *err) NODISCARD;
/* Takes NULL. */
void manifest_builder_free(struct manifest_builder *b);

/* All blocks, numbered as in the list. Once. */
int manifest_builder_add_blocks(struct manifest_builder *b,
                                const struct ramblock_list *blocks,
                                struct error *err) NODISCARD;
/* Pack `number`; the numbers used must be 0, 1, 2, ... without a gap. */
int manifest_builder_add_pack(struct manifest_builder *b, uint32_t number,
                              const struct manifest_pack *pack,
                              struct error *err) NODISCARD;
/* A segment with content; one that is all zero is not added. `segment->pack`
 * is such a number, of an index pack. */
int manifest_builder_add_segment(struct manifest_builder *b, uint32_t block,
                                 const struct manifest_segment *segment,
                                 struct error *err) NODISCARD;
/* `summary` is the whole one, but for stored_bytes: those of the packs alone.
 * `record` gives everything else. */
int manifest_builder_finish(struct manifest_builder *b,
                            const struct snapshot_summary *summary,
                            const struct snapshot_record *record,
                            struct buf *ret, struct error *err) NODISCARD;

DEFINE_CLEANUP(manifest_builder, struct manifest_builder *,
               manifest_builder_free)

#endif

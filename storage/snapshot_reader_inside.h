/*
 * snapshot_reader_inside.h - a reader as verify and diff see it. No door.
 */
#ifndef FIRN_STORAGE_SNAPSHOT_READER_INSIDE_H
#define FIRN_STORAGE_SNAPSHOT_READER_INSIDE_H

#include "storage/manifest.h"
#include "storage/snapshot_reader.h"

/* The open manifest behind it. Borrowed. */
struct manifest *snapshot_reader_manifest(struct snapshot_reader *s);

/* Reads the segment of a row and checks all of it: the bytes are those meant
 * for this place, they decode, each pack is listed, each item is in its pack.
 */
int snapshot_reader_check_segment(struct snapshot_reader *s, uint32_t block,
                                  const struct manifest_segment *row,
                                  struct error *err) NODISCARD;

/* Where a page's content lies, and its content hash as the pack's table has it,
 * keyed with secret *ret_key of the keyring. Reads tables, no content. For a
 * zero page only place->zero is set. */
int snapshot_reader_hash(struct snapshot_reader *s, uint32_t block, pgno_t pgno,
                         struct page_place *ret, struct page_hash *ret_hash,
                         uint32_t *ret_key, struct error *err) NODISCARD;

#endif

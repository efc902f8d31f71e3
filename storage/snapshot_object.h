/*
 * snapshot_object.h - a snapshot's object again, with other places. No door.
 *
 * Everything but the tables `pack` and `segment` stays as it is, bit for bit
 * as SQLite has it: id, time, figures, devices, and what later versions may
 * have added. Every segment must be moved, also to where it was.
 */
#ifndef FIRN_STORAGE_SNAPSHOT_OBJECT_H
#define FIRN_STORAGE_SNAPSHOT_OBJECT_H

#include "storage/manifest.h"

struct snapshot_object;

/* A copy of what `m` is made of, without packs; `m` is not needed afterwards.
 * free() takes NULL. */
int snapshot_object_new(const struct manifest *m, struct snapshot_object **ret,
                        struct error *err) NODISCARD;
/* Leaves nothing: the copy lived in memory. */
void snapshot_object_free(struct snapshot_object *o);
/* Items of a pack that a segment refers to. */
int snapshot_object_use(struct snapshot_object *o,
                        const struct manifest_pack *pack, uint32_t item,
                        uint32_t count, struct error *err) NODISCARD;
/* Item and checksum of `segment` are the new ones, in the pack `in`. */
int snapshot_object_move(struct snapshot_object *o, uint32_t block,
                         const struct manifest_segment *segment,
                         const struct manifest_pack *in,
                         struct error *err) NODISCARD;
/* The bytes of the object, footer included. */
int snapshot_object_finish(struct snapshot_object *o, struct buf *ret,
                           struct error *err) NODISCARD;

DEFINE_CLEANUP(snapshot_object, struct snapshot_object *, snapshot_object_free)

#endif

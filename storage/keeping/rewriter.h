/*
 * rewriter.h - chosen packs, written again without what is dead. No door.
 *
 * choose() packs, collect() each snapshot that touches one: the live pages of
 * chosen packs go to new packs, in the order of the guest's memory as the
 * first collected snapshot has it; segments that change go to a new index
 * pack. Then seal() and link() the new packs, and object() makes the snapshots
 * that refer to them. Nothing has a name before link(). One thread.
 */
#ifndef FIRN_STORAGE_KEEPING_REWRITER_H
#define FIRN_STORAGE_KEEPING_REWRITER_H

#include "core/base/stopper.h"
#include "storage/keeping/usage_inside.h"
#include "storage/lease.h"

struct rewriter;

/* `u` must outlive it; `stop` may be NULL. */
int rewriter_new(struct repository *r, const struct usage *u,
                 struct stopper *stop, struct rewriter **ret,
                 struct error *err) NODISCARD;
/* Packs that were not linked are gone. Takes NULL. */
void rewriter_free(struct rewriter *w);

/* By its number in the usage. */
void rewriter_choose(struct rewriter *w, uint32_t pack);
/* Whether the snapshot refers to a chosen pack, and so must be collected. */
bool rewriter_touches(const struct rewriter *w, const struct manifest *m);
/* Reads its index and writes those of its live pages that are not yet in a new
 * pack. ERR_CORRUPT: the snapshot, or a page, cannot be read. */
int rewriter_collect(struct rewriter *w, struct manifest *m,
                     struct error *err) NODISCARD;
/* All snapshots were collected: the new packs are complete and synced,
 * unnamed. */
int rewriter_seal(struct rewriter *w, struct error *err) NODISCARD;
/* Names the packs in the lease, links them, reads all their data back. */
int rewriter_link(struct rewriter *w, struct lease *lease,
                  struct error *err) NODISCARD;
/* The object of a collected snapshot, with the places of today. */
int rewriter_object(struct rewriter *w, struct manifest *m, struct buf *ret,
                    struct error *err) NODISCARD;
/* The i-th new pack, once sealed; NULL behind the last. Borrowed. */
const struct manifest_pack *rewriter_product(const struct rewriter *w,
                                             uint32_t i);
/* Of the new packs, once sealed. */
uint64_t rewriter_bytes(const struct rewriter *w);

DEFINE_CLEANUP(rewriter, struct rewriter *, rewriter_free)

#endif

/*
 * shared_packs.h - which packs of a snapshot older snapshots have as well.
 */
#ifndef FIRN_CLI_SHARED_PACKS_H
#define FIRN_CLI_SHARED_PACKS_H

#include "core/base/stopper.h"
#include "storage/snapshot_reader.h"

/* By the packs' numbers in this snapshot; the caller frees *ret. Reads every
 * older snapshot's object; one that cannot be read is passed over, `check`
 * names it. */
int shared_packs_find(struct repository *repository,
                      struct snapshot_reader *reader, struct stopper *stop,
                      bool **ret, struct error *err) NODISCARD;

#endif

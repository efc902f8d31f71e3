/*
 * repository_inside.h - an open repository as the rest of storage sees it.
 *
 * No door: other rooms include repository.h. Descriptors are borrowed.
 */
#ifndef FIRN_STORAGE_REPOSITORY_INSIDE_H
#define FIRN_STORAGE_REPOSITORY_INSIDE_H

#include "storage/repository.h"
#include "storage/repository_config.h"

/* Of the repository's folder, and of those in it. */
int repository_dirfd(const struct repository *r);
/* packs/: with object_folder.h by layout_packs(). */
int repository_packs_dirfd(const struct repository *r);
/* snapshots/: one object a snapshot. */
int repository_snapshots_dirfd(const struct repository *r);
/* locks/: one lease a file. */
int repository_locks_dirfd(const struct repository *r);

/* The key for what is written, and any key by its id (NULL: unknown). */
const struct hash_key *repository_write_key(const struct repository *r);
/* The greatest frame of pages that is written. */
uint32_t repository_frame_bytes(const struct repository *r);
/* Packs say in their headers with which one they were hashed. */
const struct hash_key *repository_key(const struct repository *r, uint32_t id);

/* Reads `config` once more and checks it. */
int repository_check_config(const struct repository *r,
                            struct error *err) NODISCARD;

#endif

/*
 * space.h - door: room on the repository's file system, and who has it.
 *
 * A capture keeps away from a full disk: a reserve stays free, for the commit,
 * for prune (which writes before it frees) and for whoever shares the disk.
 * The size of the file system and what was free are asked anew each time; no
 * state, any thread but for explain.
 */
#ifndef FIRN_STORAGE_SPACE_H
#define FIRN_STORAGE_SPACE_H

#include "storage/repository.h"

struct space {
    uint64_t total_bytes;
    uint64_t free_bytes; /* for us: what root alone may use is not */
};

/* Asks the file system. ERR_IO. */
int space_of(const struct repository *r, struct space *ret,
             struct error *err) NODISCARD;

/* A hundredth of the file system, at least 256 MiB and at most 4 GiB, but no
 * more than a twentieth of a small one. Pure. */
uint64_t space_default_reserve(uint64_t total_bytes);

/* ERR_NOSPC when less than the reserve (0: the default one) would stay free
 * after `need_bytes` more. */
int space_check(const struct repository *r, uint64_t reserve_bytes,
                uint64_t need_bytes, struct error *err) NODISCARD;

/* Adds to the hint of an ERR_NOSPC what makes room, and which VMs hold most.
 * Reads the list of snapshots; returns the code, which stays. */
int space_explain(struct repository *r, struct error *err);

#endif

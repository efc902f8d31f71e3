/*
 * raw_import.h - door: a flat memory file becomes a snapshot.
 *
 * One RAM block ("ram") with the file's bytes, and any number of state files,
 * kept whole under their names. No VM is involved.
 */
#ifndef FIRN_SNAPSHOT_RAW_IMPORT_H
#define FIRN_SNAPSHOT_RAW_IMPORT_H

#include "core/base/stopper.h"
#include "storage/repository.h"

/* The mode of such snapshots, in summaries. */
#define RAW_IMPORT_MODE "raw"

struct raw_import_args {
    struct repository *repository;
    const char *memory;        /* path */
    const char *const *states; /* paths, each with a name of its own */
    size_t n_states;
    const char *vm;
    const char *sparse_over; /* full id; holes of `memory` are as in it; NULL */
    uint64_t time_ns;        /* recorded as its time; 0: now */
    int level;               /* zstd; 0: the default */
    unsigned lanes;          /* 0: one a core, up to 4 */
    struct stopper *stop;
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
    void *arg;
};

/* ERR_INVALID: the memory's size is no multiple of a page, or differs from the
 * snapshot's that its holes refer to. `ret` is without tags. */
int raw_import_run(const struct raw_import_args *args,
                   struct snapshot_summary *ret, struct error *err) NODISCARD;

#endif

/*
 * raw_export.h - door: a snapshot's memory as a flat file, byte for byte.
 *
 * For snapshots with one RAM block, such as `import --format raw` makes.
 */
#ifndef FIRN_RESTORE_RAW_EXPORT_H
#define FIRN_RESTORE_RAW_EXPORT_H

#include "core/base/stopper.h"
#include "storage/repository.h"

struct raw_export_args {
    struct repository *repository;
    const char *id;           /* full id */
    const char *memory;       /* path that is not there yet; NULL: stdout_fd */
    int stdout_fd;            /* written from its start to its end */
    const char *state_folder; /* state files go here; NULL: they do not */
    struct stopper *stop;
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
    void *arg;
};

/* The file is there whole or not at all, and sparse: zero pages are holes.
 * ERR_EXISTS: a file is there already. ERR_INCOMPATIBLE: no flat image. */
int raw_export_run(const struct raw_export_args *args,
                   struct error *err) NODISCARD;

#endif

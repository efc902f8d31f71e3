/*
 * verify.h - door: is everything there, and is it right? Never repairs.
 *
 * Structure: config, each snapshot object (checksum, schema, segments all
 * resolvable), each pack (size, trailer, tables). With data: each frame's
 * checksum, each page's content hash. A pack nobody refers to is information.
 * What was checked is recorded (check_state.h), also when it was interrupted.
 */
#ifndef FIRN_STORAGE_KEEPING_VERIFY_H
#define FIRN_STORAGE_KEEPING_VERIFY_H

#include "core/base/stopper.h"
#include "storage/repository.h"

struct verify_args {
    const char *const *ids; /* snapshots; none: the whole repository */
    size_t n_ids;
    /* 0: structure only; 100: every frame; else as many bytes of what was read
     * longest ago, so that one check after the other covers everything. */
    unsigned read_data_percent;
    uint64_t max_duration_ms; /* 0: none; the next check goes on */
    struct stopper *stop;
    /* Each finding: the object's name, its error. Information has code 0. */
    void (*finding)(void *arg, const char *object, const struct error *what);
    /* Progress; may be NULL. */
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
    void *arg;
};

struct verify_report {
    uint64_t snapshots;
    uint64_t packs;
    uint64_t frames_read;
    uint64_t pages_hashed;
    uint64_t errors;
    uint64_t unreferenced_packs;
    uint64_t read_bytes; /* of packs' data */
    bool finished;       /* false: time was up */
};

/* 0 when the check ran to its end, whatever it found: look at `errors`. */
int verify_run(struct repository *r, const struct verify_args *args,
               struct verify_report *ret, struct error *err) NODISCARD;

#endif

/*
 * verify_pack.h - one pack against its own tables, and its data if asked for.
 *
 * Inside of verify.c and snapshot_commit.c; one thread.
 */
#ifndef FIRN_STORAGE_VERIFY_PACK_H
#define FIRN_STORAGE_VERIFY_PACK_H

#include "core/base/stopper.h"
#include "core/codec/frame_codec.h"
#include "storage/manifest.h"

struct verify_pack_args {
    struct repository *repository;
    const struct manifest_pack *expected; /* as a snapshot describes it */
    struct frame_codec *codec;
    unsigned read_data_percent;
    uint64_t *random;     /* which frames are read, below 100 % */
    struct stopper *stop; /* may be NULL */
    /* Each thing that is wrong. */
    void (*finding)(void *arg, const struct error *what);
    void *arg;
};

struct verify_pack_report {
    uint64_t frames_read;
    uint64_t pages_hashed;
};

/* Fails only with ERR_NOMEM or the stopper's code. */
int verify_pack(const struct verify_pack_args *args,
                struct verify_pack_report *ret, struct error *err) NODISCARD;

/* All of one pack, with its data: ERR_CORRUPT with the first thing that is
 * wrong. */
int verify_pack_whole(struct repository *repository,
                      const struct manifest_pack *expected,
                      struct stopper *stop, struct error *err) NODISCARD;

#endif

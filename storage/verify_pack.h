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
    uint64_t max_bytes;   /* of data to read, at most a frame more; 0: none */
    uint32_t first_frame; /* where to begin with the data */
    uint64_t deadline_ns; /* monotonic: then no more data; 0: none */
    struct stopper *stop; /* may be NULL */
    /* Each thing that is wrong. */
    void (*finding)(void *arg, const struct error *what);
    void *arg;
};

struct verify_pack_report {
    uint64_t bytes_read;
    uint32_t next_frame; /* where to go on with the data; 0: it was read to
                            its end */
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

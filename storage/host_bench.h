/*
 * host_bench.h - door: what this host, and a repository's disk, give.
 *
 * A few hundred milliseconds for each figure, on one thread, with the same code
 * as a capture's and a restore's. Nothing is left behind: what is written goes
 * to an unnamed file. One thread; `tell` is called by it.
 */
#ifndef FIRN_STORAGE_HOST_BENCH_H
#define FIRN_STORAGE_HOST_BENCH_H

#include "core/base/stopper.h"
#include "storage/repository.h"

struct host_bench_figure {
    const char *name; /* "hash", "zstd 1" */
    double value;
    const char *unit;   /* "GB/s", "MB/s", "Mpages/s", "us" */
    double ratio;       /* of compression; 0 where there is none */
    const char *detail; /* what was measured, for people; borrowed */
};

/* A negative answer of `tell` ends the run and is returned. */
typedef int (*host_bench_tell)(void *arg, const struct host_bench_figure *f,
                               struct error *err);

struct host_bench_args {
    struct repository *repository; /* NULL: no disk is measured */
    unsigned spell_ms;             /* for each figure; 0: 250 */
    struct stopper *stop;
    host_bench_tell tell;
    void *arg;
};

/* ERR_NOSPC when the disk has not the room for a test of it. */
int host_bench_run(const struct host_bench_args *args,
                   struct error *err) NODISCARD;

#endif

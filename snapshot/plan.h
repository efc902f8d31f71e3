/*
 * plan.h - what a capture will take: time, bytes, downtime. Pure.
 *
 * A stream is followed round by round: each sends what the guest wrote during
 * the one before, until the rest fits into the downtime limit. A background
 * save reads everything once, at the pace of QEMU's write faults.
 */
#ifndef FIRN_SNAPSHOT_PLAN_H
#define FIRN_SNAPSHOT_PLAN_H

#include "snapshot/convergence.h"
#include "snapshot/snapshot_job.h"

/* Of what is stored of a VM's memory the first time; zero pages that were
 * touched once are among it. */
#define PLAN_FIRST_SHARE 0.4

/* QEMU writes a page and lifts its protection: 20 to 37 us. */
#define PLAN_BACKGROUND_BYTES_PER_S (UINT64_C(150) << 20)
/* To connect, to ask for facts, to commit. */
#define PLAN_FIXED_MS 200u
/* QEMU gives away so much when nobody slows it down: zero test, copies. */
#define PLAN_QEMU_BYTES_PER_S (UINT64_C(700) << 20)
/* A snapshot of nothing new: its object, one segment or two. */
#define PLAN_OBJECT_BYTES (UINT64_C(64) << 10)
/* Device state, the flush of disks, our answer; a background save's pause. */
#define PLAN_PAUSE_MS            8u
#define PLAN_BACKGROUND_PAUSE_MS 50u

struct plan_question {
    enum snapshot_mode mode; /* not AUTO */
    bool running;
    uint64_t content_bytes; /* of RAM: what is not zero */
    uint64_t bytes_per_s;   /* of it that can be taken in; not 0 */
    uint64_t dirty_bytes_per_s;
    uint64_t max_downtime_ms;
    uint64_t new_bytes; /* what the repository will grow by, at rest */
    double share;       /* bytes stored of a byte that is sent again */
};

struct plan_answer {
    bool converges;
    unsigned rounds;
    uint64_t read_bytes;
    uint64_t stored_bytes;
    uint64_t duration_ms;
    uint64_t downtime_ms;
};

/* Follows the capture in thought. A figure for people, right to a factor of
 * two where the guest goes on as it does now. */
void plan_predict(const struct plan_question *q, struct plan_answer *ret);

/* The VM's captures so far, oldest first, and what they promise. */
struct plan_history {
    bool known;       /* there was one */
    bool seen_twice;  /* the last one found a predecessor */
    uint64_t time_ns; /* of the last */
    uint64_t content_bytes;
    uint64_t bytes_per_s; /* taken in by the last; 0: not known */
    uint64_t new_bytes;   /* stored by the last */
    double share;         /* stored of a page's bytes */
};

/* How fast the next capture takes memory in: what is stored already is only
 * read and hashed, `fresh_bytes` of `content_bytes` are not. */
uint64_t plan_pace(uint64_t content_bytes, uint64_t fresh_bytes,
                   uint64_t bytes_per_s);

/* What the summaries of the VM called `vm` promise; `known` false if none. */
void plan_history_of(const struct snapshot_summary *all, size_t n,
                     const char *vm, struct plan_history *ret);

#endif

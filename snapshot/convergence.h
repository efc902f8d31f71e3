/*
 * convergence.h - does a precopy come to its end? Pure: the time is given in.
 *
 * A round of precopy sends what the guest wrote during the round before. While
 * rounds get smaller the end comes by itself: QEMU stops the VM when the rest
 * can be sent within its `downtime-limit`. Where they do not, first the limit
 * is raised, as far as our budget allows; then QEMU may throttle the guest, if
 * the user lets it; else there is no hope, and it is said before the VM was
 * stopped. One thread.
 */
#ifndef FIRN_SNAPSHOT_CONVERGENCE_H
#define FIRN_SNAPSHOT_CONVERGENCE_H

#include "core/base/json.h"

/* Of one capture, the last ones added up in the last. */
#define CONVERGENCE_ROUNDS_KEPT 32u

/* So many rounds, and so much time, without one that is smaller by a tenth
 * than the smallest before: these are all alike. */
#define CONVERGENCE_STUCK_ROUNDS 4u
#define CONVERGENCE_STUCK_NS     (2 * UINT64_C(1000000000))

/* QEMU's default for max-cpu-throttle. */
#define CONVERGENCE_THROTTLE_MAX 99u

struct convergence_round {
    uint64_t bytes; /* of the stream */
    uint64_t ns;
};

/* What query-migrate tells of a migration under way; 0 where it does not. */
struct convergence_sample {
    uint64_t remaining_bytes;
    uint64_t bytes_per_s;
    uint64_t expected_downtime_ms;
    unsigned throttle_percent; /* of its time that the guest is held back */
};

struct convergence {
    unsigned throttle_max; /* 0: the guest must not be throttled */
    bool relaxed;          /* the limit is as high as it gets */

    struct convergence_round rounds[CONVERGENCE_ROUNDS_KEPT];
    unsigned n_kept;
    unsigned n_rounds; /* ended ones */
    bool in_round;
    uint64_t round_begun_ns;
    uint64_t round_begun_bytes;

    uint64_t last_round_bytes;
    uint64_t last_round_ns;
    /* Each page that is written counts once a round; 0 before two of them. */
    uint64_t dirty_bytes_per_s;

    uint64_t best_bytes;
    uint64_t changed_ns; /* a smaller round, a higher limit, more throttle */
    unsigned stuck;      /* rounds since then */

    struct convergence_sample last;
    unsigned throttle_peak;
};

enum convergence_verdict {
    CONVERGENCE_GOING = 0,
    CONVERGENCE_RELAX,    /* raise the limit, then tell convergence_relaxed() */
    CONVERGENCE_HOPELESS, /* it will not end within the budget */
};

/* QEMU's `downtime-limit` for our budget: a tenth, since it bounds an estimate
 * of the last pages alone; half of it for a guest that needs it. */
static inline uint64_t convergence_limit_ms(uint64_t budget_ms, bool relaxed)
{
    return MAX(budget_ms / (relaxed ? 2 : 10), UINT64_C(1));
}

/* No round yet. `throttle_max`: percent that QEMU may take of the guest's time,
 * 0 when the user does not want it. */
void convergence_init(struct convergence *c, unsigned throttle_max);

/* A round begins at `now_ns`, and the one before has ended; `bytes` is how
 * much of the stream has come until now. */
void convergence_round(struct convergence *c, uint64_t bytes, uint64_t now_ns);
/* The last one has ended. */
void convergence_end(struct convergence *c, uint64_t bytes, uint64_t now_ns);

/* Takes what an answer to query-migrate holds. */
void convergence_take(struct convergence *c, const json_t *migration,
                      uint64_t now_ns);
/* The limit was raised: it counts as a change, and is not asked for again. */
void convergence_relaxed(struct convergence *c, uint64_t now_ns);

/* What to do now; changes nothing, and may be asked at any time. */
enum convergence_verdict convergence_verdict(const struct convergence *c,
                                             uint64_t now_ns);

/* {"rounds": [{"bytes", "ms"}...], "dirty_bytes_per_s", "bytes_per_s",
 * "expected_downtime_ms", "throttle_percent"}; NULL without memory. */
json_t *convergence_json(const struct convergence *c);

#endif

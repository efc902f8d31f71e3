/*
 * fill_pace.h - how fast pages are sent that nobody waits for.
 *
 * Two wishes, both optional. A bandwidth is not exceeded. A bound in time is
 * held: the fill goes as gently as it allows, at the rate that is left to do by
 * the time that is left, with a tenth of the time kept in hand. With both, the
 * bandwidth holds as long as the bound allows it. With neither, there is no
 * limit. What is asked for is counted and never waits. Pure; one thread.
 */
#ifndef FIRN_RESTORE_PAGES_FILL_PACE_H
#define FIRN_RESTORE_PAGES_FILL_PACE_H

#include "core/base/token_bucket.h"

struct fill_pace {
    uint64_t max_bytes_per_s; /* 0: none */
    uint64_t settle_by_ns;    /* 0: none */
    struct token_bucket bucket;
    uint64_t due_ns; /* the next piece may go */
};

/* No bound yet: the bandwidth alone, from the first byte. */
void fill_pace_init(struct fill_pace *p, uint64_t max_bytes_per_s);
/* From `now_ns` on everything must be there within `settle_ns` (0: no bound).
 */
void fill_pace_begin(struct fill_pace *p, uint64_t settle_ns, uint64_t now_ns);
/* Bytes were sent, and `left` are still to be. */
void fill_pace_sent(struct fill_pace *p, uint64_t bytes, bool urgent,
                    uint64_t left, uint64_t now_ns);
/* When the next piece may go; not later than now: at once. */
static inline uint64_t fill_pace_due_ns(const struct fill_pace *p)
{
    return p->due_ns;
}

#endif

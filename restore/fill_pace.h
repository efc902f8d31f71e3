/*
 * fill_pace.h - how fast pages are sent that nobody waits for.
 *
 * Two wishes, both optional. A bandwidth is not exceeded. A bound in time is
 * held: the fill goes as gently as it allows, at the rate that is left to do by
 * the time that is left, with a tenth of the time kept in hand. With both, the
 * bandwidth holds as long as the bound allows it. With neither, there is no
 * limit. What is asked for is counted and never waits.
 *
 * Without a bound the fill also *rests* for two milliseconds behind each
 * request: the next one follows soon, and should find an empty socket. What is
 * filled in meanwhile nobody has to ask for, so it would be missing in the
 * hints: while these are learnt it rests for twenty milliseconds. Rest is a
 * purse of two seconds that a quarter of the time that passes refills: a guest
 * that asks for ever is filled all the same. Pure; one thread.
 */
#ifndef FIRN_RESTORE_FILL_PACE_H
#define FIRN_RESTORE_FILL_PACE_H

#include "core/base/token_bucket.h"

struct fill_pace {
    uint64_t max_bytes_per_s; /* 0: none */
    uint64_t settle_by_ns;    /* 0: none */
    struct token_bucket bucket;
    uint64_t due_ns;        /* the next piece may go */
    uint64_t rest_ns;       /* behind a request */
    uint64_t rest_until_ns; /* and no piece of the fill before */
    uint64_t rest_left_ns;  /* in the purse, at `rest_seen_ns` */
    uint64_t rest_seen_ns;
};

void fill_pace_init(struct fill_pace *p, uint64_t max_bytes_per_s);
/* From `now_ns` on everything must be there within `settle_ns` (0: no bound).
 */
void fill_pace_begin(struct fill_pace *p, uint64_t settle_ns, uint64_t now_ns);
/* What is asked for from now on is news. */
void fill_pace_learn(struct fill_pace *p);
/* Somebody waits for a page. */
void fill_pace_asked(struct fill_pace *p, uint64_t now_ns);
/* Bytes were sent, and `left` are still to be. */
void fill_pace_sent(struct fill_pace *p, uint64_t bytes, bool urgent,
                    uint64_t left, uint64_t now_ns);
/* When the next piece may go; not later than now: at once. */
static inline uint64_t fill_pace_due_ns(const struct fill_pace *p)
{
    return p->due_ns;
}

#endif

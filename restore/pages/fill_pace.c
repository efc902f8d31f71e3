/*
 * fill_pace.c - a token bucket whose rate is set anew with every piece.
 *
 * With a bound in time the rate is what is left by the time that is left: work
 * that was faster makes the rest gentler, and requests, which are charged and
 * never wait, make it quicker. When the time is over, or nearly, there is no
 * limit at all: being late is worse than being rude.
 */
#include "restore/pages/fill_pace.h"

#include "core/base/clock.h"

void fill_pace_init(struct fill_pace *p, uint64_t max_bytes_per_s)
{
    *p = (struct fill_pace){.max_bytes_per_s = max_bytes_per_s};
    token_bucket_init(&p->bucket, max_bytes_per_s);
}

void fill_pace_begin(struct fill_pace *p, uint64_t settle_ns, uint64_t now_ns)
{
    if (settle_ns)
        p->settle_by_ns = now_ns + settle_ns - settle_ns / 10;
}

/* 0: no limit. */
/* The bandwidth gives way to the bound: the greater of the two counts. */
static uint64_t rate_now(const struct fill_pace *p, uint64_t left,
                         uint64_t now_ns)
{
    double needed;

    if (!p->settle_by_ns || left == 0)
        return p->max_bytes_per_s;
    if (now_ns >= p->settle_by_ns)
        return 0;
    needed =
        (double)left * (double)NS_PER_SEC / (double)(p->settle_by_ns - now_ns);
    if (needed >= (double)(UINT64_C(1) << 50))
        return 0;
    return MAX(p->max_bytes_per_s, (uint64_t)needed + 1);
}

void fill_pace_sent(struct fill_pace *p, uint64_t bytes, bool urgent,
                    uint64_t left, uint64_t now_ns)
{
    p->bucket.bytes_per_s = rate_now(p, left, now_ns);
    if (urgent)
        token_bucket_take_urgent(&p->bucket, bytes, now_ns);
    else
        p->due_ns = now_ns + token_bucket_take(&p->bucket, bytes, now_ns);
}

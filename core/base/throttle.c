/*
 * throttle.c - a token bucket, a clock and a wait that can be ended.
 *
 * The bucket says when the caller's next piece is due; the wait until then is
 * cut into short ones, since open() is only a flag and has nobody to wake: who
 * waits when the VM stops goes on within LOOK_AGAIN_NS.
 */
#include "core/base/throttle.h"

#include "core/base/clock.h"

/* Who waits looks so often whether it still has to. */
#define LOOK_AGAIN_NS (5 * NS_PER_MS)

void throttle_init(struct throttle *t, uint64_t bytes_per_s)
{
    token_bucket_init(&t->bucket, bytes_per_s);
    t->open = false;
}

int throttle_take(struct throttle *t, uint64_t bytes, struct stopper *stop,
                  struct error *err)
{
    uint64_t now, end;

    if (!t->bucket.bytes_per_s || t->open)
        return 0;
    now = clock_monotonic_ns();
    end = now + token_bucket_take(&t->bucket, bytes, now);
    while (now < end && !t->open) {
        int rc = stopper_wait(stop, -1, 0, MIN(end, now + LOOK_AGAIN_NS), err);

        if (rc < 0 && (rc != ERR_TIMEOUT || stopper_pulled(stop)))
            return rc;
        now = clock_monotonic_ns();
    }
    return 0;
}

void throttle_take_urgent(struct throttle *t, uint64_t bytes)
{
    if (t->bucket.bytes_per_s && !t->open)
        token_bucket_take_urgent(&t->bucket, bytes, clock_monotonic_ns());
}

void throttle_open(struct throttle *t)
{
    t->open = true;
}

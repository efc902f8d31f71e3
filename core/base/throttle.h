/*
 * throttle.h - threads that keep to one bandwidth between them, and the urgent
 * ones that do not wait.
 *
 * A token bucket with a clock. open() ends the limit for good, for those who
 * are waiting as well: from then on everything is urgent (a VM stands still).
 * All functions by any thread, but for init().
 */
#ifndef FIRN_CORE_BASE_THROTTLE_H
#define FIRN_CORE_BASE_THROTTLE_H

#include "core/base/stopper.h"
#include "core/base/token_bucket.h"

struct throttle {
    struct token_bucket bucket;
    _Atomic bool open;
};

/* `bytes_per_s` 0: no limit, and nothing here costs anything. */
void throttle_init(struct throttle *t, uint64_t bytes_per_s);

/* To be called behind each piece: waits until the next one is due. Returns 0,
 * or the stopper's code. */
int throttle_take(struct throttle *t, uint64_t bytes, struct stopper *stop,
                  struct error *err) NODISCARD;
/* Counts and does not wait. */
void throttle_take_urgent(struct throttle *t, uint64_t bytes);
/* No limit from now on; nothing closes it again. */
void throttle_open(struct throttle *t);

#endif

/*
 * token_bucket.h - so many bytes a second, shared by any number of threads.
 * Pure: the time is given in.
 *
 * Whoever takes bytes gets them at once and is told how long to wait before it
 * takes more; so a piece may be larger than the bucket. What was not used is
 * kept for TOKEN_BUCKET_BURST_NS, no longer. Urgent work charges its bytes and
 * does not wait: the others give way, for TOKEN_BUCKET_DEBT_NS at most. One
 * atomic word is all that is shared: no lock, any thread.
 */
#ifndef FIRN_CORE_BASE_TOKEN_BUCKET_H
#define FIRN_CORE_BASE_TOKEN_BUCKET_H

#include <stdatomic.h>

#include "core/base/compiler.h"

#define TOKEN_BUCKET_BURST_NS UINT64_C(250000000)
#define TOKEN_BUCKET_DEBT_NS  UINT64_C(1000000000)

struct token_bucket {
    uint64_t bytes_per_s;    /* 0: no limit; read only */
    _Atomic uint64_t due_ns; /* all that was taken is paid for then */
};

/* Before it is shared; 0: take() never makes anybody wait. */
void token_bucket_init(struct token_bucket *b, uint64_t bytes_per_s);

/* Takes `bytes`, and returns how many ns from `now_ns` (monotonic) the caller
 * has to wait before it takes more; 0: not at all. */
uint64_t token_bucket_take(struct token_bucket *b, uint64_t bytes,
                           uint64_t now_ns) NODISCARD;
/* Takes them for work that waits for nobody. */
void token_bucket_take_urgent(struct token_bucket *b, uint64_t bytes,
                              uint64_t now_ns);

#endif

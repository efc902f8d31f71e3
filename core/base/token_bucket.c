/*
 * token_bucket.c - the bucket as one point in time.
 *
 * Instead of counting tokens and refilling them, the bucket knows when all that
 * was taken will have been paid for (`due_ns`). Taking moves that point on by
 * the price of the bytes; how far it lies ahead is how long the taker waits. A
 * point far in the past would be unused credit, so it counts as at most
 * TOKEN_BUCKET_BURST_NS ago. One word, moved by compare-and-swap, is the whole
 * state.
 */
#include "core/base/token_bucket.h"

#include "core/base/clock.h"

void token_bucket_init(struct token_bucket *b, uint64_t bytes_per_s)
{
    b->bytes_per_s = bytes_per_s;
    b->due_ns = 0;
}

/* Split, so that nothing is cut off; nobody waits longer than eleven days. */
static uint64_t cost_ns(const struct token_bucket *b, uint64_t bytes)
{
    uint64_t s = bytes / b->bytes_per_s;
    uint64_t rest = bytes % b->bytes_per_s;
    double part_ns = (double)rest * (double)NS_PER_SEC / (double)b->bytes_per_s;

    return MIN(s, UINT64_C(1000000)) * NS_PER_SEC + (uint64_t)part_ns;
}

static uint64_t charge(struct token_bucket *b, uint64_t bytes, uint64_t now_ns,
                       uint64_t debt_max_ns)
{
    uint64_t oldest_ns = now_ns - MIN(now_ns, TOKEN_BUCKET_BURST_NS);
    uint64_t cost = cost_ns(b, bytes);
    uint64_t due = b->due_ns;
    uint64_t next;

    assert(b->bytes_per_s > 0); /* no limit never comes here */
    do {
        next = MAX(due, oldest_ns) + cost;
        if (debt_max_ns && next > now_ns + debt_max_ns)
            next = MAX(due, now_ns + debt_max_ns);
    } while (!atomic_compare_exchange_weak(&b->due_ns, &due, next));
    return next > now_ns ? next - now_ns : 0;
}

uint64_t token_bucket_take(struct token_bucket *b, uint64_t bytes,
                           uint64_t now_ns)
{
    return b->bytes_per_s ? charge(b, bytes, now_ns, 0) : 0;
}

void token_bucket_take_urgent(struct token_bucket *b, uint64_t bytes,
                              uint64_t now_ns)
{
    if (b->bytes_per_s)
        charge(b, bytes, now_ns, TOKEN_BUCKET_DEBT_NS);
}

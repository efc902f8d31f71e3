/*
 * plan.c - a capture in numbers, round by round.
 *
 * The first round sends everything with content, each later one what was
 * written meanwhile, until the rest fits the limit; a guest that writes faster
 * than it is sent makes the series grow, which is what `converges` tells. What
 * a round stores is less than what it sends, by the share that earlier captures
 * of the VM had; without any, by a share that first captures typically have.
 */
#include "snapshot/plan.h"

#include "core/base/clock.h"

#define ROUNDS_MAX 64u

/* A capture lasts at least so long beyond what is fixed. */
#define LEAST_MS 50u

static uint64_t ms_for(uint64_t bytes, uint64_t bytes_per_s)
{
    return (uint64_t)((double)bytes * 1000 / (double)bytes_per_s);
}

static void predict_background(const struct plan_question *q,
                               struct plan_answer *ret)
{
    uint64_t pace = MIN(q->bytes_per_s, PLAN_BACKGROUND_BYTES_PER_S);

    ret->converges = true;
    ret->rounds = 1;
    ret->read_bytes = q->content_bytes;
    ret->duration_ms = PLAN_FIXED_MS + ms_for(q->content_bytes, pace);
    ret->downtime_ms = q->running ? PLAN_BACKGROUND_PAUSE_MS : 0;
}

/* What is left when QEMU stops the VM; more than the limit allows when it
 * would never do so. */
static uint64_t follow_rounds(const struct plan_question *q, uint64_t limit_ms,
                              struct plan_answer *ret)
{
    uint64_t most = q->bytes_per_s / 1000 * limit_ms;
    uint64_t left = q->content_bytes;

    for (ret->rounds = 1; ret->rounds < ROUNDS_MAX; ret->rounds++) {
        uint64_t ms = ms_for(left, q->bytes_per_s);
        double written = (double)q->dirty_bytes_per_s * (double)ms / 1000;
        uint64_t dirty = written < (double)q->content_bytes ? (uint64_t)written
                                                            : q->content_bytes;

        ret->read_bytes += left;
        ret->duration_ms += ms;
        if (dirty <= most)
            return dirty;
        if (ret->rounds > 1 && dirty / 9 * 10 >= left)
            return dirty;
        left = dirty;
    }
    return left;
}

static void predict_stream(const struct plan_question *q,
                           struct plan_answer *ret)
{
    for (int relaxed = 0; relaxed < 2 && !ret->converges; relaxed++) {
        uint64_t limit_ms = convergence_limit_ms(q->max_downtime_ms, relaxed);
        uint64_t left;

        *ret = (struct plan_answer){.duration_ms = PLAN_FIXED_MS};
        left = follow_rounds(q, limit_ms, ret);
        ret->converges = left <= q->bytes_per_s / 1000 * limit_ms;
        ret->read_bytes += left;
        ret->downtime_ms =
            q->running ? PLAN_PAUSE_MS + ms_for(left, q->bytes_per_s) : 0;
    }
    ret->duration_ms += ret->downtime_ms;
}

void plan_predict(const struct plan_question *q, struct plan_answer *ret)
{
    *ret = (struct plan_answer){0};
    if (q->mode == SNAPSHOT_BACKGROUND)
        predict_background(q, ret);
    else
        predict_stream(q, ret);
    ret->stored_bytes =
        PLAN_OBJECT_BYTES + q->new_bytes +
        (uint64_t)((double)(ret->read_bytes -
                            MIN(ret->read_bytes, q->content_bytes)) *
                   q->share);
}

static void take(struct plan_history *h, const struct snapshot_summary *s)
{
    uint64_t written = s->pages_stored * PAGE_BYTES;

    h->seen_twice = h->known;
    h->known = true;
    h->time_ns = s->time_ns;
    h->content_bytes =
        (s->pages_total - MIN(s->pages_zero, s->pages_total)) * PAGE_BYTES;
    h->new_bytes = s->stored_bytes;
    /* A snapshot of nothing new still stores its own object. */
    if (written >= UINT64_C(1) << 20)
        h->share = MIN((double)s->stored_bytes / (double)written, 1.0);
    if (strcmp(s->mode, "stream") == 0)
        h->bytes_per_s =
            h->content_bytes * 1000 /
            (MAX(s->duration_ms, PLAN_FIXED_MS + LEAST_MS) - PLAN_FIXED_MS);
}

uint64_t plan_pace(uint64_t content_bytes, uint64_t fresh_bytes,
                   uint64_t bytes_per_s)
{
    uint64_t fresh = MIN(fresh_bytes, content_bytes);
    double s = (double)fresh / (double)MAX(bytes_per_s, 1) +
               (double)(content_bytes - fresh) / (double)PLAN_QEMU_BYTES_PER_S;

    return s > 0 ? (uint64_t)((double)content_bytes / s)
                 : PLAN_QEMU_BYTES_PER_S;
}

void plan_history_of(const struct snapshot_summary *all, size_t n,
                     const char *vm, struct plan_history *ret)
{
    *ret = (struct plan_history){.share = PLAN_FIRST_SHARE};
    for (size_t i = 0; i < n; i++) {
        if (strcmp(all[i].vm, vm) == 0)
            take(ret, &all[i]);
    }
}

#include "snapshot/convergence.h"

#include "core/base/clock.h"

/* QEMU looks at its bitmap twice in a row, before the VM stops and behind it:
 * no round lies between. */
#define NO_ROUND_NS (5 * NS_PER_MS)

void convergence_init(struct convergence *c, unsigned throttle_max)
{
    *c = (struct convergence){
        .throttle_max = throttle_max,
        .best_bytes = UINT64_MAX,
    };
}

/* Something is better than before: the patience begins anew. */
static void progressed(struct convergence *c, uint64_t now_ns)
{
    c->changed_ns = now_ns;
    c->stuck = 0;
}

/* A round sends what was written during the one before. Rounds differ, later
 * ones count for more. */
static void rate(struct convergence *c, uint64_t bytes, uint64_t ns)
{
    uint64_t now_per_s = 0;

    if (c->last_round_ns > 0)
        now_per_s = (uint64_t)((double)bytes * (double)NS_PER_SEC /
                               (double)c->last_round_ns);
    c->last_round_ns = ns;
    c->last_round_bytes = bytes;
    c->dirty_bytes_per_s = c->n_rounds <= 2
                               ? now_per_s
                               : (c->dirty_bytes_per_s * 3 + now_per_s) / 4;
}

static void keep(struct convergence *c, uint64_t bytes, uint64_t ns)
{
    struct convergence_round *last = &c->rounds[CONVERGENCE_ROUNDS_KEPT - 1];

    c->n_rounds++;
    rate(c, bytes, ns);
    if (c->n_kept < CONVERGENCE_ROUNDS_KEPT) {
        c->rounds[c->n_kept++] = (struct convergence_round){bytes, ns};
        return;
    }
    last->bytes += bytes;
    last->ns += ns;
}

static void end_round(struct convergence *c, uint64_t bytes, uint64_t now_ns)
{
    uint64_t sent = bytes - MIN(c->round_begun_bytes, bytes);

    if (!c->in_round)
        return;
    c->in_round = false;
    keep(c, sent, now_ns - MIN(c->round_begun_ns, now_ns));
    if (sent / 9 * 10 < c->best_bytes) {
        c->best_bytes = sent;
        progressed(c, now_ns);
    } else {
        c->stuck++;
    }
}

void convergence_round(struct convergence *c, uint64_t bytes, uint64_t now_ns)
{
    if (!c->in_round && c->n_rounds == 0)
        progressed(c, now_ns);
    if (c->in_round && now_ns < c->round_begun_ns + NO_ROUND_NS)
        return;
    end_round(c, bytes, now_ns);
    c->in_round = true;
    c->round_begun_ns = now_ns;
    c->round_begun_bytes = bytes;
}

void convergence_end(struct convergence *c, uint64_t bytes, uint64_t now_ns)
{
    end_round(c, bytes, now_ns);
}

static uint64_t number(const json_t *object, const char *path)
{
    int64_t value = json_path_int(object, path, 0);

    return value > 0 ? (uint64_t)value : 0;
}

void convergence_take(struct convergence *c, const json_t *migration,
                      uint64_t now_ns)
{
    double mbps = json_number_value(json_path(migration, "ram.mbps"));

    c->last = (struct convergence_sample){
        .remaining_bytes = number(migration, "ram.remaining"),
        .bytes_per_s = mbps > 0 && mbps < 1e12 ? (uint64_t)(mbps * 125000) : 0,
        .expected_downtime_ms = number(migration, "expected-downtime"),
        .throttle_percent = (unsigned)MIN(
            number(migration, "cpu-throttle-percentage"), UINT64_C(100)),
    };
    if (c->last.throttle_percent <= c->throttle_peak)
        return;
    c->throttle_peak = c->last.throttle_percent;
    progressed(c, now_ns);
}

void convergence_relaxed(struct convergence *c, uint64_t now_ns)
{
    c->relaxed = true;
    progressed(c, now_ns);
}

enum convergence_verdict convergence_verdict(const struct convergence *c,
                                             uint64_t now_ns)
{
    if (c->stuck < CONVERGENCE_STUCK_ROUNDS ||
        now_ns - MIN(c->changed_ns, now_ns) < CONVERGENCE_STUCK_NS)
        return CONVERGENCE_GOING;
    if (!c->relaxed)
        return CONVERGENCE_RELAX;
    if (c->throttle_peak < c->throttle_max)
        return CONVERGENCE_GOING;
    return CONVERGENCE_HOPELESS;
}

static json_t *rounds_json(const struct convergence *c)
{
    cleanup_json json_t *list = json_array();

    for (unsigned i = 0; list && i < c->n_kept; i++) {
        const struct convergence_round *r = &c->rounds[i];

        if (json_array_append_new(
                list, json_pack("{s:I, s:I}", "bytes", (json_int_t)r->bytes,
                                "ms", (json_int_t)(r->ns / NS_PER_MS))) < 0)
            return NULL;
    }
    return steal_ptr(&list);
}

json_t *convergence_json(const struct convergence *c)
{
    return json_pack("{s:o, s:I, s:I, s:I, s:i}", "rounds", rounds_json(c),
                     "dirty_bytes_per_s", (json_int_t)c->dirty_bytes_per_s,
                     "bytes_per_s", (json_int_t)c->last.bytes_per_s,
                     "expected_downtime_ms",
                     (json_int_t)c->last.expected_downtime_ms,
                     "throttle_percent", (int)c->throttle_peak);
}

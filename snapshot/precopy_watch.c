#include "snapshot/precopy_watch.h"

#include <inttypes.h>

#include "core/base/clock.h"

#define LOG_AREA "precopy"
#include "core/base/log.h"

/* How often QEMU is asked: at least, and at most. */
#define ASK_NS      (500 * NS_PER_MS)
#define ASK_SOON_NS (100 * NS_PER_MS)

/* A pause over the budget is told and the snapshot kept; one that is so many
 * times longer, and this long at least, does not look as if it would end. */
#define ENDLESS_TIMES 20u
#define ENDLESS_NS    (10 * NS_PER_SEC)

void precopy_watch_init(struct precopy_watch *w, struct qemu_source *source,
                        uint64_t budget_ms, bool auto_converge, uint64_t now_ns)
{
    int64_t most = json_path_int(source->settings.parameters,
                                 "max-cpu-throttle", CONVERGENCE_THROTTLE_MAX);

    *w = (struct precopy_watch){
        .source = source, .budget_ms = budget_ms, .rounds_seen = 1};
    convergence_init(&w->convergence,
                     auto_converge ? (unsigned)MAX(1, MIN(most, 99)) : 0);
    convergence_round(&w->convergence, 0, now_ns);
}

static void look_at_rounds(struct precopy_watch *w, uint64_t bytes,
                           uint64_t now_ns)
{
    const struct convergence *c = &w->convergence;
    unsigned known = c->n_rounds;

    if (w->source->rounds <= w->rounds_seen)
        return;
    w->rounds_seen = w->source->rounds;
    convergence_round(&w->convergence, bytes, now_ns);
    w->ask_soon = true;
    if (c->n_rounds > known)
        log_info("round %u: %" PRIu64 " KiB in %" PRIu64
                 " ms; the guest writes %" PRIu64 " KiB/s, held back %u %%",
                 c->n_rounds, c->last_round_bytes >> 10,
                 c->last_round_ns / NS_PER_MS, c->dirty_bytes_per_s >> 10,
                 c->last.throttle_percent);
}

static bool is_time_to_ask(const struct precopy_watch *w, uint64_t now_ns)
{
    return strcmp(w->source->status, "active") == 0 &&
           now_ns - w->asked_ns >= (w->ask_soon ? ASK_SOON_NS : ASK_NS);
}

static int ask(struct precopy_watch *w, uint64_t now_ns, struct error *err)
{
    cleanup_json json_t *answer = NULL;
    int rc = qemu_source_ask(w->source, &answer, err);

    if (rc < 0)
        return rc;
    w->asked_ns = now_ns;
    w->ask_soon = false;
    convergence_take(&w->convergence, answer, now_ns);
    /* It may have stopped the VM before it answered. */
    return qemu_source_follow(w->source, err);
}

static int relax(struct precopy_watch *w, uint64_t now_ns, struct error *err)
{
    uint64_t limit_ms = convergence_limit_ms(w->budget_ms, true);

    log_info("the rounds do not get smaller: downtime limit %" PRIu64 " ms",
             limit_ms);
    convergence_relaxed(&w->convergence, now_ns);
    return qemu_settings_limit_downtime(&w->source->settings, limit_ms, err);
}

static int give_up(const struct precopy_watch *w, struct error *err)
{
    const struct convergence *c = &w->convergence;

    fail(err, ERR_BUDGET,
         "the guest writes faster than its memory is read: round %u sent "
         "%" PRIu64 " KiB again, at %" PRIu64
         " KiB/s, and rounds do not get smaller; it would stand still for "
         "longer than the %" PRIu64 " ms allowed, so it was not stopped",
         c->n_rounds, c->last_round_bytes >> 10, c->last.bytes_per_s >> 10,
         w->budget_ms);
    if (c->throttle_max)
        return error_hint(err, "the guest was held back as far as QEMU does; "
                               "--mode background, a larger --max-downtime or "
                               "--max-bandwidth, or a quieter moment helps");
    return error_hint(err,
                      "--mode background, --auto-converge (QEMU slows the "
                      "guest), a larger --max-downtime or --max-bandwidth, or "
                      "a quieter moment helps");
}

static int look_at_pause(struct precopy_watch *w, uint64_t now_ns,
                         struct error *err)
{
    uint64_t patience_ns =
        MAX(w->budget_ms * ENDLESS_TIMES * NS_PER_MS, ENDLESS_NS);

    if (!w->stopped_ns)
        w->stopped_ns = now_ns;
    if (w->source->resumed || now_ns - w->stopped_ns < patience_ns)
        return 0;
    fail(err, ERR_BUDGET,
         "the VM has stood still for %" PRIu64
         " s for its last pages, and they do not come to an end: given up",
         (now_ns - w->stopped_ns) / NS_PER_SEC);
    return error_hint(err, "look at the host's load and at the VM's disks, "
                           "which QEMU flushes in the pause");
}

int precopy_watch_look(struct precopy_watch *w, uint64_t bytes, uint64_t now_ns,
                       struct error *err)
{
    int rc = 0;

    if (w->source->mode != SNAPSHOT_STREAM || !w->source->started ||
        w->source->ended)
        return 0;
    look_at_rounds(w, bytes, now_ns);
    if (w->source->stop_ns)
        return look_at_pause(w, now_ns, err);
    if (is_time_to_ask(w, now_ns))
        rc = ask(w, now_ns, err);
    if (rc < 0 || w->source->stop_ns)
        return rc;
    switch (convergence_verdict(&w->convergence, now_ns)) {
    case CONVERGENCE_RELAX:
        return relax(w, now_ns, err);
    case CONVERGENCE_HOPELESS:
        return give_up(w, err);
    case CONVERGENCE_GOING:
        break;
    }
    return 0;
}

void precopy_watch_end(struct precopy_watch *w, uint64_t bytes, uint64_t now_ns)
{
    convergence_end(&w->convergence, bytes, now_ns);
}

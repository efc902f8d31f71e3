/*
 * stage_clock.c - a stop watch with a hand for each stage.
 *
 * It reads the thread's own clock at each change of stage and books what passed
 * on the stage that ends: the sum over stages is exact whatever the changes
 * were, and a thread that sleeps books nothing. enter() answers the stage
 * before, so that a function can time itself and put back what its caller was
 * doing.
 */
#include "core/base/stage_clock.h"

#include "core/base/clock.h"

const char *cpu_stage_name(enum cpu_stage stage)
{
    static const char *const names[] = {
        [CPU_RECEIVE] = "receive", [CPU_ZERO] = "zero",
        [CPU_HASH] = "hash",       [CPU_COMPRESS] = "compress",
        [CPU_WRITE] = "write",     [CPU_INDEX] = "index",
        [CPU_OTHER] = "other",
    };

    static_assert(ARRAY_LEN(names) == CPU_STAGES, "a name a stage");
    assert(stage < CPU_STAGES);
    return names[stage];
}

enum cpu_stage stage_clock_enter(struct stage_clock *c, enum cpu_stage stage)
{
    enum cpu_stage before = c ? c->stage : CPU_STAGES;
    uint64_t now;

    assert(stage <= CPU_STAGES); /* CPU_STAGES: it stands */
    if (!c || before == stage)
        return before;
    now = clock_thread_cpu_ns();
    if (before != CPU_STAGES)
        c->spent.ns[before] += now - c->since_ns;
    c->stage = stage;
    c->since_ns = now;
    return before;
}

void cpu_stages_add(struct cpu_stages *sum, const struct cpu_stages *more)
{
    for (unsigned i = 0; i < CPU_STAGES; i++)
        sum->ns[i] += more->ns[i];
}

uint64_t cpu_stages_total(const struct cpu_stages *s)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < CPU_STAGES; i++)
        total += s->ns[i];
    return total;
}

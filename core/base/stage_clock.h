/*
 * stage_clock.h - where a capture's processor time goes, by stages.
 *
 * A thread that does several kinds of work keeps one clock and says when it
 * goes from one to the next: once a batch of pages, not once a page, for
 * asking the system takes a few hundred ns. Time is that of the thread on a
 * processor, so that neither waiting nor other processes count. A clock is for
 * one thread at a time; sums are the owner's business.
 */
#ifndef FIRN_CORE_BASE_STAGE_CLOCK_H
#define FIRN_CORE_BASE_STAGE_CLOCK_H

#include "core/base/compiler.h"

enum cpu_stage {
    CPU_RECEIVE = 0, /* from the socket or the spool into packets */
    CPU_ZERO,        /* which pages are all zero */
    CPU_HASH,        /* content hashes and checksums of frames */
    CPU_COMPRESS,    /* pages into frames */
    CPU_WRITE,       /* frames into files: copies, system calls, syncs */
    CPU_INDEX,       /* what is known, which place counts, segments */
    CPU_OTHER,       /* QMP, decisions, the rest of the process */
    CPU_STAGES,
};

struct cpu_stages {
    uint64_t ns[CPU_STAGES];
};

struct stage_clock {
    struct cpu_stages spent;
    enum cpu_stage stage; /* CPU_STAGES while it stands */
    uint64_t since_ns;    /* on the thread's own clock */
};

#define STAGE_CLOCK_INIT ((struct stage_clock){.stage = CPU_STAGES})

/* "receive", "zero", ...: names in JSON and in the snapshot; never change. */
const char *cpu_stage_name(enum cpu_stage stage);

/* From here on `stage` is what time is spent on; answers what it was, so that
 * a callee can put it back. CPU_STAGES stops the clock. `c` may be NULL. */
enum cpu_stage stage_clock_enter(struct stage_clock *c, enum cpu_stage stage);

/* `sum` += `more`, stage by stage. Neither belongs to a clock that still
 * runs. */
void cpu_stages_add(struct cpu_stages *sum, const struct cpu_stages *more);
/* All stages together, in ns of processor time. */
uint64_t cpu_stages_total(const struct cpu_stages *s);

#endif

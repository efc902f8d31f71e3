/*
 * fake_store.h - the snapshot writer's door, in memory, linked in its place.
 *
 * Keeps the newest content of each page, checks that nobody breaks the door's
 * rules (one thread a lane, a page once a batch, blocks first), and fails when
 * told. One writer at a time; the plan and the results are the process's.
 */
#ifndef FIRN_TESTS_FAKES_FAKE_STORE_H
#define FIRN_TESTS_FAKES_FAKE_STORE_H

#include "storage/snapshot_writer.h"

struct fake_store {
    /* the plan: set before the capture */
    unsigned fail_put_at; /* this put (from 1) and all later ones; 0: none */
    int fail_put_code;
    int fail_commit_code; /* 0: none */

    /* the results */
    unsigned puts;
    unsigned lanes;
    unsigned busiest; /* lanes seen at work at once */
    unsigned commits;
    unsigned open; /* writers made and not yet freed */
    uint64_t unseen;
    uint64_t spent_ns[CPU_STAGES]; /* told by threads that are no lanes */
    char broken[128]; /* a rule of the door that was broken; "": none */
    struct snapshot_summary summary;
    json_t *facts;
    char vm[256];
};

extern struct fake_store fake_store;

void fake_store_reset(void);

/* The content of a page; NULL: never put. Until the next reset. */
const uint8_t *fake_store_page(uint32_t block, pgno_t pgno);
uint32_t fake_store_block(const char *idstr);

#endif

/*
 * fault_calls.h - the n-th call of a kind kills the process, or fails.
 *
 * The calls are wrapped by the linker (see meson.build); each test program
 * that links this is made so.
 */
#ifndef FIRN_TESTS_STORAGE_FAULT_CALLS_H
#define FIRN_TESTS_STORAGE_FAULT_CALLS_H

#include <stdbool.h>

enum { CALL_IO = 1, CALL_REMOVE = 2, CALL_MEMORY = 4 };

struct fault {
    unsigned which; /* calls that count; 0: off */
    unsigned left;
    int fail_errno; /* 0: kill */
    bool for_good;  /* all later calls fail as well */
    bool reached;
};

extern struct fault fault;

/* The n-th call of `which` from now on fails with an errno, or kills (0). */
void fault_arm(unsigned which, unsigned n, int fail_errno);

#endif

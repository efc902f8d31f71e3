/*
 * fuzz.h - what a fuzz entry is: one function that takes any bytes.
 *
 * libFuzzer calls it (option `fuzz`), or replay.c with the seeds and changes of
 * them. An entry crashes or calls abort() when a promise is broken; errors that
 * a decoder returns are what it is for.
 */
#ifndef FIRN_TESTS_FUZZ_FUZZ_H
#define FIRN_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Like assert(), in every build, and not by cmocka. */
#define promise(condition)                                                     \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, \
                    #condition);                                               \
            abort();                                                           \
        }                                                                      \
    } while (0)

#endif

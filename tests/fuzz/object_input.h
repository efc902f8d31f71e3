/*
 * object_input.h - fuzz input as a file of a folder in memory.
 */
#ifndef FIRN_TESTS_FUZZ_OBJECT_INPUT_H
#define FIRN_TESTS_FUZZ_OBJECT_INPUT_H

#include <stddef.h>
#include <stdint.h>

/* A folder of this process, made at the first call and removed at exit. */
int object_input_folder(void);

/* Puts the bytes there as `name` ("ab/…" makes the folder too). */
void object_input_put(const char *name, const void *data, size_t len);

#endif

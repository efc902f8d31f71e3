/*
 * scratch.h - a folder for one test, and whole files in and out of it.
 */
#ifndef FIRN_TESTS_STORAGE_SCRATCH_H
#define FIRN_TESTS_STORAGE_SCRATCH_H

#include "core/base/buf.h"

struct scratch {
    char path[64]; /* of the folder */
    char repo[80]; /* "<path>/repo", not made */
};

/* In memory (/dev/shm) where that is there: fsync costs nothing. */
void scratch_make(struct scratch *s);
void scratch_remove(struct scratch *s);

/* Removes everything in and at `path`. */
void scratch_remove_tree(const char *path);

/* Every plain file below `path`, by name from there, sorted. */
struct scratch_files {
    char (*names)[128];
    size_t n;
};
void scratch_files_list(const char *path, struct scratch_files *ret);
void scratch_files_release(struct scratch_files *f);

void scratch_read(const char *folder, const char *name, struct buf *ret);
void scratch_write(const char *folder, const char *name, const void *data,
                   size_t len);

#endif

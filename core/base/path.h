/*
 * path.h - names of files, and putting a file in place whole. Any thread.
 */
#ifndef FIRN_CORE_BASE_PATH_H
#define FIRN_CORE_BASE_PATH_H

#include "core/base/buf.h"

/* "a/b" as a new string; the caller frees. */
int path_join(const char *folder, const char *name, char **ret,
              struct error *err) NODISCARD;

/* A whole file of at most `max` bytes, relative to `dirfd` (or AT_FDCWD),
 * behind what `ret` holds. ERR_NOTFOUND: no such file; ERR_INVALID: longer. */
int path_read_file(int dirfd, const char *name, size_t max, struct buf *ret,
                   struct error *err) NODISCARD;

/* All of `len` bytes at `offset`, whatever the kernel takes in one go. */
int path_write_at(int fd, const void *data, size_t len, uint64_t offset,
                  struct error *err) NODISCARD;
/* Exactly `len` bytes; ERR_CORRUPT when the file ends before. */
int path_read_at(int fd, void *data, size_t len, uint64_t offset,
                 struct error *err) NODISCARD;

/* fsync of a folder, so that names linked into it survive a crash. */
int path_sync_folder(int dirfd, struct error *err) NODISCARD;

/*
 * Gives the unnamed file `fd` (O_TMPFILE) the name `name` in `dirfd`.
 * ERR_EXISTS when the name is taken. The caller has fsynced the file and
 * syncs the folder.
 */
int path_link_unnamed(int fd, int dirfd, const char *name,
                      struct error *err) NODISCARD;

#endif

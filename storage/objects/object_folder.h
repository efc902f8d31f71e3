/*
 * object_folder.h - immutable objects as files of one folder.
 *
 * An object is put whole or not at all: it is written to an unnamed file and
 * gets its name when it is complete and synced. Names are ids, a fixed number
 * of lower-case hex digits, checked before any path is built of them. With
 * `fan_out` an object lies in a folder named by the first two digits. Any
 * thread; the caller owns the structs and the folder's descriptor.
 */
#ifndef FIRN_STORAGE_OBJECTS_OBJECT_FOLDER_H
#define FIRN_STORAGE_OBJECTS_OBJECT_FOLDER_H

#include "core/base/cleanup.h"
#include "core/base/error.h"

#define OBJECT_ID_MAX 64u

struct object_folder {
    int dirfd;       /* borrowed */
    unsigned id_len; /* hex digits, 4 to OBJECT_ID_MAX */
    bool fan_out;    /* ab/abcdef… instead of abcdef… */
    bool no_unnamed; /* do without O_TMPFILE, for tests */
};

/* A file on its way to become an object. All of it is for this module alone,
 * but for `fd`, which is open for reading and writing. */
struct object_file {
    int fd;
    char temporary[48]; /* its hidden name; empty when it is unnamed */
    int dirfd;          /* where that name is; borrowed */
};

#define OBJECT_FILE_INIT ((struct object_file){.fd = -1})

/* ERR_INVALID unless `id` is `len` lower-case hex digits. */
int object_id_check(const char *id, unsigned len, struct error *err) NODISCARD;

/* An empty file (0600), without a name where the file system can do that. */
int object_file_create(const struct object_folder *folder,
                       struct object_file *ret, struct error *err) NODISCARD;
/* Closes; a file that was not linked is gone. */
void object_file_release(struct object_file *f);
/* Gives a complete and synced file its name and syncs the folders, so that it
 * survives a crash. ERR_EXISTS when the name is taken. */
int object_file_link(const struct object_folder *folder, struct object_file *f,
                     const char *id, struct error *err) NODISCARD;

/* Puts a complete and synced file with a hidden name (`no_unnamed`) in the
 * place of an object, at one instant, and syncs; the old one goes when the file
 * is released, or with a sweep. ERR_NOTFOUND when the object is gone: it does
 * not come back. ERR_UNSUPPORTED where the file system cannot exchange. */
int object_file_exchange(const struct object_folder *folder,
                         struct object_file *f, const char *id,
                         struct error *err) NODISCARD;

/* For reading. ERR_NOTFOUND when there is none. */
int object_open(const struct object_folder *folder, const char *id, int *ret_fd,
                struct error *err) NODISCARD;
/* Takes the name away and syncs. ERR_NOTFOUND when there is none. */
int object_remove(const struct object_folder *folder, const char *id,
                  struct error *err) NODISCARD;
/* Calls `visit` for each id, in no order; what does not look like an object is
 * passed over. A negative answer ends the walk and is returned. */
int object_list(const struct object_folder *folder,
                int (*visit)(void *arg, const char *id, struct error *err),
                void *arg, struct error *err) NODISCARD;
/* Removes the hidden files of processes that died: only those are left where
 * O_TMPFILE is missing. */
int object_sweep(const struct object_folder *folder, unsigned *ret_removed,
                 struct error *err) NODISCARD;

static inline UNUSED void cleanup_object_file_fn(struct object_file *f)
{
    object_file_release(f);
}

#endif

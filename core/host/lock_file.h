/*
 * lock_file.h - a name that one process at a time may hold. Any thread.
 *
 * The lock is flock(2)'s: it ends with the last process that has the
 * descriptor, however that ends, so that no stale lock needs a human. The file
 * says who holds it, and goes away when it is let go.
 */
#ifndef FIRN_CORE_HOST_LOCK_FILE_H
#define FIRN_CORE_HOST_LOCK_FILE_H

#include "core/base/cleanup.h"
#include "core/base/error.h"

struct lock_file {
    char *path; /* NULL: not held */
    int fd;     /* close-on-exec; a child that keeps it holds the lock too */
};

#define LOCK_FILE_NONE ((struct lock_file){.fd = -1})

/* Takes the lock at once or fails: ERR_LOCKED names the holder's pid. */
int lock_file_take(const char *path, struct lock_file *ret,
                   struct error *err) NODISCARD;
/* One that is not held is fine. */
void lock_file_release(struct lock_file *l);

#endif

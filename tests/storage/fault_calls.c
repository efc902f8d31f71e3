#include "tests/storage/fault_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/objects/ring.h"

struct fault fault;

void fault_arm(unsigned which, unsigned n, int fail_errno)
{
    fault.which = which;
    fault.left = n;
    fault.fail_errno = fail_errno;
    fault.for_good = false;
    fault.reached = false;
}

static bool strikes(unsigned which)
{
    if (!(fault.which & which) || (fault.left > 0 && --fault.left > 0))
        return false;
    if (!fault.for_good)
        fault.which = 0;
    fault.reached = true;
    if (!fault.fail_errno)
        kill(getpid(), SIGKILL);
    errno = fault.fail_errno;
    return true;
}

#define WRAP(which, type, bad, name, parameters, arguments)      \
    type __real_##name parameters;                               \
    type __wrap_##name parameters;                               \
    type __wrap_##name parameters                                \
    {                                                            \
        return strikes(which) ? (bad) : __real_##name arguments; \
    }

WRAP(CALL_IO, int, -1, fsync, (int fd), (fd))
WRAP(CALL_IO, int, -1, openat64,
     (int dirfd, const char *name, int flags, mode_t mode),
     (dirfd, name, flags, mode))
WRAP(CALL_IO, int, -1, mkdirat, (int dirfd, const char *name, mode_t mode),
     (dirfd, name, mode))
WRAP(CALL_IO, int, -1, linkat,
     (int from, const char *name, int to, const char *new, int flags),
     (from, name, to, new, flags))
WRAP(CALL_IO, ssize_t, -1, pwrite64,
     (int fd, const void *data, size_t len, off_t offset),
     (fd, data, len, offset))
WRAP(CALL_IO, ssize_t, -1, pread64,
     (int fd, void *data, size_t len, off_t offset), (fd, data, len, offset))
WRAP(CALL_REMOVE, int, -1, unlinkat, (int dirfd, const char *name, int flags),
     (dirfd, name, flags))
WRAP(CALL_IO, int, -1, renameat2,
     (int from, const char *name, int to, const char *new, unsigned flags),
     (from, name, to, new, flags))
WRAP(CALL_MEMORY, void *, NULL, malloc, (size_t n), (n))
WRAP(CALL_MEMORY, void *, NULL, calloc, (size_t n, size_t size), (n, size))
WRAP(CALL_MEMORY, void *, NULL, realloc, (void *p, size_t n), (p, n))

/* io_uring's writes: the buffer is given back, as after a failed write. */
int __real_ring_write(struct ring *r, int fd, uint8_t *buffer, size_t len,
                      uint64_t offset, struct error *err);
int __wrap_ring_write(struct ring *r, int fd, uint8_t *buffer, size_t len,
                      uint64_t offset, struct error *err);
int __wrap_ring_write(struct ring *r, int fd, uint8_t *buffer, size_t len,
                      uint64_t offset, struct error *err)
{
    if (strikes(CALL_IO)) {
        ring_give_buffer(r, buffer);
        return fail_errno(err, ERR_IO, "cannot write");
    }
    return __real_ring_write(r, fd, buffer, len, offset, err);
}

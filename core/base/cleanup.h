/*
 * cleanup.h - what a scope acquires, the scope releases.
 *
 * Declare with an initial value: `cleanup_free char *s = NULL;`. Handing a
 * resource over is visible: `return steal_ptr(&s);`, `*ret = steal_fd(&fd);`.
 * A module with its own type adds one line beside its prototype:
 * `DEFINE_CLEANUP(pack_writer, struct pack_writer *, pack_writer_free)` and is
 * then used as `cleanup(pack_writer) struct pack_writer *w = NULL;`.
 */
#ifndef FIRN_CORE_BASE_CLEANUP_H
#define FIRN_CORE_BASE_CLEANUP_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/compiler.h"

#define cleanup(name) __attribute__((cleanup(cleanup_##name##_fn)))

/* `free_fn` must accept NULL (or whatever the type's empty value is). */
#define DEFINE_CLEANUP(name, type, free_fn)                                    \
    static inline UNUSED void cleanup_##name##_fn(type *p)                     \
    {                                                                          \
        free_fn(*p);                                                           \
    }

static inline UNUSED void cleanup_free_fn(void *p)
{
    free(*(void **)p);
}

static inline UNUSED void cleanup_close_fn(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
}

static inline UNUSED void cleanup_fclose_fn(FILE **f)
{
    if (*f)
        fclose(*f);
}

#define cleanup_free   cleanup(free)
#define cleanup_close  cleanup(close)
#define cleanup_fclose cleanup(fclose)

#define steal_ptr(pp)                                                          \
    __extension__({                                                            \
        __typeof__(*(pp)) stolen_ = *(pp);                                     \
        *(pp) = NULL;                                                          \
        stolen_;                                                               \
    })

static inline UNUSED int steal_fd(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

#endif

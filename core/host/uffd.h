/*
 * uffd.h - userfaultfd: opening it in each way, and trying what it can do.
 *
 * The only user of linux/userfaultfd.h. A descriptor belongs to who opened it.
 * Any thread.
 */
#ifndef FIRN_CORE_HOST_UFFD_H
#define FIRN_CORE_HOST_UFFD_H

#include "core/base/error.h"

enum uffd_way {
    UFFD_SYSCALL = 0,  /* faults of the kernel as well: what QEMU needs */
    UFFD_SYSCALL_USER, /* faults in user mode only: allowed to everybody */
    UFFD_DEVICE,       /* /dev/userfaultfd: allowed by its permissions */
    UFFD_WAY__COUNT,
};

struct uffd_features {
    bool write_protect; /* background snapshots */
    bool shmem;         /* missing pages of shared memory */
    bool hugetlbfs;     /* missing huge pages */
    bool minor_shmem;
    bool poison;
};

/* In words, for messages. */
const char *uffd_way_name(enum uffd_way way);

/* Opened, and the interface agreed upon. ERR_UNSUPPORTED: not in this kernel,
 * or not allowed (sys_errno EPERM or EACCES). */
int uffd_open(enum uffd_way way, int *ret_fd, struct uffd_features *ret,
              struct error *err) NODISCARD;

/* Puts a page and a zero page into memory of its own through `fd` and looks at
 * them; with `write_protect` protects one as well. */
int uffd_try(int fd, bool write_protect, struct error *err) NODISCARD;

/* ---- A descriptor at work ---- */

/* Events that a descriptor tells besides faults; bits. */
enum uffd_events {
    UFFD_TELLS_FORK = 1,
    UFFD_TELLS_REMAP = 2,
    UFFD_TELLS_REMOVE = 4,
    UFFD_TELLS_UNMAP = 8,
};

/* Opened as by uffd_open(), with these events asked for (0: none). */
int uffd_open_telling(enum uffd_way way, unsigned events, int *ret_fd,
                      struct error *err) NODISCARD;

/* What a descriptor that somebody handed over is. ERR_PROTOCOL when it is no
 * userfaultfd, or its interface was never agreed upon. */
int uffd_describe(int fd, unsigned *ret_events, struct error *err) NODISCARD;

/* Modes of a registered range; bits. */
enum uffd_modes {
    UFFD_MODE_MISSING = 1,
    UFFD_MODE_PROTECT = 2,
    UFFD_MODE_MINOR = 4,
};

/* What may be done to a registered range; bits. */
enum uffd_operations {
    UFFD_CAN_WAKE = 1,
    UFFD_CAN_COPY = 2,
    UFFD_CAN_ZERO = 4,
    UFFD_CAN_PROTECT = 8,
    UFFD_CAN_CONTINUE = 16,
};

/* `ret_can` (may be NULL): operations the kernel offers for this memory. */
int uffd_register(int fd, uint64_t start, uint64_t len, unsigned modes,
                  unsigned *ret_can, struct error *err) NODISCARD;

/* How an operation on somebody's memory ended. */
enum uffd_outcome {
    UFFD_DONE = 0,
    UFFD_PRESENT,  /* a page is there already: it was left as it is */
    UFFD_BUSY,     /* an event waits to be read first; try again */
    UFFD_UNMAPPED, /* no such memory any more, or not registered */
    UFFD_EXITED,   /* its process is gone */
    UFFD_FAILED,   /* `err` says why */
};

/* Flags of placing; bits. */
enum uffd_placing {
    UFFD_PLACE_PROTECTED = 1, /* the first write will fault */
    UFFD_PLACE_QUIETLY = 2,   /* who waits for the page goes on waiting */
};

/* Each page whole or not at all. *ret_done: bytes done before the outcome,
 * always set. */
enum uffd_outcome uffd_copy(int fd, uint64_t to, const void *from, uint64_t len,
                            unsigned flags, uint64_t *ret_done,
                            struct error *err);
/* The same with zero pages; these are not placed protected. */
enum uffd_outcome uffd_zero(int fd, uint64_t start, uint64_t len,
                            unsigned flags, uint64_t *ret_done,
                            struct error *err);
/* Maps a page that is in the page cache already (MINOR). */
enum uffd_outcome uffd_continue(int fd, uint64_t start, uint64_t len,
                                uint64_t *ret_done, struct error *err);
/* The first write to these pages faults from now on, or no longer; taking the
 * protection off wakes who waits for it. */
enum uffd_outcome uffd_protect(int fd, uint64_t start, uint64_t len,
                               bool protect, struct error *err);
/* Threads that wait for these pages look again (after UFFD_PLACE_QUIETLY, or a
 * page that was there already). */
enum uffd_outcome uffd_wake(int fd, uint64_t start, uint64_t len,
                            struct error *err);
/* No faults of this range are told any more: what is missing reads as the
 * memory's own content, zeros mostly. */
enum uffd_outcome uffd_unregister(int fd, uint64_t start, uint64_t len,
                                  struct error *err);

enum uffd_message_kind {
    UFFD_SAYS_FAULT = 0,
    UFFD_SAYS_FORK,
    UFFD_SAYS_REMAP,
    UFFD_SAYS_REMOVE,
    UFFD_SAYS_UNMAP,
};

struct uffd_message {
    enum uffd_message_kind kind;
    bool write;     /* fault: by a write */
    bool protected; /* fault: the page is there, but protected */
    bool minor;     /* fault: the page is in the page cache */
    int child;      /* fork: the child's descriptor, of who reads this */
    uint64_t start; /* the fault's address; of what is removed or moved */
    uint64_t end;   /* remove, unmap, remap */
    uint64_t to;    /* remap: where `start` is now */
};

#define UFFD_READ_MAX 64u

/* Messages that wait, without waiting; *ret_n is 0 when there is none. Each
 * one read lets go the thread that caused an event. */
int uffd_read(int fd, struct uffd_message *ret, unsigned max, unsigned *ret_n,
              struct error *err) NODISCARD;

/* ---- What works here, by kind of memory ---- */

enum uffd_memory {
    UFFD_MEMORY_ANONYMOUS = 0,
    UFFD_MEMORY_SHMEM,
    UFFD_MEMORY_MEMFD,
    UFFD_MEMORY_HUGE, /* hugetlbfs, 2 MiB */
    UFFD_MEMORY__COUNT,
};

/* In words, for messages. */
const char *uffd_memory_name(enum uffd_memory kind);

/* Modes (UFFD_MODE_…) and operations (UFFD_CAN_…) that were tried on a page of
 * this kind and worked. ERR_UNSUPPORTED when there is no such memory here
 * (no huge page is reserved) or it cannot be registered. */
struct uffd_ability {
    unsigned modes;
    unsigned can;
    uint64_t page_bytes;
};
/* On memory of its own that it frees again; ERR_UNSUPPORTED as well when there
 * is no descriptor by this way. */
int uffd_try_memory(enum uffd_way way, enum uffd_memory kind,
                    struct uffd_ability *ret, struct error *err) NODISCARD;

#endif

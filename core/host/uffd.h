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

#endif

/*
 * host_probe.h - what this kernel and this user can do, really tried.
 *
 * Each probe fills a finding: how it stands, what that means, what helps. None
 * of them fails, none leaves anything behind. Any thread.
 */
#ifndef FIRN_CORE_HOST_HOST_PROBE_H
#define FIRN_CORE_HOST_HOST_PROBE_H

#include "core/host/uffd.h"

enum host_status {
    HOST_OK = 0,
    HOST_WARNING,
    HOST_MISSING,
    HOST_STATUS__COUNT
};

struct host_finding {
    enum host_status status;
    char detail[384];
    char remedy[384]; /* empty when nothing is wrong */
};

/* "ok", "warning", "missing". */
const char *host_status_name(enum host_status status);

/* Status and detail; clears the remedy. */
void host_finding_set(struct host_finding *f, enum host_status status,
                      const char *fmt, ...) PRINTF_LIKE(3, 4);
/* What helps. */
void host_finding_remedy(struct host_finding *f, const char *fmt, ...)
    PRINTF_LIKE(2, 3);

/* The version, against the oldest that firn is made for. */
void host_probe_kernel(struct host_finding *ret);
/* All ways to a descriptor: missing when a QEMU of this user has none. */
void host_probe_userfaultfd(struct host_finding *ret);
/* One for each kind of memory: what a userfaultfd can do with it. */
void host_probe_memory(enum uffd_memory kind, struct host_finding *ret);
/* RLIMIT_MEMLOCK against what registered buffers take. */
void host_probe_memlock(struct host_finding *ret);
/* /dev/kvm: a warning without it, guests run in emulation. */
void host_probe_kvm(struct host_finding *ret);
/* Files without a name (O_TMPFILE) that get one later, in this folder. */
void host_probe_unnamed_files(const char *folder, struct host_finding *ret);
/* What is free for this user, against a small guest's first snapshot. */
void host_probe_space(const char *folder, struct host_finding *ret);

#endif

/*
 * lease.h - door: who uses the repository now, so that nothing dangles.
 *
 * A file in locks/ (JSON): host, boot id, pid and its start time, purpose,
 * expiry; a restore adds QEMU's pid and start time and then outlives its own
 * process. A lease is dead when none of its processes lives (same host and
 * boot), or when it expired (other host). Reaping a dead lease deletes the
 * packs it was about to commit, if no snapshot refers to them: so kill -9
 * leaves nothing behind.
 */
#ifndef FIRN_STORAGE_LEASE_H
#define FIRN_STORAGE_LEASE_H

#include "storage/repository.h"

struct lease;

/* `purpose`: "capture", "restore", "check". `snapshot`: what it reads, or NULL.
 */
int lease_acquire(struct repository *r, const char *purpose,
                  const char *snapshot, struct lease **ret,
                  struct error *err) NODISCARD;
/* Adds a process that uses what the lease protects (QEMU, while pages are
 * owed). */
int lease_add_process(struct lease *l, pid_t pid, struct error *err) NODISCARD;
/* Names the packs that are about to be linked (32 hex digits each). */
int lease_intend(struct lease *l, const char *const *packs, size_t n,
                 struct error *err) NODISCARD;
/* Extends the expiry; call at least once an hour. */
int lease_renew(struct lease *l, struct error *err) NODISCARD;
/* Removes the file and frees; NULL is fine. */
void lease_release(struct lease *l);
/* Frees without removing the file: another process (a fork) goes on with it. */
void lease_forget(struct lease *l);

/* Removes what dead processes left; returns how many leases were reaped in
 * *ret_n. Called by repository_open(). */
int lease_reap(struct repository *r, size_t *ret_n,
               struct error *err) NODISCARD;

DEFINE_CLEANUP(lease, struct lease *, lease_release)

#endif

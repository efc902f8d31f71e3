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

/* `purpose`: "capture", "restore", "check", "read", "forget", "prune".
 * `snapshot`: what it reads, or NULL; take the lease before you open it. One
 * that is being removed or rewritten is waited for: ERR_LOCKED, ERR_NOTFOUND.
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
/* Names the snapshots that are about to be removed or replaced: whoever wants
 * one from now on waits. Who has one already is told by lease_list(). */
int lease_claim(struct lease *l, const char *const *snapshots, size_t n,
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

/* One that somebody has now. */
struct lease_info {
    char holder[40];  /* stays the same while the lease changes */
    char purpose[16]; /* "unknown": not to be read, but not old either */
    char snapshot[SNAPSHOT_ID_LEN + 1]; /* "" when it names none */
    char host[128];
    pid_t pid;     /* of the first of its processes that lives, or 0 */
    json_t *packs; /* that it is about to link: array of ids; owned */
};

struct lease_infos {
    struct lease_info *all;
    size_t n;
};

/* All leases that are not dead, but for `except` (may be NULL). */
int lease_list(struct repository *r, const struct lease *except,
               struct lease_infos *ret, struct error *err) NODISCARD;
/* Frees them all; an empty list remains. */
void lease_infos_release(struct lease_infos *l);
/* Who reads this snapshot, or NULL. Borrowed. */
const struct lease_info *lease_infos_reader(const struct lease_infos *l,
                                            const char *snapshot);

static inline UNUSED void cleanup_lease_infos_fn(struct lease_infos *l)
{
    lease_infos_release(l);
}

DEFINE_CLEANUP(lease, struct lease *, lease_release)

#endif

/*
 * repository.h - door: make, open and list a repository.
 *
 * A repository is a folder: config, packs/, snapshots/, hints/, locks/ and
 * catalog.db, a cache. Opening reads `config` (format, features, keyring) and
 * reaps the leases of dead processes with the packs they left. Not for
 * threads, but for the calls that say so.
 */
#ifndef FIRN_STORAGE_REPOSITORY_H
#define FIRN_STORAGE_REPOSITORY_H

#include "core/base/json.h"
#include "core/base/stage_clock.h"
#include "core/vm/page.h"

#define SNAPSHOT_ID_LEN 16u /* hex digits */

struct repository;

/* Makes a repository (0700) at `path`: a new or an empty folder, else
 * ERR_EXISTS. Whole or not at all. */
int repository_create(const char *path, struct error *err) NODISCARD;

/* ERR_NOREPO: none there. ERR_FORMAT: a format or a feature that this program
 * does not know. ERR_CORRUPT: config damaged. */
int repository_open(const char *path, struct repository **ret,
                    struct error *err) NODISCARD;
/* All that was opened through it is closed before. Takes NULL. */
void repository_close(struct repository *r);

/* As given to open; and the repository's own id (32 hex digits). Borrowed. */
const char *repository_path(const struct repository *r);
/* Never changes, unlike the path. */
const char *repository_id(const struct repository *r);

/* An unnamed file (O_TMPFILE) of mode 0600 on the repository's file system. */
int repository_unnamed_file(struct repository *r, int *ret_fd,
                            struct error *err) NODISCARD;

/* What a capture cost firn itself; kept among the snapshot's facts as "cost".
 */
struct snapshot_cost {
    struct cpu_stages cpu;
    uint64_t peak_bytes; /* most memory that the process held */
    /* How far dedup scatters: 2 MiB with content, and the places that these
     * come from, before those of the worst were stored together again. */
    uint64_t segments;
    uint64_t places;
    uint64_t rejoined_pages; /* stored again for that */
};

/* What `list` shows and what a capture reports; kept in the snapshot object. */
struct snapshot_summary {
    char id[SNAPSHOT_ID_LEN + 1];
    char vm[256];       /* name, or the uuid if it has none */
    char vm_uuid[40];   /* "" if all zero or unknown */
    uint64_t time_ns;   /* real time of the instant captured */
    char mode[16];      /* "stream", "background" */
    char run_state[32]; /* of the VM when captured */
    char machine[128];
    char qemu_version[64];
    uint64_t ram_bytes;
    uint64_t pages_total;
    uint64_t pages_zero;
    uint64_t pages_duplicate;  /* found stored already */
    uint64_t pages_stored;     /* written by this capture */
    uint64_t pages_superseded; /* written, then sent again */
    uint64_t pages_unseen;     /* never sent, recorded as zero */
    uint64_t stored_bytes;     /* packs and snapshot object of this capture */
    uint64_t device_bytes;
    uint64_t downtime_ms;
    uint64_t duration_ms;
    uint32_t rounds;
    uint32_t channels;
    json_t *tags; /* object of strings; owned, may be NULL */
    /* Of a capture just made and of a snapshot opened; not in lists. */
    struct snapshot_cost cost;
};

/* Drops the tags; the struct is the caller's. */
void snapshot_summary_release(struct snapshot_summary *s);

/* All snapshots, oldest first, as the folder has them; what cannot be read is
 * left out and told to `bad` (id, error; may be NULL). The caller releases
 * each and frees the array. */
int repository_list(struct repository *r,
                    void (*bad)(void *arg, const char *id,
                                const struct error *why),
                    void *arg, struct snapshot_summary **ret, size_t *ret_n,
                    struct error *err) NODISCARD;

/* SNAP as users write it (full id, unique prefix of at least 4 digits,
 * `latest`, `VM@latest`, `VM@-N`) → id. ERR_NOTFOUND, or ERR_INVALID when the
 * prefix is ambiguous. */
int repository_resolve(struct repository *r, const char *name,
                       char ret_id[static SNAPSHOT_ID_LEN + 1],
                       struct error *err) NODISCARD;

DEFINE_CLEANUP(repository, struct repository *, repository_close)

#endif

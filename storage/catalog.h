/*
 * catalog.h - catalog.db: summaries of snapshots, kept to list them quickly.
 *
 * Only a cache. It is opened for one list or one put and closed again, so that
 * no connection crosses a fork. Without it (read-only, damaged, in the way of
 * another process) everything works, slower: no function here fails.
 */
#ifndef FIRN_STORAGE_CATALOG_H
#define FIRN_STORAGE_CATALOG_H

#include "storage/repository.h"

/* What identifies the file that a summary was read from. */
struct catalog_key {
    char id[SNAPSHOT_ID_LEN + 1];
    uint64_t object_bytes;
    uint64_t object_mtime_ns;
};

struct catalog;

/* NULL when there is none to be had. A damaged one is dropped and made anew. */
struct catalog *catalog_open(struct repository *r);
/* Commits what was put; takes NULL. */
void catalog_close(struct catalog *c);
/* The next open() begins anew. */
void catalog_remove(struct repository *r);

/* True, with a copy in *ret, when the catalog knows this very file. */
bool catalog_find(struct catalog *c, const struct catalog_key *key,
                  struct snapshot_summary *ret);
/* Remembers a summary of this file; an older one of the same id goes. */
void catalog_put(struct catalog *c, const struct catalog_key *key,
                 const struct snapshot_summary *summary);
/* Forgets all that were neither found nor put since open(). */
void catalog_forget_others(struct catalog *c);

/* The database, for other caches in it; borrowed. No transaction is open when
 * nothing was put. */
struct sql;

struct sql *catalog_sql(struct catalog *c);

DEFINE_CLEANUP(catalog, struct catalog *, catalog_close)

#endif

/*
 * lease_inside.h - what reaping and listing leases share. No door.
 */
#ifndef FIRN_STORAGE_LEASE_INSIDE_H
#define FIRN_STORAGE_LEASE_INSIDE_H

#include <sys/utsname.h>

#include "core/host/process.h"
#include "storage/lease.h"

#define LEASE_HOLDER_LEN 16u
#define LEASE_MAX_BYTES  (16u << 20)

/* Who we are, as a lease names it. */
struct lease_origin {
    char host[sizeof(((struct utsname *)0)->nodename) + 40];
    char boot_id[BOOT_ID_LEN + 1];
    uint64_t pid_namespace;
};

/* ERR_IO when /proc does not tell; without /etc/machine-id the name is all. */
int lease_origin_find(struct lease_origin *ret, struct error *err) NODISCARD;
/* Of this host: when none of its processes lives, or since another boot. Of
 * another host or pid namespace, where we cannot look: when it expired. */
bool lease_content_is_dead(const struct lease_origin *here, uint64_t now_ns,
                           const json_t *content);
/* The first of the lease's processes that lives, or 0. */
pid_t lease_first_living(const json_t *content);
bool lease_file_is_old(int locks_dirfd, const char *id, uint64_t now_ns);
/* May go without a lease where nothing can be written. */
bool lease_is_of_reader(const char *purpose);
/* Does a live lease say that this snapshot is to be removed or replaced? */
int lease_is_claimed(struct repository *r, const char *snapshot, bool *ret,
                     struct error *err) NODISCARD;
/* The file's name, which changes at every write. Borrowed. */
const char *lease_id(const struct lease *l);
/* What stays the same meanwhile. Borrowed. */
const char *lease_holder(const struct lease *l);

#endif

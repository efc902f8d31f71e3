/*
 * layout.h - names of the objects of a repository; nobody else builds one.
 *
 *   config            one file, see repository_config.h
 *   catalog.db        a cache, with -wal and -shm while it is open
 *   packs/ab/<id>     32 hex digits, `ab` the first two
 *   snapshots/<id>    16 hex digits
 *   hints/<id>        of a snapshot
 *   locks/<id>        16 hex digits, see lease.h
 *   condemned/<id>    16 hex digits, see condemned.h
 *   checks/<id>       16 hex digits, see check_state.h
 *
 * Pure but for layout_new_id(); any thread.
 */
#ifndef FIRN_STORAGE_LAYOUT_H
#define FIRN_STORAGE_LAYOUT_H

#include "core/base/error.h"
#include "storage/objects/object_folder.h"

#define LAYOUT_CONFIG    "config"
#define LAYOUT_CATALOG   "catalog.db"
#define LAYOUT_PACKS     "packs"
#define LAYOUT_SNAPSHOTS "snapshots"
#define LAYOUT_HINTS     "hints"
#define LAYOUT_LOCKS     "locks"
#define LAYOUT_CONDEMNED "condemned"
#define LAYOUT_CHECKS    "checks"

#define LAYOUT_LOCK_ID_LEN   16u
#define LAYOUT_PACK_ID_BYTES 16u

/* How packs, snapshots and leases lie in their folders; `dirfd` is borrowed. */
struct object_folder layout_packs(int dirfd);
/* The objects that make snapshots listed. */
struct object_folder layout_snapshots(int dirfd);
/* Leases; condemned/ and checks/ lie the same way. */
struct object_folder layout_locks(int dirfd);

/* `digits` lower-case hex digits and nothing else. */
bool layout_is_id(const char *name, size_t digits);
/* A new id of `digits` (even) random hex digits; `ret` has room for a NUL. */
int layout_new_id(char *ret, size_t digits, struct error *err) NODISCARD;

/* The bytes that an id stands for, and back. `n` bytes are 2n digits; false
 * when `id` is not that. */
bool layout_id_bytes(const char *id, uint8_t *ret, size_t n);
/* `ret` has room for 2n digits and a NUL. */
void layout_id_text(const uint8_t *bytes, size_t n, char *ret);

/* Length and time of last change of a pack's file. ERR_NOTFOUND. */
int layout_pack_stat(int packs_dirfd, const char *id, uint64_t *ret_bytes,
                     struct error *err) NODISCARD;

#endif

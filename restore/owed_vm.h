/*
 * owed_vm.h - the VMs of this host to which pages are still owed, on disk.
 *
 * One state file each in the runtime folder, from the first byte that is fed
 * to `completed`. It names the VM (QEMU's pid and start time, boot, uuid, name,
 * monitor), the snapshot and its repository, the keeper with its door, the
 * pager, and what a pager must be told. QEMU itself cannot tell what it was
 * made of, and pages of another snapshot would corrupt it without a message:
 * so nobody feeds a VM that no state file names. One thread.
 */
#ifndef FIRN_RESTORE_OWED_VM_H
#define FIRN_RESTORE_OWED_VM_H

#include <sys/types.h>

#include "core/base/json.h"

struct owed_vm {
    char *path;    /* of the state file, owned */
    json_t *state; /* owned */
};

/* What is looked for: the VM behind a monitor, or else the only one that was
 * made of the snapshot. */
struct owed_vm_query {
    const char *folder; /* runtime folder */
    const char *repository_id;
    const char *snapshot;
    const char *qmp_path; /* NULL: any */
};

/*
 * ERR_INCOMPATIBLE: the VM was made of another snapshot, or nobody knows of
 * what; ERR_NOTFOUND: no VM waits for pages of the snapshot; ERR_USAGE: there
 * are several.
 */
int owed_vm_find(const struct owed_vm_query *query, struct owed_vm *ret,
                 struct error *err) NODISCARD;

/* Begins the state of a VM; what else it holds, the caller adds. */
int owed_vm_begin(struct owed_vm *vm, const char *path, json_t *state,
                  struct error *err) NODISCARD;
/* A process by its pid and start time, under "keeper", "pager" or "qemu". */
int owed_vm_set_process(struct owed_vm *vm, const char *role, pid_t pid,
                        struct error *err) NODISCARD;
/* Its pid if it still is the one that was meant, else 0. */
pid_t owed_vm_process(const struct owed_vm *vm, const char *role);
/* Puts the state in place, whole or not at all. Not synced: the VM does not
 * survive a crash of the host either. ERR_IO, ERR_NOSPC. */
int owed_vm_write(const struct owed_vm *vm, struct error *err) NODISCARD;

/* Frees; the file stays, and names the VM until somebody removes it. */
void owed_vm_release(struct owed_vm *vm);

static inline UNUSED void cleanup_owed_vm_fn(struct owed_vm *vm)
{
    owed_vm_release(vm);
}
#define cleanup_owed_vm cleanup(owed_vm)

#endif

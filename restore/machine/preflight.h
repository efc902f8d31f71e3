/*
 * preflight.h - what would go wrong, found before anything is fed.
 *
 * QEMU checks little of what it is fed, dies of the rest and names its reasons
 * on standard error. So the facts recorded at the capture are compared with
 * those of the QEMU that waits, and each difference becomes a sentence. Lists
 * are JSON arrays of strings that the caller makes; nothing here speaks QMP.
 * One thread.
 */
#ifndef FIRN_RESTORE_MACHINE_PREFLIGHT_H
#define FIRN_RESTORE_MACHINE_PREFLIGHT_H

#include "core/base/json.h"
#include "core/vm/ramblock.h"
#include "restore/machine/command_map.h"

struct preflight_lists {
    json_t *differences; /* each of them forbids the restore */
    json_t *notes;       /* worth knowing */
};

/* The VM that was captured still runs on this host: ERR_INCOMPATIBLE. Two VMs
 * on one disk destroy it. A `copy` may live beside it if each disk that it
 * writes is replaced by `map`. */
int preflight_original(const json_t *recorded, bool copy,
                       const struct command_map *map,
                       struct error *err) NODISCARD;

/* The files of the disks against the record. Those that `map` replaces are
 * only looked for. */
int preflight_disks(const json_t *recorded, const struct command_map *map,
                    const struct preflight_lists *ret,
                    struct error *err) NODISCARD;

/* `blocks` are the snapshot's, `target` the facts of the QEMU that waits. */
int preflight_machine(const json_t *recorded,
                      const struct ramblock_list *blocks, const json_t *target,
                      const struct preflight_lists *ret,
                      struct error *err) NODISCARD;

/* 0 when there is no difference; else ERR_INCOMPATIBLE with the first, and how
 * many more there are. */
int preflight_verdict(const struct preflight_lists *lists,
                      struct error *err) NODISCARD;

/* Host page size of a block of the target, PAGE_BYTES if it does not tell. */
uint64_t preflight_host_page(const json_t *target, const char *idstr);

#endif

/*
 * vm_facts.h - what a VM is, asked over QMP, as one JSON object.
 *
 * A capture keeps the object with the snapshot; a restore asks the waiting
 * QEMU the same questions and compares key by key. Keys are added, never
 * renamed; a fact that QEMU would not tell is left out (but `disks` and
 * `drives`, which are then empty). Not for threads.
 *
 *   "facts"        int, 1
 *   "qemu"         {"major","minor","micro": int, "version","package": str}
 *   "machine"      str, resolved type without "-machine": "pc-i440fx-10.0"
 *   "name","uuid"  str; "" if QEMU has none (an all-zero uuid is none)
 *   "run_state"    str, when asked
 *   "accelerator"  str, "kvm" or "tcg"
 *   "memory"       {"base_bytes","plugged_bytes": int,
 *                   "backends": [{"id": str, "bytes": int, "share": bool}],
 *                   "devices": [...] as query-memory-devices has them}
 *   "ramblocks"    [{"idstr": str, "page_bytes","used_bytes","max_bytes"}]
 *   "cpus"         {"count": int, "model": str, as qom-type of the first}
 *   "pci"          [{"bus","slot","function","vendor","device","class": int,
 *                   "qdev_id": str}] in QEMU's order, behind bridges too;
 *                   bus numbers are given by the guest's firmware, so a QEMU
 *                   that waits shows nothing behind a bridge
 *   "devices"      [str] the device lines of `info qtree`, in order, trimmed:
 *                   "dev: virtio-blk-pci, id \"\""; the order differs between
 *                   versions of QEMU, the lines do not
 *   "drives"       [{"device","qdev","node","image","driver": str,
 *                   "read_only","removable": bool}] what the guest sees
 *   "disks"        [{"node","driver","path": str, "read_only","local",
 *                   "present": bool, "inode","device_number","size_bytes",
 *                   "mtime_ns": int}] every file or device that QEMU has open
 *                   for a block node, backing files included; `path` is
 *                   absolute; the last four only when `present`; names of
 *                   nodes that begin with '#' are made up anew by each QEMU
 *   "process"      {"pid","start_ticks": int, "boot_id","host","cwd",
 *                   "executable": str, "argv": [str]}, added by the capture
 *                   (core/host/process.h knows it, this room does not)
 *   "disks_at"     str, added by the capture: "pause" (the files were looked
 *                   at while the VM stood still at the captured instant) or
 *                   "before" (just before it)
 *   "capture"      {...} how the capture went, added by it: see
 *                   struct snapshot_outcome
 */
#ifndef FIRN_CORE_QMP_VM_FACTS_H
#define FIRN_CORE_QMP_VM_FACTS_H

#include "core/qmp/qmp_session.h"

/* `cwd`: QEMU's working directory, for relative image paths; may be NULL. Only
 * a broken session is an error. The caller owns *ret. */
int vm_facts_query(struct qmp_session *s, const char *cwd, json_t **ret,
                   struct error *err) NODISCARD;

/* Looks at the files of "disks" again and replaces the last five keys of each:
 * no QMP, some microseconds. */
int vm_facts_stat_disks(json_t *facts, struct error *err) NODISCARD;

/* The lines of `info ramblock` as the array of "ramblocks". Pure; lines that
 * it does not understand are left out. */
int vm_facts_parse_ramblocks(const char *text, json_t **ret,
                             struct error *err) NODISCARD;

/* "dev: ..." lines of `info qtree`, trimmed, as an array of strings. Pure. */
int vm_facts_parse_qtree(const char *text, json_t **ret,
                         struct error *err) NODISCARD;

#endif

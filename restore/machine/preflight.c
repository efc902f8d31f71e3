/*
 * What must be equal, and why: QEMU compares the machine type by prefix, the
 * RAM blocks by name and length only where it meets them, and the rest not at
 * all; an extra device with memory loses that memory, another CPU model fails
 * in the middle of its section or much later in the guest.
 *
 * The device tree is compared line by line only between equal versions, since
 * its text changes from one to the next. The PCI devices of the root bus are
 * compared always; those behind bridges only through the device tree: before
 * the firmware has run (and a QEMU that waits has run nothing) bridges have no
 * bus numbers and query-pci does not look behind them.
 */
#include "restore/machine/preflight.h"

#include <stdarg.h>
#include <unistd.h>

#include "core/host/process.h"
#include "core/qmp/vm_facts.h"

static int add_line(json_t *list, struct error *err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static int add_line(json_t *list, struct error *err, const char *fmt, ...)
{
    char text[600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (json_array_append_new(list, json_text(text)) < 0)
        return fail_nomem(err);
    return 0;
}

/* A disk that the VM writes and that a copy would write too; NULL: none. */
static const char *shared_disk(const json_t *recorded,
                               const struct command_map *map)
{
    const json_t *disk;
    size_t i;

    json_array_foreach((json_t *)json_path(recorded, "disks"), i, disk)
    {
        const char *path = json_path_str(disk, "path", NULL);

        if (path && !json_path_bool(disk, "read_only", false) &&
            !command_map_touches(map, path))
            return path;
    }
    return NULL;
}

static bool original_runs(const json_t *recorded, pid_t *ret_pid)
{
    const json_t *process = json_path(recorded, "process");
    int64_t pid = json_path_int(process, "pid", 0);
    int64_t start = json_path_int(process, "start_ticks", 0);
    struct error ignored = ERROR_INIT;
    char boot[BOOT_ID_LEN + 1];

    *ret_pid = (pid_t)pid;
    return pid > 0 && process_boot_id(boot, &ignored) == 0 &&
           strcmp(boot, json_path_str(process, "boot_id", "")) == 0 &&
           process_alive((pid_t)pid, (uint64_t)start);
}

int preflight_original(const json_t *recorded, bool copy,
                       const struct command_map *map, struct error *err)
{
    const char *disk = shared_disk(recorded, map);
    pid_t pid;

    if (!original_runs(recorded, &pid) || (copy && !disk))
        return 0;
    fail(err, ERR_INCOMPATIBLE,
         "the VM that was captured still runs (process %d)%s%s%s", (int)pid,
         copy ? " and writes the disk '" : "", copy ? disk : "",
         copy ? "'" : "");
    if (copy)
        return error_hint(err, "give the copy a disk of its own, and name it "
                               "with --map OLD=NEW");
    return error_hint(err, "end it first: two VMs on the same disks destroy "
                           "them; for a copy beside it there are --map and "
                           "--new-identity");
}

/* Disks. */

static int compare_disk(const json_t *then, const json_t *now,
                        const struct preflight_lists *ret, struct error *err)
{
    const char *path = json_path_str(then, "path", "?");

    if (!json_path_bool(then, "local", true))
        return add_line(ret->notes, err,
                        "disk '%s' is not on this host and was not compared",
                        path);
    if (!json_path_bool(then, "present", false))
        return 0;
    if (!json_path_bool(now, "present", false))
        return add_line(ret->differences, err,
                        "disk '%s' is not there any more", path);
    if (json_path_int(then, "inode", 0) != json_path_int(now, "inode", 0))
        return add_line(ret->differences, err,
                        "disk '%s' is another file than at the capture", path);
    if (json_path_int(then, "size_bytes", 0) !=
        json_path_int(now, "size_bytes", 0))
        return add_line(ret->differences, err,
                        "disk '%s' has another size than at the capture", path);
    if (json_path_int(then, "mtime_ns", 0) != json_path_int(now, "mtime_ns", 0))
        return add_line(ret->differences, err,
                        "disk '%s' was written since the capture", path);
    return 0;
}

/* What lies in another file now is what somebody chose: a copy, an overlay. */
static int look_for_mapped(const json_t *disk, const struct command_map *map,
                           const struct preflight_lists *ret, struct error *err)
{
    cleanup_buf struct buf path = BUF_INIT;
    struct command_map rules = *map;
    int rc =
        command_map_apply(&rules, json_path_str(disk, "path", ""), &path, err);

    if (rc < 0)
        return rc;
    if (json_path_bool(disk, "local", true) && access(buf_str(&path), F_OK) < 0)
        return add_line(ret->differences, err, "disk '%s' is not there",
                        buf_str(&path));
    return add_line(ret->notes, err,
                    "disk '%s' takes the place of '%s' and was not compared",
                    buf_str(&path), json_path_str(disk, "path", ""));
}

int preflight_disks(const json_t *recorded, const struct command_map *map,
                    const struct preflight_lists *ret, struct error *err)
{
    cleanup_json json_t *facts = json_deep_copy(recorded);
    const json_t *then = json_path(recorded, "disks");
    const json_t *now;
    int rc;

    if (!facts)
        return fail_nomem(err);
    if (!json_is_array(then))
        return 0;
    rc = vm_facts_stat_disks(facts, err);
    now = json_path(facts, "disks");
    for (size_t i = 0; rc == 0 && i < json_array_size(then); i++)
        rc = command_map_touches(map, json_path_str(json_array_get(then, i),
                                                    "path", ""))
                 ? look_for_mapped(json_array_get(then, i), map, ret, err)
                 : compare_disk(json_array_get(then, i), json_array_get(now, i),
                                ret, err);
    return rc;
}

/* Single facts. */

static int compare_text(const json_t *recorded, const json_t *target,
                        const char *key, const char *what, json_t *list,
                        struct error *err)
{
    const char *then = json_path_str(recorded, key, "");
    const char *now = json_path_str(target, key, "");

    if (!then[0] || !now[0] || strcmp(then, now) == 0)
        return 0;
    return add_line(list, err, "%s is '%s', the snapshot has '%s'", what, now,
                    then);
}

static int compare_cpus(const json_t *recorded, const json_t *target,
                        const struct preflight_lists *ret, struct error *err)
{
    int64_t then = json_path_int(recorded, "cpus.count", 0);
    int64_t now = json_path_int(target, "cpus.count", 0);

    if (then > 0 && now > 0 && then != now) {
        int rc = add_line(ret->differences, err,
                          "number of CPUs is %lld, the snapshot has %lld",
                          (long long)now, (long long)then);

        if (rc < 0)
            return rc;
    }
    return compare_text(recorded, target, "cpus.model", "CPU model",
                        ret->differences, err);
}

static int64_t version_number(const json_t *facts, bool with_micro)
{
    return json_path_int(facts, "qemu.major", 0) * 1000000 +
           json_path_int(facts, "qemu.minor", 0) * 1000 +
           (with_micro ? json_path_int(facts, "qemu.micro", 0) : 0);
}

static int compare_version(const json_t *recorded, const json_t *target,
                           const struct preflight_lists *ret, struct error *err)
{
    int64_t then = version_number(recorded, false);
    int64_t now = version_number(target, false);

    /* Within one minor version the formats of devices do not change. */
    if (then == 0 || now == 0 || now >= then)
        return 0;
    return add_line(ret->differences, err,
                    "QEMU is %lld.%lld, older than the %lld.%lld that was "
                    "captured",
                    (long long)json_path_int(target, "qemu.major", 0),
                    (long long)json_path_int(target, "qemu.minor", 0),
                    (long long)json_path_int(recorded, "qemu.major", 0),
                    (long long)json_path_int(recorded, "qemu.minor", 0));
}

/* RAM blocks. */

static const json_t *find_block(const json_t *facts, const char *idstr)
{
    const json_t *list = json_path(facts, "ramblocks");
    const json_t *block;
    size_t i;

    json_array_foreach((json_t *)list, i, block)
    {
        if (strcmp(json_path_str(block, "idstr", ""), idstr) == 0)
            return block;
    }
    return NULL;
}

static int compare_block(const struct ramblock *block, const json_t *now,
                         const struct preflight_lists *ret, struct error *err)
{
    uint64_t used;
    uint64_t max;

    if (!now)
        return add_line(ret->differences, err,
                        "RAM block '%s' of the snapshot is missing",
                        block->idstr);
    used = (uint64_t)json_path_int(now, "used_bytes", 0);
    max = (uint64_t)json_path_int(now, "max_bytes", 0);
    if (used == block->used_bytes)
        return 0;
    /* Tables that the firmware reads are resized to what comes. */
    if (strncmp(block->idstr, "/rom@", 5) == 0 && block->used_bytes <= max)
        return 0;
    return add_line(ret->differences, err,
                    "RAM block '%s' has %llu bytes, the snapshot has %llu",
                    block->idstr, (unsigned long long)used,
                    (unsigned long long)block->used_bytes);
}

static int compare_blocks(const json_t *recorded,
                          const struct ramblock_list *blocks,
                          const json_t *target,
                          const struct preflight_lists *ret, struct error *err)
{
    const json_t *list = json_path(target, "ramblocks");
    const json_t *now;
    size_t i;
    int rc = 0;

    for (uint32_t b = 0; rc == 0 && b < blocks->n; b++)
        rc = compare_block(&blocks->blocks[b],
                           find_block(target, blocks->blocks[b].idstr), ret,
                           err);
    json_array_foreach((json_t *)list, i, now)
    {
        const char *idstr = json_path_str(now, "idstr", "");

        /* What the captured QEMU had too, but did not send, never migrates. */
        if (rc < 0 || ramblock_list_find(blocks, idstr) != RAMBLOCK_NOT_FOUND ||
            find_block(recorded, idstr))
            continue;
        rc = add_line(ret->differences, err,
                      "RAM block '%s' is not in the snapshot", idstr);
    }
    return rc;
}

uint64_t preflight_host_page(const json_t *target, const char *idstr)
{
    int64_t bytes =
        json_path_int(find_block(target, idstr), "page_bytes", PAGE_BYTES);

    return bytes >= (int64_t)PAGE_BYTES ? (uint64_t)bytes : PAGE_BYTES;
}

/* Devices: two lists of names, what is only in one of them. */

static int pci_names(const json_t *facts, json_t **ret, struct error *err)
{
    const json_t *list = json_path(facts, "pci");
    const json_t *device;
    cleanup_json json_t *names = json_array();
    size_t i;
    int rc = names ? 0 : fail_nomem(err);

    json_array_foreach((json_t *)list, i, device)
    {
        const char *id = json_path_str(device, "qdev_id", "");

        if (rc < 0 || json_path_int(device, "bus", 0) != 0)
            continue;
        rc = add_line(names, err, "PCI device %04llx:%04llx at %02llx.%llx%s%s",
                      (long long)json_path_int(device, "vendor", 0),
                      (long long)json_path_int(device, "device", 0),
                      (long long)json_path_int(device, "slot", 0),
                      (long long)json_path_int(device, "function", 0),
                      id[0] ? " " : "", id);
    }
    if (rc == 0)
        *ret = steal_ptr(&names);
    return rc;
}

/* How often `text` is among the first `n` of the list. */
static size_t count_of(const json_t *list, size_t n, const char *text)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(list, i));

        count += s && strcmp(s, text) == 0;
    }
    return count;
}

/* Names that `list` has more often than `other`, each once. */
static int add_surplus(const json_t *list, const json_t *other,
                       const char *sentence, json_t *ret, struct error *err)
{
    const json_t *item;
    size_t i;
    int rc = 0;

    json_array_foreach((json_t *)list, i, item)
    {
        const char *text = json_string_value(item);

        if (rc < 0 || !text || count_of(list, i, text) > 0 ||
            count_of(list, json_array_size(list), text) <=
                count_of(other, json_array_size(other), text))
            continue;
        rc = add_line(ret, err, "device '%s' %s", text, sentence);
    }
    return rc;
}

static int compare_lists(const json_t *then, const json_t *now,
                         const struct preflight_lists *ret, struct error *err)
{
    int rc = add_surplus(then, now, "of the snapshot is missing",
                         ret->differences, err);

    if (rc == 0)
        rc = add_surplus(now, then, "is not in the snapshot", ret->differences,
                         err);
    return rc;
}

static int compare_devices(const json_t *recorded, const json_t *target,
                           const struct preflight_lists *ret, struct error *err)
{
    cleanup_json json_t *then = NULL;
    cleanup_json json_t *now = NULL;
    size_t before = json_array_size(ret->differences);
    int rc = 0;

    if (json_path(recorded, "pci") && json_path(target, "pci")) {
        rc = pci_names(recorded, &then, err);
        if (rc == 0)
            rc = pci_names(target, &now, err);
        if (rc == 0)
            rc = compare_lists(then, now, ret, err);
    }
    /* The device tree would only name the same differences again. */
    if (rc < 0 || json_array_size(ret->differences) > before ||
        version_number(recorded, true) != version_number(target, true) ||
        !json_path(recorded, "devices") || !json_path(target, "devices"))
        return rc;
    return compare_lists(json_path(recorded, "devices"),
                         json_path(target, "devices"), ret, err);
}

int preflight_machine(const json_t *recorded,
                      const struct ramblock_list *blocks, const json_t *target,
                      const struct preflight_lists *ret, struct error *err)
{
    int rc = compare_text(recorded, target, "machine", "machine type",
                          ret->differences, err);

    if (rc == 0)
        rc = compare_version(recorded, target, ret, err);
    if (rc == 0)
        rc = compare_text(recorded, target, "accelerator", "accelerator",
                          ret->differences, err);
    if (rc == 0)
        rc = compare_cpus(recorded, target, ret, err);
    if (rc == 0)
        rc = compare_blocks(recorded, blocks, target, ret, err);
    if (rc == 0)
        rc = compare_devices(recorded, target, ret, err);
    if (rc == 0)
        rc = compare_text(recorded, target, "uuid", "uuid", ret->notes, err);
    return rc;
}

int preflight_verdict(const struct preflight_lists *lists, struct error *err)
{
    size_t n = json_array_size(lists->differences);
    const char *first;

    if (n == 0)
        return 0;
    first = json_string_value(json_array_get(lists->differences, 0));
    if (n == 1)
        return fail(err, ERR_INCOMPATIBLE, "%s", first);
    return fail(err, ERR_INCOMPATIBLE, "%s (and %zu more difference%s)", first,
                n - 1, n == 2 ? "" : "s");
}

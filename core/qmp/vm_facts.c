/*
 * Every fact is a question of its own, and one that this QEMU does not answer
 * is left out: versions differ in what they know, and a fact that is missing
 * on either side is not compared. Only a broken connection ends the asking.
 *
 * Images are found through the block nodes, not through the drives: each file
 * that QEMU has open is a node with a protocol driver ("file", "host_device",
 * ...), whatever formats and filters lie above it, backing files included.
 */
#include "core/qmp/vm_facts.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "core/base/path.h"

/* Asks; *ret is NULL when QEMU refuses the question. */
static int ask(struct qmp_session *s, const char *command, json_t *args,
               json_t **ret, struct error *err)
{
    struct error refused = ERROR_INIT;
    int rc = qmp_execute(s, command, args, ret, &refused);

    if (rc == 0)
        return 0;
    *ret = NULL;
    return rc == ERR_UNSUPPORTED ? 0 : error_copy(err, &refused);
}

/* Takes `value` over; NULL is out of memory. */
static int put(json_t *object, const char *key, json_t *value,
               struct error *err)
{
    if (!value || json_object_set_new(object, key, value) < 0)
        return fail_nomem(err);
    return 0;
}

static int put_item(json_t *array, json_t *value, struct error *err)
{
    if (!value || json_array_append_new(array, value) < 0)
        return fail_nomem(err);
    return 0;
}

static int ask_qom(struct qmp_session *s, const char *path,
                   const char *property, json_t **ret, struct error *err)
{
    json_t *args;
    int rc = json_build(&args, err, "{s:s, s:s}", "path", path, "property",
                        property);

    return rc < 0 ? rc : ask(s, "qom-get", args, ret, err);
}

/* The text of a human monitor command; NULL when it is refused. */
static int ask_human(struct qmp_session *s, const char *line, json_t **ret,
                     struct error *err)
{
    json_t *args;
    int rc = json_build(&args, err, "{s:s}", "command-line", line);

    if (rc < 0)
        return rc;
    rc = ask(s, "human-monitor-command", args, ret, err);
    if (rc == 0 && *ret && !json_is_string(*ret)) {
        json_decref(*ret);
        *ret = NULL;
    }
    return rc;
}

/* Who it is. */

static int add_version(struct qmp_session *s, json_t *facts, struct error *err)
{
    cleanup_json json_t *answer = NULL;
    int major, minor, micro;
    char text[64];
    int rc = ask(s, "query-version", NULL, &answer, err);

    if (rc < 0)
        return rc;
    qmp_session_version(s, &major, &minor, &micro);
    snprintf(text, sizeof(text), "%d.%d.%d", major, minor, micro);
    return put(facts, "qemu",
               json_pack("{s:i, s:i, s:i, s:s, s:s}", "major", major, "minor",
                         minor, "micro", micro, "version", text, "package",
                         json_path_str(answer, "package", "")),
               err);
}

/* "pc-i440fx-10.0-machine" is the class of machine type "pc-i440fx-10.0". */
static int add_machine(struct qmp_session *s, json_t *facts, struct error *err)
{
    static const char suffix[] = "-machine";
    cleanup_json json_t *type = NULL;
    const char *text;
    size_t len;
    int rc = ask_qom(s, "/machine", "type", &type, err);

    if (rc < 0 || !json_is_string(type))
        return rc;
    text = json_string_value(type);
    len = strlen(text);
    if (len > strlen(suffix) &&
        strcmp(text + len - strlen(suffix), suffix) == 0)
        len -= strlen(suffix);
    return put(facts, "machine", json_stringn(text, len), err);
}

static int add_names(struct qmp_session *s, json_t *facts, struct error *err)
{
    static const char no_uuid[] = "00000000-0000-0000-0000-000000000000";
    cleanup_json json_t *name = NULL;
    cleanup_json json_t *uuid = NULL;
    const char *text;
    int rc = ask(s, "query-name", NULL, &name, err);

    if (rc == 0)
        rc = ask(s, "query-uuid", NULL, &uuid, err);
    if (rc < 0)
        return rc;
    text = json_path_str(uuid, "UUID", "");
    rc = put(facts, "name", json_string(json_path_str(name, "name", "")), err);
    if (rc < 0)
        return rc;
    return put(facts, "uuid",
               json_string(strcmp(text, no_uuid) == 0 ? "" : text), err);
}

static int add_state(struct qmp_session *s, json_t *facts, struct error *err)
{
    cleanup_json json_t *status = NULL;
    cleanup_json json_t *kvm = NULL;
    int rc = ask(s, "query-status", NULL, &status, err);

    if (rc == 0)
        rc = ask(s, "query-kvm", NULL, &kvm, err);
    if (rc == 0 && status)
        rc = put(facts, "run_state",
                 json_string(json_path_str(status, "status", "")), err);
    if (rc == 0 && kvm)
        rc = put(facts, "accelerator",
                 json_string(json_path_bool(kvm, "enabled", false) ? "kvm"
                                                                   : "tcg"),
                 err);
    return rc;
}

/* Memory. */

static int add_backends(json_t *memory, const json_t *answer, struct error *err)
{
    cleanup_json json_t *list = json_array();
    const json_t *dev;
    size_t i;

    if (!list)
        return fail_nomem(err);
    json_array_foreach(answer, i, dev)
    {
        int rc = put_item(
            list,
            json_pack("{s:s, s:I, s:b}", "id", json_path_str(dev, "id", ""),
                      "bytes", (json_int_t)json_path_int(dev, "size", 0),
                      "share", json_path_bool(dev, "share", false)),
            err);

        if (rc < 0)
            return rc;
    }
    return put(memory, "backends", steal_ptr(&list), err);
}

static int add_memory(struct qmp_session *s, json_t *facts, struct error *err)
{
    cleanup_json json_t *memory = json_object();
    cleanup_json json_t *size = NULL;
    cleanup_json json_t *backends = NULL;
    cleanup_json json_t *devices = NULL;
    int rc = memory ? 0 : fail_nomem(err);

    if (rc == 0)
        rc = ask(s, "query-memory-size-summary", NULL, &size, err);
    if (rc == 0)
        rc = ask(s, "query-memdev", NULL, &backends, err);
    if (rc == 0)
        rc = ask(s, "query-memory-devices", NULL, &devices, err);
    if (rc == 0 && size)
        rc = put(memory, "base_bytes",
                 json_integer(json_path_int(size, "base-memory", 0)), err);
    if (rc == 0 && size)
        rc = put(memory, "plugged_bytes",
                 json_integer(json_path_int(size, "plugged-memory", 0)), err);
    if (rc == 0 && backends)
        rc = add_backends(memory, backends, err);
    if (rc == 0 && devices)
        rc = put(memory, "devices", steal_ptr(&devices), err);
    return rc < 0 ? rc : put(facts, "memory", steal_ptr(&memory), err);
}

/* The first word behind the name's number is its unit. */
static uint64_t unit_bytes(const char *unit)
{
    static const struct {
        const char *name;
        unsigned shift;
    } units[] = {{"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};

    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strcmp(unit, units[i].name) == 0)
            return UINT64_C(1) << units[i].shift;
    }
    return 0;
}

/* "  pc.ram    4 KiB  0x0000000000000000 0x0000000010000000 0x00…": name, page
 * size, offset, used, most. Names have no blanks, but anything else. */
static int parse_ramblock(const char *line, json_t *list, struct error *err)
{
    char name[256];
    char unit[4];
    uint64_t pages, offset, used, most;

    if (sscanf(line,
               " %255s %5" SCNu64 " %3s 0x%" SCNx64 " 0x%" SCNx64 " 0x%" SCNx64,
               name, &pages, unit, &offset, &used, &most) != 6)
        return 0;
    if (unit_bytes(unit) == 0 || used > INT64_MAX || most > INT64_MAX)
        return 0;
    return put_item(list,
                    json_pack("{s:o, s:I, s:I, s:I}", "idstr", json_text(name),
                              "page_bytes",
                              (json_int_t)(pages * unit_bytes(unit)),
                              "used_bytes", (json_int_t)used, "max_bytes",
                              (json_int_t)most),
                    err);
}

/* Calls `one` for each line of `text`, without its end, at most 511 bytes. */
static int each_line(const char *text, json_t *list,
                     int (*one)(const char *line, json_t *list,
                                struct error *err),
                     struct error *err)
{
    char line[512];

    while (*text) {
        size_t n = strcspn(text, "\r\n");
        int rc;

        snprintf(line, sizeof(line), "%.*s", (int)MIN(n, sizeof(line) - 1),
                 text);
        rc = one(line, list, err);
        if (rc < 0)
            return rc;
        text += n;
        text += strspn(text, "\r\n");
    }
    return 0;
}

int vm_facts_parse_ramblocks(const char *text, json_t **ret, struct error *err)
{
    cleanup_json json_t *list = json_array();
    int rc =
        list ? each_line(text, list, parse_ramblock, err) : fail_nomem(err);

    if (rc == 0)
        *ret = steal_ptr(&list);
    return rc;
}

/* Devices. */

static int parse_qtree_line(const char *line, json_t *list, struct error *err)
{
    line += strspn(line, " ");
    if (strncmp(line, "dev: ", 5) != 0)
        return 0;
    return put_item(list, json_text(line), err);
}

int vm_facts_parse_qtree(const char *text, json_t **ret, struct error *err)
{
    cleanup_json json_t *list = json_array();
    int rc =
        list ? each_line(text, list, parse_qtree_line, err) : fail_nomem(err);

    if (rc == 0)
        *ret = steal_ptr(&list);
    return rc;
}

static int add_human(struct qmp_session *s, json_t *facts, const char *line,
                     const char *key,
                     int (*parse)(const char *text, json_t **ret,
                                  struct error *err),
                     struct error *err)
{
    cleanup_json json_t *text = NULL;
    json_t *value;
    int rc = ask_human(s, line, &text, err);

    if (rc < 0 || !text)
        return rc;
    rc = parse(json_string_value(text), &value, err);
    return rc < 0 ? rc : put(facts, key, value, err);
}

static int add_cpus(struct qmp_session *s, json_t *facts, struct error *err)
{
    cleanup_json json_t *cpus = NULL;
    cleanup_json json_t *type = NULL;
    const char *path;
    int rc = ask(s, "query-cpus-fast", NULL, &cpus, err);

    if (rc < 0 || !json_is_array(cpus))
        return rc;
    path = json_path_str(json_array_get(cpus, 0), "qom-path", NULL);
    if (path)
        rc = ask_qom(s, path, "type", &type, err);
    if (rc < 0)
        return rc;
    return put(facts, "cpus",
               json_pack("{s:I, s:s}", "count",
                         (json_int_t)json_array_size(cpus), "model",
                         json_is_string(type) ? json_string_value(type) : ""),
               err);
}

static int put_pci_device(json_t *list, const json_t *d, struct error *err)
{
    return put_item(
        list,
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "bus",
                  (json_int_t)json_path_int(d, "bus", -1), "slot",
                  (json_int_t)json_path_int(d, "slot", -1), "function",
                  (json_int_t)json_path_int(d, "function", -1), "vendor",
                  (json_int_t)json_path_int(d, "id.vendor", -1), "device",
                  (json_int_t)json_path_int(d, "id.device", -1), "class",
                  (json_int_t)json_path_int(d, "class_info.class", -1),
                  "qdev_id", json_path_str(d, "qdev_id", "")),
        err);
}

/* Bridges behind bridges: PCI has 256 buses, JSON's depth is bounded too. */
#define PCI_DEPTH_MAX 32

static int put_pci_devices(json_t *list, const json_t *devices, unsigned depth,
                           struct error *err)
{
    const json_t *d;
    size_t i;

    json_array_foreach(devices, i, d)
    {
        int rc = put_pci_device(list, d, err);

        if (rc == 0 && depth < PCI_DEPTH_MAX)
            rc = put_pci_devices(list, json_path(d, "pci_bridge.devices"),
                                 depth + 1, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int add_pci(struct qmp_session *s, json_t *facts, struct error *err)
{
    cleanup_json json_t *list = json_array();
    cleanup_json json_t *buses = NULL;
    const json_t *bus;
    size_t i;
    int rc = list ? ask(s, "query-pci", NULL, &buses, err) : fail_nomem(err);

    if (rc < 0 || !buses)
        return rc;
    json_array_foreach(buses, i, bus)
    {
        rc = put_pci_devices(list, json_path(bus, "devices"), 0, err);
        if (rc < 0)
            return rc;
    }
    return put(facts, "pci", steal_ptr(&list), err);
}

/* Disks. */

static int put_drive(json_t *list, const json_t *d, struct error *err)
{
    return put_item(
        list,
        json_pack("{s:s, s:s, s:s, s:o, s:s, s:b, s:b}", "device",
                  json_path_str(d, "device", ""), "qdev",
                  json_path_str(d, "qdev", ""), "node",
                  json_path_str(d, "inserted.node-name", ""), "image",
                  json_text(json_path_str(d, "inserted.file", "")), "driver",
                  json_path_str(d, "inserted.drv", ""), "read_only",
                  json_path_bool(d, "inserted.ro", false), "removable",
                  json_path_bool(d, "removable", false)),
        err);
}

static int add_drives(struct qmp_session *s, json_t *facts, struct error *err)
{
    cleanup_json json_t *list = json_array();
    cleanup_json json_t *answer = NULL;
    const json_t *d;
    size_t i;
    int rc = list ? ask(s, "query-block", NULL, &answer, err) : fail_nomem(err);

    if (rc < 0)
        return rc;
    json_array_foreach(answer, i, d)
    {
        rc = put_drive(list, d, err);
        if (rc < 0)
            return rc;
    }
    return put(facts, "drives", steal_ptr(&list), err);
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++) {
        if (strcmp(word, *words) == 0)
            return true;
    }
    return false;
}

/* Drivers whose node is a thing of the host that stat(2) sees; and those whose
 * node is somewhere else. All others are formats and filters. */
static const char *const local_drivers[] = {
    "file", "host_device", "host_cdrom", "nvme-io_uring", "io_uring", NULL};
static const char *const remote_drivers[] = {
    "nbd", "rbd",  "iscsi",   "nfs",  "ssh",   "http", "https",
    "ftp", "ftps", "gluster", "nvme", "vvfat", NULL};

static int absolute_path(const char *cwd, const char *path, char **ret,
                         struct error *err)
{
    /* QEMU shows a path with a colon in it as "file:PATH". */
    if (strncmp(path, "file:", 5) == 0)
        path += 5;
    if (path[0] != '/' && cwd)
        return path_join(cwd, path, ret, err);
    *ret = strdup(path);
    return *ret ? 0 : fail_nomem(err);
}

static int put_disk(json_t *list, const json_t *node, const char *cwd,
                    struct error *err)
{
    cleanup_free char *path = NULL;
    const char *driver = json_path_str(node, "drv", "");
    bool local = is_one_of(driver, local_drivers);
    int rc;

    if (!local && !is_one_of(driver, remote_drivers))
        return 0;
    rc = absolute_path(local ? cwd : NULL, json_path_str(node, "file", ""),
                       &path, err);
    if (rc < 0)
        return rc;
    return put_item(list,
                    json_pack("{s:s, s:s, s:o, s:b, s:b}", "node",
                              json_path_str(node, "node-name", ""), "driver",
                              driver, "path", json_text(path), "read_only",
                              json_path_bool(node, "ro", false), "local",
                              local),
                    err);
}

static int add_disks(struct qmp_session *s, json_t *facts, const char *cwd,
                     struct error *err)
{
    cleanup_json json_t *list = json_array();
    cleanup_json json_t *nodes = NULL;
    json_t *args = NULL;
    const json_t *node;
    size_t i;
    int rc =
        list ? json_build(&args, err, "{s:b}", "flat", 1) : fail_nomem(err);

    if (rc == 0)
        rc = ask(s, "query-named-block-nodes", args, &nodes, err);
    if (rc < 0)
        return rc;
    json_array_foreach(nodes, i, node)
    {
        rc = put_disk(list, node, cwd, err);
        if (rc < 0)
            return rc;
    }
    rc = put(facts, "disks", steal_ptr(&list), err);
    return rc < 0 ? rc : vm_facts_stat_disks(facts, err);
}

static int stat_disk(json_t *disk, struct error *err)
{
    static const char *const of_stat[] = {"inode", "device_number",
                                          "size_bytes", "mtime_ns"};
    const char *path = json_path_str(disk, "path", "");
    struct stat st;
    bool present = json_path_bool(disk, "local", false) && stat(path, &st) == 0;
    int rc = put(disk, "present", json_boolean(present), err);

    for (size_t i = 0; i < ARRAY_LEN(of_stat); i++)
        json_object_del(disk, of_stat[i]);
    if (rc < 0 || !present)
        return rc;
    rc = put(disk, "inode", json_integer((json_int_t)st.st_ino), err);
    if (rc == 0)
        rc = put(disk, "device_number", json_integer((json_int_t)st.st_dev),
                 err);
    if (rc == 0)
        rc = put(disk, "size_bytes", json_integer(st.st_size), err);
    if (rc == 0)
        rc = put(disk, "mtime_ns",
                 json_integer((json_int_t)st.st_mtim.tv_sec * 1000000000 +
                              st.st_mtim.tv_nsec),
                 err);
    return rc;
}

int vm_facts_stat_disks(json_t *facts, struct error *err)
{
    json_t *disk;
    size_t i;

    json_array_foreach(json_object_get(facts, "disks"), i, disk)
    {
        int rc = stat_disk(disk, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

int vm_facts_query(struct qmp_session *s, const char *cwd, json_t **ret,
                   struct error *err)
{
    static int (*const plain[])(struct qmp_session * s, json_t * facts,
                                struct error * err) = {
        add_version, add_machine, add_names, add_state,
        add_memory,  add_cpus,    add_pci,   add_drives,
    };
    cleanup_json json_t *facts = json_pack("{s:i}", "facts", 1);
    int rc = facts ? 0 : fail_nomem(err);

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(plain); i++)
        rc = plain[i](s, facts, err);
    if (rc == 0)
        rc = add_human(s, facts, "info ramblock", "ramblocks",
                       vm_facts_parse_ramblocks, err);
    if (rc == 0)
        rc = add_human(s, facts, "info qtree", "devices", vm_facts_parse_qtree,
                       err);
    if (rc == 0)
        rc = add_disks(s, facts, cwd, err);
    if (rc == 0)
        *ret = steal_ptr(&facts);
    return rc;
}

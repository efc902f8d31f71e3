#include "tests/fakes/assert_error.h"

#include <fcntl.h>

#include "core/host/process.h"
#include "restore/machine/preflight.h"
#include "tests/fakes/temp_folder.h"

/* A small VM as both sides tell it; tests change one thing. In single quotes,
 * for reading; the double ones belong to the names. */
static const char facts_text[] =
    "{'qemu':{'major':10,'minor':0,'micro':2,'version':'10.0.2'},"
    " 'machine':'pc-i440fx-10.0','uuid':'u1','accelerator':'tcg',"
    " 'ramblocks':["
    "  {'idstr':'pc.ram','page_bytes':4096,'used_bytes':1048576,"
    "   'max_bytes':1048576},"
    "  {'idstr':'/rom@etc/acpi/tables','page_bytes':4096,"
    "   'used_bytes':131072,'max_bytes':2097152},"
    "  {'idstr':'not.migrated','page_bytes':4096,'used_bytes':4096,"
    "   'max_bytes':4096}],"
    " 'cpus':{'count':1,'model':'qemu64-x86_64-cpu'},"
    " 'pci':["
    "  {'bus':0,'slot':1,'function':0,'vendor':32902,'device':28672,"
    "   'class':1537,'qdev_id':''},"
    "  {'bus':0,'slot':2,'function':0,'vendor':6900,'device':4097,"
    "   'class':256,'qdev_id':'disk0'},"
    "  {'bus':7,'slot':0,'function':0,'vendor':6900,'device':4097,"
    "   'class':256,'qdev_id':''}],"
    " 'devices':['dev: i440FX-pcihost, id \"\"',"
    "  'dev: virtio-blk-pci, id \"disk0\"','dev: isa-serial, id \"\"',"
    "  'dev: isa-serial, id \"\"']}";

struct fixture {
    json_t *recorded;
    json_t *target;
    struct ramblock_list blocks;
    struct preflight_lists lists;
};

static json_t *make_facts(void)
{
    json_t *facts;
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    for (const char *p = facts_text; *p; p++) {
        if (*p == '"')
            assert_ok(buf_append(&b, "\\\"", 2, &err), &err);
        else
            assert_ok(buf_append_u8(&b, *p == '\'' ? '"' : (uint8_t)*p, &err),
                      &err);
    }
    facts = json_loadb((const char *)b.data, b.len, 0, NULL);
    assert_non_null(facts);
    return facts;
}

static void add_block(struct fixture *f, const char *idstr, uint64_t bytes)
{
    struct ramblock b = {.used_bytes = bytes, .host_page_bytes = PAGE_BYTES};
    struct error err = ERROR_INIT;

    snprintf(b.idstr, sizeof(b.idstr), "%s", idstr);
    assert_ok(ramblock_list_add(&f->blocks, &b, &err), &err);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->recorded = make_facts();
    f->target = make_facts();
    add_block(f, "pc.ram", 1048576);
    add_block(f, "/rom@etc/acpi/tables", 131072);
    f->lists.differences = json_array();
    f->lists.notes = json_array();
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    json_decref(f->recorded);
    json_decref(f->target);
    json_decref(f->lists.differences);
    json_decref(f->lists.notes);
    ramblock_list_release(&f->blocks);
    free(f);
    return 0;
}

static void compare(struct fixture *f)
{
    struct error err = ERROR_INIT;

    assert_ok(preflight_machine(f->recorded, &f->blocks, f->target, &f->lists,
                                &err),
              &err);
}

/* Exactly one difference, which says this. */
static void assert_difference(struct fixture *f, const char *text)
{
    struct error err = ERROR_INIT;

    compare(f);
    assert_int_equal(json_array_size(f->lists.differences), 1);
    assert_error(preflight_verdict(&f->lists, &err), &err, ERR_INCOMPATIBLE,
                 text);
    assert_string_equal(err.message, text);
}

static json_t *at(json_t *facts, const char *list, size_t i)
{
    json_t *item = json_array_get(json_path(facts, list), i);

    assert_non_null(item);
    return item;
}

static void equal_machines_have_no_difference(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    compare(f);

    assert_int_equal(json_array_size(f->lists.differences), 0);
    assert_int_equal(json_array_size(f->lists.notes), 0);
    assert_ok(preflight_verdict(&f->lists, &err), &err);
}

static void another_machine_type_is_named(void **state)
{
    struct fixture *f = *state;

    /* QEMU itself would accept the prefix. */
    json_object_set_new(f->target, "machine", json_string("pc-i440fx-10.0x"));

    assert_difference(f, "machine type is 'pc-i440fx-10.0x', the snapshot has "
                         "'pc-i440fx-10.0'");
}

static void another_number_of_cpus_is_named(void **state)
{
    struct fixture *f = *state;

    json_object_set_new(json_path(f->target, "cpus"), "count", json_integer(2));

    assert_difference(f, "number of CPUs is 2, the snapshot has 1");
}

static void another_cpu_model_is_named(void **state)
{
    struct fixture *f = *state;

    json_object_set_new(json_path(f->target, "cpus"), "model",
                        json_string("max-x86_64-cpu"));

    assert_difference(f, "CPU model is 'max-x86_64-cpu', the snapshot has "
                         "'qemu64-x86_64-cpu'");
}

static void another_accelerator_is_named(void **state)
{
    struct fixture *f = *state;

    json_object_set_new(f->target, "accelerator", json_string("kvm"));

    assert_difference(f, "accelerator is 'kvm', the snapshot has 'tcg'");
}

static void an_older_qemu_is_named_a_newer_one_is_fine(void **state)
{
    struct fixture *f = *state;
    json_t *qemu = json_path(f->target, "qemu");

    json_object_set_new(qemu, "minor", json_integer(1));
    compare(f);
    assert_int_equal(json_array_size(f->lists.differences), 0);
    json_object_set_new(qemu, "major", json_integer(9));
    json_object_set_new(qemu, "minor", json_integer(2));

    assert_difference(f, "QEMU is 9.2, older than the 10.0 that was captured");
}

static void an_older_micro_version_is_fine(void **state)
{
    struct fixture *f = *state;

    json_object_set_new(json_path(f->target, "qemu"), "micro", json_integer(0));
    compare(f);

    assert_int_equal(json_array_size(f->lists.differences), 0);
}

static void other_ram_is_named_with_both_sizes(void **state)
{
    struct fixture *f = *state;

    json_object_set_new(at(f->target, "ramblocks", 0), "used_bytes",
                        json_integer(2097152));

    assert_difference(
        f, "RAM block 'pc.ram' has 2097152 bytes, the snapshot has 1048576");
}

static void a_resizable_table_may_differ_up_to_its_maximum(void **state)
{
    struct fixture *f = *state;

    json_object_set_new(at(f->target, "ramblocks", 1), "used_bytes",
                        json_integer(65536));
    compare(f);
    assert_int_equal(json_array_size(f->lists.differences), 0);
    json_object_set_new(at(f->target, "ramblocks", 1), "max_bytes",
                        json_integer(65536));

    assert_difference(f, "RAM block '/rom@etc/acpi/tables' has 65536 bytes, "
                         "the snapshot has 131072");
}

static void a_missing_ram_block_is_named(void **state)
{
    struct fixture *f = *state;

    json_array_remove(json_path(f->target, "ramblocks"), 0);

    assert_difference(f, "RAM block 'pc.ram' of the snapshot is missing");
}

static void an_extra_ram_block_is_named(void **state)
{
    struct fixture *f = *state;

    json_array_append_new(json_path(f->target, "ramblocks"),
                          json_pack("{s:s, s:i}", "idstr", "vga.vram",
                                    "used_bytes", 4096));

    assert_difference(f, "RAM block 'vga.vram' is not in the snapshot");
}

static void a_block_that_never_migrates_is_no_difference(void **state)
{
    struct fixture *f = *state;

    json_array_remove(json_path(f->recorded, "ramblocks"), 2);

    assert_difference(f, "RAM block 'not.migrated' is not in the snapshot");
}

static void a_missing_pci_device_is_named_once(void **state)
{
    struct fixture *f = *state;

    json_array_remove(json_path(f->target, "pci"), 1);
    json_array_remove(json_path(f->target, "devices"), 1);

    assert_difference(f, "device 'PCI device 1af4:1001 at 02.0 disk0' of the "
                         "snapshot is missing");
}

static void a_pci_device_in_another_slot_is_two_differences(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    json_object_set_new(at(f->target, "pci", 1), "slot", json_integer(5));
    compare(f);

    assert_int_equal(json_array_size(f->lists.differences), 2);
    assert_error(preflight_verdict(&f->lists, &err), &err, ERR_INCOMPATIBLE,
                 "at 02.0 disk0' of the snapshot is missing (and 1 more "
                 "difference)");
}

static void what_lies_behind_a_bridge_is_not_compared_by_bus(void **state)
{
    struct fixture *f = *state;

    json_array_remove(json_path(f->target, "pci"), 2);
    compare(f);

    assert_int_equal(json_array_size(f->lists.differences), 0);
}

static void an_extra_device_without_pci_is_named(void **state)
{
    struct fixture *f = *state;

    json_array_append_new(json_path(f->target, "devices"),
                          json_string("dev: isa-serial, id \"\""));

    assert_difference(
        f, "device 'dev: isa-serial, id \"\"' is not in the snapshot");
}

static void the_device_tree_is_not_compared_across_versions(void **state)
{
    struct fixture *f = *state;

    json_object_set_new(json_path(f->target, "qemu"), "minor", json_integer(1));
    json_array_append_new(json_path(f->target, "devices"),
                          json_string("dev: fw_cfg_io, id \"\""));
    compare(f);

    assert_int_equal(json_array_size(f->lists.differences), 0);
}

static void another_uuid_is_only_a_note(void **state)
{
    struct fixture *f = *state;

    json_object_set_new(f->target, "uuid", json_string("u2"));
    compare(f);

    assert_int_equal(json_array_size(f->lists.differences), 0);
    assert_string_equal(json_string_value(json_array_get(f->lists.notes, 0)),
                        "uuid is 'u2', the snapshot has 'u1'");
}

static void facts_that_one_side_lacks_are_not_compared(void **state)
{
    struct fixture *f = *state;

    json_object_del(f->recorded, "accelerator");
    json_object_del(f->recorded, "cpus");
    json_object_del(f->target, "pci");
    json_object_del(f->target, "devices");
    json_object_del(f->target, "qemu");
    compare(f);

    assert_int_equal(json_array_size(f->lists.differences), 0);
}

static void facts_of_any_shape_are_survived(void **state)
{
    static const char *const keys[] = {
        "qemu", "machine", "ramblocks", "cpus", "pci", "devices", "uuid",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        json_object_set_new(f->recorded, keys[i],
                            json_pack("[i,s,[]]", 5, "x"));
        json_object_set_new(f->target, keys[i], json_pack("{s:n}", "x"));
    }
    compare(f);
}

static void the_host_page_of_a_block_is_the_targets(void **state)
{
    struct fixture *f = *state;

    json_object_set_new(at(f->target, "ramblocks", 0), "page_bytes",
                        json_integer(2097152));

    assert_int_equal(preflight_host_page(f->target, "pc.ram"), 2097152);
    assert_int_equal(preflight_host_page(f->target, "nobody"), 4096);
}

/* The original. */

static json_t *process_facts(pid_t pid, uint64_t start)
{
    char boot[BOOT_ID_LEN + 1];
    struct error err = ERROR_INIT;

    assert_ok(process_boot_id(boot, &err), &err);
    return json_pack("{s:{s:i, s:I, s:s}}", "process", "pid", (int)pid,
                     "start_ticks", (json_int_t)start, "boot_id", boot);
}

static void an_original_that_lives_forbids_the_restore(void **state)
{
    uint64_t start;
    struct error err = ERROR_INIT;
    cleanup_json json_t *facts = NULL;

    assert_ok(process_start_time(getpid(), &start, &err), &err);
    facts = process_facts(getpid(), start);

    assert_error(preflight_original(facts, false, NULL, &err), &err, ERR_INCOMPATIBLE,
                 "still runs");
    assert_non_null(strstr(err.hint, "end it first"));
}

static void a_pid_that_was_used_again_is_not_the_original(void **state)
{
    uint64_t start;
    struct error err = ERROR_INIT;
    cleanup_json json_t *facts = NULL;

    assert_ok(process_start_time(getpid(), &start, &err), &err);
    facts = process_facts(getpid(), start + 1);

    assert_ok(preflight_original(facts, false, NULL, &err), &err);
}

static void a_pid_of_another_boot_is_not_the_original(void **state)
{
    uint64_t start;
    struct error err = ERROR_INIT;
    cleanup_json json_t *facts = NULL;

    assert_ok(process_start_time(getpid(), &start, &err), &err);
    facts = process_facts(getpid(), start);
    json_object_set_new(json_path(facts, "process"), "boot_id",
                        json_string("another"));

    assert_ok(preflight_original(facts, false, NULL, &err), &err);
}

/* Disks. */

static json_t *disk_facts(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return json_pack(
        "{s:[{s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:I}]}", "disks", "node", "n",
        "path", path, "local", 1, "present", 1, "inode", (json_int_t)st.st_ino,
        "device_number", (json_int_t)st.st_dev, "size_bytes",
        (json_int_t)st.st_size, "mtime_ns",
        (json_int_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
}

static void with_disk(void **state, void (*change)(const char *path),
                      const char *difference)
{
    struct fixture *f = *state;
    struct temp_folder t;
    char path[200];
    struct error err = ERROR_INIT;
    cleanup_json json_t *facts = NULL;
    int fd;

    temp_folder_init(&t);
    snprintf(path, sizeof(path), "%s/disk.img", t.path);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "disk", 4), 4);
    close(fd);
    facts = disk_facts(path);
    change(path);
    assert_ok(preflight_disks(facts, NULL, &f->lists, &err), &err);
    temp_folder_release(&t);

    if (!difference) {
        assert_int_equal(json_array_size(f->lists.differences), 0);
        return;
    }
    assert_int_equal(json_array_size(f->lists.differences), 1);
    assert_error(preflight_verdict(&f->lists, &err), &err, ERR_INCOMPATIBLE,
                 difference);
    assert_message(&err, path);
}

static void leave_it(const char *path)
{
}

static void touch(const char *path)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 5}};

    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void grow(const char *path)
{
    assert_int_equal(truncate(path, 4096), 0);
}

static void replace(const char *path)
{
    char copy[256];
    int fd;

    snprintf(copy, sizeof(copy), "%s.2", path);
    fd = open(copy, O_WRONLY | O_CREAT, 0600);
    close(fd);
    assert_int_equal(rename(copy, path), 0);
}

static void delete_it(const char *path)
{
    assert_int_equal(unlink(path), 0);
}

static void a_disk_as_it_was_is_no_difference(void **state)
{
    with_disk(state, leave_it, NULL);
}

static void a_disk_written_since_is_named(void **state)
{
    with_disk(state, touch, "was written since");
}

static void a_disk_of_another_size_is_named(void **state)
{
    with_disk(state, grow, "has another size");
}

static void a_disk_put_in_its_place_is_named(void **state)
{
    with_disk(state, replace, "is another file");
}

static void a_disk_that_is_gone_is_named(void **state)
{
    with_disk(state, delete_it, "is not there any more");
}

static void a_disk_of_another_host_is_a_note(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    cleanup_json json_t *facts =
        json_pack("{s:[{s:s, s:b, s:b}]}", "disks", "path", "nbd://h/x",
                  "local", 0, "present", 0);

    assert_ok(preflight_disks(facts, NULL, &f->lists, &err), &err);

    assert_int_equal(json_array_size(f->lists.differences), 0);
    assert_int_equal(json_array_size(f->lists.notes), 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(equal_machines_have_no_difference),
        T(another_machine_type_is_named),
        T(another_number_of_cpus_is_named),
        T(another_cpu_model_is_named),
        T(another_accelerator_is_named),
        T(an_older_qemu_is_named_a_newer_one_is_fine),
        T(an_older_micro_version_is_fine),
        T(other_ram_is_named_with_both_sizes),
        T(a_resizable_table_may_differ_up_to_its_maximum),
        T(a_missing_ram_block_is_named),
        T(an_extra_ram_block_is_named),
        T(a_block_that_never_migrates_is_no_difference),
        T(a_missing_pci_device_is_named_once),
        T(a_pci_device_in_another_slot_is_two_differences),
        T(what_lies_behind_a_bridge_is_not_compared_by_bus),
        T(an_extra_device_without_pci_is_named),
        T(the_device_tree_is_not_compared_across_versions),
        T(another_uuid_is_only_a_note),
        T(facts_that_one_side_lacks_are_not_compared),
        T(facts_of_any_shape_are_survived),
        T(the_host_page_of_a_block_is_the_targets),
        cmocka_unit_test(an_original_that_lives_forbids_the_restore),
        cmocka_unit_test(a_pid_that_was_used_again_is_not_the_original),
        cmocka_unit_test(a_pid_of_another_boot_is_not_the_original),
        T(a_disk_as_it_was_is_no_difference),
        T(a_disk_written_since_is_named),
        T(a_disk_of_another_size_is_named),
        T(a_disk_put_in_its_place_is_named),
        T(a_disk_that_is_gone_is_named),
        T(a_disk_of_another_host_is_a_note),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

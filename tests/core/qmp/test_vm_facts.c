#include "tests/fakes/assert_error.h"

#include <sys/stat.h>

#include "core/qmp/vm_facts.h"
#include "tests/fakes/fake_qemu.h"
#include "tests/fakes/temp_folder.h"

struct fixture {
    struct temp_folder folder;
    struct stopper stop;
    struct fake_qemu qemu;
    json_t *facts;
    struct error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->folder);
    *state = f;
    return stopper_init(&f->stop, &f->err);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    json_decref(f->facts);
    fake_qemu_release(&f->qemu);
    stopper_release(&f->stop);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

static void ask(struct fixture *f, const struct fake_qemu_args *args)
{
    struct qmp_open_args open_args = {.path = f->qemu.path, .stop = &f->stop};
    struct qmp_session *session = NULL;

    fake_qemu_start(&f->qemu, args);
    assert_ok(qmp_session_open(&open_args, &session, &f->err), &f->err);
    assert_ok(vm_facts_query(session, f->folder.path, &f->facts, &f->err),
              &f->err);
    qmp_session_close(session);
    fake_qemu_stop(&f->qemu);
}

static void a_vm_is_known_by_its_answers(void **state)
{
    struct fixture *f = *state;

    ask(f, &(struct fake_qemu_args){
               .major = 10,
               .name = "vm",
               .uuid = "6f1c1d4e-5a0b-4c57-9d7e-0a3c8f0b1a2d"});

    assert_int_equal(json_path_int(f->facts, "facts", 0), 1);
    assert_string_equal(json_path_str(f->facts, "qemu.version", ""), "10.0.0");
    assert_string_equal(json_path_str(f->facts, "machine", ""),
                        "pc-i440fx-10.0");
    assert_string_equal(json_path_str(f->facts, "name", ""), "vm");
    assert_string_equal(json_path_str(f->facts, "uuid", ""),
                        "6f1c1d4e-5a0b-4c57-9d7e-0a3c8f0b1a2d");
    assert_string_equal(json_path_str(f->facts, "run_state", ""), "running");
    assert_string_equal(json_path_str(f->facts, "accelerator", ""), "tcg");
    assert_int_equal(json_array_size(json_path(f->facts, "ramblocks")), 1);
    assert_int_equal(json_array_size(json_path(f->facts, "devices")), 1);
}

static void a_uuid_of_zeros_is_none(void **state)
{
    struct fixture *f = *state;

    ask(f, &(struct fake_qemu_args){.major = 7, .minor = 2, .kvm = true});

    assert_string_equal(json_path_str(f->facts, "uuid", "unset"), "");
    assert_string_equal(json_path_str(f->facts, "name", "unset"), "");
    assert_string_equal(json_path_str(f->facts, "accelerator", ""), "kvm");
}

static void what_qemu_does_not_answer_is_left_out(void **state)
{
    struct fixture *f = *state;

    ask(f, &(struct fake_qemu_args){.major = 10, .refused_command = "qom-get"});

    assert_null(json_path(f->facts, "machine"));
    assert_null(json_path(f->facts, "cpus"));
    assert_non_null(json_path(f->facts, "ramblocks"));
}

static void without_block_nodes_the_disks_are_empty(void **state)
{
    struct fixture *f = *state;

    ask(f, &(struct fake_qemu_args){
               .major = 10, .refused_command = "query-named-block-nodes"});

    assert_true(json_is_array(json_path(f->facts, "disks")));
    assert_true(json_is_array(json_path(f->facts, "drives")));
}

static void the_files_of_block_nodes_are_found_and_looked_at(void **state)
{
    struct fixture *f = *state;
    cleanup_close int fd =
        openat(f->folder.fd, "disk.raw", O_CREAT | O_WRONLY, 0600);
    const json_t *disk;
    struct stat st;

    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(fstat(fd, &st), 0);
    ask(f, &(struct fake_qemu_args){
               .major = 10,
               .block_nodes =
                   "[{\"node-name\": \"d0\", \"drv\": \"file\", \"ro\": false,"
                   "  \"file\": \"disk.raw\"},"
                   " {\"node-name\": \"q0\", \"drv\": \"qcow2\","
                   "  \"file\": \"disk.raw\"},"
                   " {\"node-name\": \"n0\", \"drv\": \"nbd\", \"ro\": true,"
                   "  \"file\": \"nbd://host/x\"},"
                   " {\"node-name\": \"g0\", \"drv\": \"file\", \"ro\": true,"
                   "  \"file\": \"file:/gone/image:1\"}]"});

    assert_int_equal(json_array_size(json_path(f->facts, "disks")), 3);
    disk = json_array_get(json_path(f->facts, "disks"), 0);
    assert_non_null(strstr(json_path_str(disk, "path", ""), "/disk.raw"));
    assert_int_equal(json_path_str(disk, "path", "")[0], '/');
    assert_true(json_path_bool(disk, "present", false));
    assert_int_equal(json_path_int(disk, "inode", 0), st.st_ino);
    assert_int_equal(json_path_int(disk, "size_bytes", 0), 4096);
    assert_int_equal(json_path_int(disk, "mtime_ns", 0),
                     st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);

    disk = json_array_get(json_path(f->facts, "disks"), 1);
    assert_false(json_path_bool(disk, "local", true));
    assert_string_equal(json_path_str(disk, "path", ""), "nbd://host/x");
    disk = json_array_get(json_path(f->facts, "disks"), 2);
    assert_false(json_path_bool(disk, "present", true));
    assert_string_equal(json_path_str(disk, "path", ""), "/gone/image:1");
}

static void a_second_look_sees_what_changed(void **state)
{
    struct fixture *f = *state;
    cleanup_close int fd =
        openat(f->folder.fd, "disk.raw", O_CREAT | O_WRONLY, 0600);
    const json_t *disk;

    ask(f, &(struct fake_qemu_args){
               .major = 10,
               .block_nodes = "[{\"node-name\": \"d0\", \"drv\": \"file\","
                              " \"file\": \"disk.raw\"}]"});
    disk = json_array_get(json_path(f->facts, "disks"), 0);
    assert_int_equal(json_path_int(disk, "size_bytes", -1), 0);

    assert_int_equal(ftruncate(fd, 8192), 0);
    assert_ok(vm_facts_stat_disks(f->facts, &f->err), &f->err);
    assert_int_equal(json_path_int(disk, "size_bytes", -1), 8192);

    assert_int_equal(unlinkat(f->folder.fd, "disk.raw", 0), 0);
    assert_ok(vm_facts_stat_disks(f->facts, &f->err), &f->err);
    assert_false(json_path_bool(disk, "present", true));
    assert_null(json_path(disk, "size_bytes"));
}

/* Pure. */

static void ramblocks_of_both_versions_are_understood(void **state)
{
    static const char text[] =
        "              Block Name    PSize              Offset               "
        "Used              Total\r\n"
        "                  pc.ram    4 KiB  0x0000000000000000 "
        "0x0000000010000000 0x0000000010000000\r\n"
        "    /rom@etc/acpi/tables    4 KiB  0x0000000010040000 "
        "0x0000000000020000 0x0000000000200000 0x00007f8a0be00000  rw\r\n"
        "                huge.mem    2 MiB  0x0000000010040000 "
        "0x0000000000200000 0x0000000000200000\r\n";
    struct error err = ERROR_INIT;
    cleanup_json json_t *list = NULL;
    const json_t *b;

    assert_ok(vm_facts_parse_ramblocks(text, &list, &err), &err);

    assert_int_equal(json_array_size(list), 3);
    b = json_array_get(list, 1);
    assert_string_equal(json_path_str(b, "idstr", ""), "/rom@etc/acpi/tables");
    assert_int_equal(json_path_int(b, "page_bytes", 0), 4096);
    assert_int_equal(json_path_int(b, "used_bytes", 0), 0x20000);
    assert_int_equal(json_path_int(b, "max_bytes", 0), 0x200000);
    b = json_array_get(list, 2);
    assert_int_equal(json_path_int(b, "page_bytes", 0), 2 << 20);
}

static void lines_that_are_no_ramblocks_are_left_out(void **state)
{
    static const char text[] = "pc.ram 4 KiB 0x0 0x1000\r\n"
                               "pc.ram 4 XiB 0x0 0x1000 0x1000\r\n"
                               "pc.ram 4 KiB 0x0 0xffffffffffffffff 0x1000\r\n"
                               "\r\nnothing at all";
    struct error err = ERROR_INIT;
    cleanup_json json_t *list = NULL;

    assert_ok(vm_facts_parse_ramblocks(text, &list, &err), &err);

    assert_int_equal(json_array_size(list), 0);
}

static void device_lines_are_picked_out_of_the_tree(void **state)
{
    static const char text[] = "bus: main-system-bus\r\n"
                               "  type System\r\n"
                               "  dev: hpet, id \"\"\r\n"
                               "    gpio-in \"\" 2\r\n"
                               "    bus: pci.0\r\n"
                               "      dev: virtio-blk-pci, id \"d0\"\r\n";
    struct error err = ERROR_INIT;
    cleanup_json json_t *list = NULL;

    assert_ok(vm_facts_parse_qtree(text, &list, &err), &err);

    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(json_array_get(list, 1)),
                        "dev: virtio-blk-pci, id \"d0\"");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_vm_is_known_by_its_answers),
        TEST(a_uuid_of_zeros_is_none),
        TEST(what_qemu_does_not_answer_is_left_out),
        TEST(without_block_nodes_the_disks_are_empty),
        TEST(the_files_of_block_nodes_are_found_and_looked_at),
        TEST(a_second_look_sees_what_changed),
        cmocka_unit_test(ramblocks_of_both_versions_are_understood),
        cmocka_unit_test(lines_that_are_no_ramblocks_are_left_out),
        cmocka_unit_test(device_lines_are_picked_out_of_the_tree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include "cli/summary.h"
#include "core/base/clock.h"

static struct snapshot_summary summary = {
    .id = "0123456789abcdef",
    .vm = "vm1",
    .time_ns = 1700000000 * NS_PER_SEC,
    .mode = "stream",
    .run_state = "running",
    .machine = "pc-i440fx-10.0",
    .qemu_version = "10.0.2",
    .ram_bytes = 4096 * 10,
    .pages_total = 10,
    .pages_zero = 3,
    .pages_duplicate = 2,
    .pages_stored = 5,
    .stored_bytes = 777,
    .device_bytes = 55,
    .downtime_ms = 12,
    .duration_ms = 345,
    .rounds = 3,
    .channels = 1,
};

/* These names are a contract with programs: added to, never renamed. */
static void the_names_of_the_fields_stay(void **state)
{
    cleanup_json json_t *object = summary_json(&summary);
    cleanup_buf struct buf text = BUF_INIT;
    struct error err;

    assert_int_equal(json_print(object, &text, &err), 0);
    assert_string_equal(
        buf_str(&text),
        "{\"type\":\"snapshot\",\"id\":\"0123456789abcdef\",\"vm\":\"vm1\","
        "\"vm_uuid\":\"\",\"time\":\"2023-11-14T22:13:20Z\",\"mode\":"
        "\"stream\",\"run_state\":\"running\",\"machine\":\"pc-i440fx-10.0\","
        "\"qemu_version\":\"10.0.2\",\"downtime_ms\":12,\"duration_ms\":345,"
        "\"rounds\":3,\"channels\":1,\"ram_bytes\":40960,\"pages\":{\"total\":"
        "10,\"zero\":3,\"duplicate\":2,\"stored\":5,\"superseded\":0,"
        "\"unseen\":0},\"stored_bytes\":777,\"device_bytes\":55,\"tags\":{}}");
}

static void a_name_that_is_no_text_does_no_harm(void **state)
{
    struct snapshot_summary odd = summary;
    cleanup_json json_t *object = NULL;

    snprintf(odd.vm, sizeof(odd.vm), "vm\xff");
    object = summary_json(&odd);

    assert_string_equal(json_path_str(object, "vm", ""), "vm?");
}

static void tags_stand_behind_each_other(void **state)
{
    cleanup_json json_t *tags = json_pack("{s:s, s:s}", "b", "1", "a", "x y");
    cleanup_buf struct buf text = BUF_INIT;
    struct error err;

    assert_int_equal(summary_append_tags(NULL, &text, &err), 0);
    assert_int_equal(text.len, 0);
    assert_int_equal(summary_append_tags(tags, &text, &err), 0);
    assert_string_equal(buf_str(&text), "b=1, a=x y");
}

static void the_cost_of_a_capture_is_told_by_stages(void **state)
{
    struct snapshot_summary s = summary;
    cleanup_json json_t *object = NULL;
    cleanup_buf struct buf text = BUF_INIT;
    struct error err;

    s.ram_bytes = UINT64_C(2) << 30;
    s.cost.cpu.ns[CPU_COMPRESS] = 3 * NS_PER_SEC;
    s.cost.cpu.ns[CPU_WRITE] = NS_PER_SEC;
    s.cost.peak_bytes = 45000000;
    object = summary_json(&s);

    assert_int_equal(json_real_value(json_path(object, "cpu_ms.compress")),
                     3000);
    assert_int_equal(json_path_int(object, "peak_bytes", 0), 45000000);
    assert_int_equal(summary_append_cost(&s.cost, s.ram_bytes, &text, &err), 0);
    assert_string_equal(
        buf_str(&text),
        "2.00 CPU seconds a GiB of RAM: receive 0.000, zero 0.000, hash 0.000, "
        "compress 1.500, write 0.500, index 0.000, other 0.000; at most 45 MB "
        "of memory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_names_of_the_fields_stay),
        cmocka_unit_test(a_name_that_is_no_text_does_no_harm),
        cmocka_unit_test(tags_stand_behind_each_other),
        cmocka_unit_test(the_cost_of_a_capture_is_told_by_stages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include "core/host/host_probe.h"

static void every_probe_says_something(void **state)
{
    void (*const probes[])(struct host_finding *) = {
        host_probe_kernel,
        host_probe_userfaultfd,
        host_probe_memlock,
        host_probe_kvm,
    };

    for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
        struct host_finding f = {.status = HOST_STATUS__COUNT};

        probes[i](&f);

        assert_true(f.status < HOST_STATUS__COUNT);
        assert_true(f.detail[0] != '\0');
    }
}

/* What is wrong without a word on what helps would be half an answer. */
static void what_is_not_ok_has_a_remedy(void **state)
{
    struct host_finding f;

    host_probe_unnamed_files("/nowhere", &f);
    assert_int_equal(f.status, HOST_MISSING);
    assert_non_null(strstr(f.detail, "'/nowhere': No such file"));
    assert_non_null(strstr(f.remedy, "writable"));

    host_probe_unnamed_files("/proc", &f);
    assert_int_equal(f.status, HOST_MISSING);
    assert_true(f.remedy[0] != '\0');
}

static void unnamed_files_and_space_are_found_in_tmp(void **state)
{
    struct host_finding f;

    host_probe_unnamed_files("/dev/shm", &f);
    assert_int_equal(f.status, HOST_OK);
    assert_string_equal(f.remedy, "");

    host_probe_space("/dev/shm", &f);
    assert_non_null(strstr(f.detail, "GiB free in '/dev/shm'"));
    host_probe_space("/nowhere", &f);
    assert_int_equal(f.status, HOST_WARNING);
}

static void each_status_has_its_name(void **state)
{
    assert_string_equal(host_status_name(HOST_OK), "ok");
    assert_string_equal(host_status_name(HOST_WARNING), "warning");
    assert_string_equal(host_status_name(HOST_MISSING), "missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_probe_says_something),
        cmocka_unit_test(what_is_not_ok_has_a_remedy),
        cmocka_unit_test(unnamed_files_and_space_are_found_in_tmp),
        cmocka_unit_test(each_status_has_its_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

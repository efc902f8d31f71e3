#include "tests/fakes/assert_error.h"

#include <unistd.h>

#include "cli/run/run_report.h"
#include "tests/cli/capture.h"

static const struct config_vm vm = {.name = "web"};

static void the_worst_is_by_weight_not_by_number(void **state)
{
    static const int order[] = {
        ERR_INTERRUPTED, ERR_TERMINATED,   ERR_CORRUPT, ERR_FORMAT,
        ERR_NOREPO,      ERR_WRONGKEY,     ERR_NOSPC,   ERR_USAGE,
        ERR_INCOMPATIBLE, ERR_UNSUPPORTED, ERR_TIMEOUT, ERR_BUDGET,
        ERR_PEER,        ERR_LOCKED,       ERR_PARTIAL, 0};

    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        for (size_t k = 0; k < ARRAY_LEN(order); k++)
            assert_int_equal(run_report_worse(order[i], order[k]), i < k);
    }
    /* One status, one weight. */
    assert_false(run_report_worse(ERR_IO, ERR_UNSUPPORTED));
    assert_false(run_report_worse(ERR_UNSUPPORTED, ERR_IO));
}

/* What a report of these tasks prints; its status. */
static int report_of(const struct run_task *tasks, size_t n,
                     struct run_report *r, int fd, char *text, size_t size)
{
    struct capture capture;
    struct error err;
    int rc;

    capture_start(&capture, fd);
    for (size_t i = 0; i < n; i++)
        run_report_add(r, &tasks[i]);
    rc = run_report_end(r, 1234, &err);
    capture_end(&capture, text, size);
    return rc;
}

static void all_well_is_silence(void **state)
{
    static const struct run_task tasks[] = {
        {.vm = &vm, .repository = "/r", .result = RUN_OK, .id = "0123"},
        {.vm = &vm, .repository = "/r", .result = RUN_NOT_RUNNING},
        {.repository = "/r", .result = RUN_OK},
    };
    struct cli cli = {.program = "firn"};
    struct run_report r = {.cli = &cli};
    char text[1024];

    assert_int_equal(
        report_of(tasks, 3, &r, STDERR_FILENO, text, sizeof(text)), 0);
    assert_string_equal(text, "");
    r = (struct run_report){.cli = &cli};
    assert_int_equal(
        report_of(tasks, 3, &r, STDOUT_FILENO, text, sizeof(text)), 0);
    assert_string_equal(text, "");
}

static void each_failure_is_one_line(void **state)
{
    struct run_task tasks[] = {
        {.vm = &vm, .repository = "/r", .result = RUN_FAILED},
        {.repository = "/r", .result = RUN_FAILED},
    };
    struct cli cli = {.program = "firn"};
    struct run_report r = {.cli = &cli};
    char text[1024];

    fail(&tasks[0].why, ERR_PEER, "hangs");
    error_hint(&tasks[0].why, "look");
    fail(&tasks[1].why, ERR_CORRUPT, "check: bit");
    assert_int_equal(
        report_of(tasks, 2, &r, STDERR_FILENO, text, sizeof(text)),
        ERR_CORRUPT);
    assert_string_equal(text, "firn: web: hangs (look)\nfirn: /r: check: bit\n");
}

static void json_counts_vms_and_tells_the_status(void **state)
{
    struct run_task tasks[] = {
        {.vm = &vm, .repository = "/r", .result = RUN_OK},
        {.vm = &vm, .repository = "/r", .result = RUN_NOT_DUE},
        {.vm = &vm, .repository = "/r", .result = RUN_NOT_RUNNING},
        {.vm = &vm, .repository = "/r", .result = RUN_FAILED},
    };
    struct cli cli = {.program = "firn", .json = true, .quiet = true};
    struct run_report r = {.cli = &cli};
    char text[4096];

    fail(&tasks[3].why, ERR_NOSPC, "full");
    assert_int_equal(
        report_of(tasks, 4, &r, STDOUT_FILENO, text, sizeof(text)),
        ERR_NOSPC);
    assert_non_null(strstr(text, "{\"type\":\"run\",\"ok\":1,\"not_due\":1,"
                                 "\"not_running\":1,\"failed\":1,"
                                 "\"duration_ms\":1234,\"status\":15}\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worst_is_by_weight_not_by_number),
        cmocka_unit_test(all_well_is_silence),
        cmocka_unit_test(each_failure_is_one_line),
        cmocka_unit_test(json_counts_vms_and_tells_the_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include <errno.h>

static void fail_fills_the_value_and_returns_the_code(void **state)
{
    struct error err = {.hint = "old"};
    int rc = fail(&err, ERR_CORRUPT, "page %u of '%s'", 7, "pc.ram");

    assert_int_equal(rc, ERR_CORRUPT);
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_string_equal(err.message, "page 7 of 'pc.ram'");
    assert_int_equal(err.sys_errno, 0);
    assert_string_equal(err.hint, "");
    assert_non_null(strstr(err.file, "test_error.c"));
    assert_true(err.line > 0);
}

static void errno_adds_its_own_words(void **state)
{
    struct error err;

    errno = EACCES;
    assert_error(fail_errno(&err, ERR_IO, "cannot open '%s'", "x"), &err,
                 ERR_IO, "cannot open 'x': Permission denied");
    assert_int_equal(err.sys_errno, EACCES);
}

static void some_errnos_decide_the_code(void **state)
{
    static const struct {
        int sys_errno;
        int code;
    } cases[] = {{ENOSPC, ERR_NOSPC},
                 {EDQUOT, ERR_NOSPC},
                 {ENOMEM, ERR_NOMEM},
                 {EIO, ERR_PEER},
                 {EPERM, ERR_PEER}};
    struct error err;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        errno = cases[i].sys_errno;
        assert_int_equal(fail_errno(&err, ERR_PEER, "x"), cases[i].code);
        assert_int_equal(err.code, cases[i].code);
    }
}

static void wrapping_keeps_code_and_birth(void **state)
{
    struct error err;
    int line;

    fail(&err, ERR_NOSPC, "inner");
    line = err.line;

    assert_error(error_wrap(&err, "outer %d", 1), &err, ERR_NOSPC,
                 "outer 1: inner");
    assert_int_equal(err.line, line);
}

static void long_messages_are_cut_not_overrun(void **state)
{
    char text[2000];
    struct error err;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    errno = EIO;
    fail_errno(&err, ERR_IO, "%s", text);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    error_wrap(&err, "%s", text);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    error_hint(&err, "%s", text);
    assert_int_equal(strlen(err.hint), sizeof(err.hint) - 1);
}

static void a_hint_leaves_the_message_alone(void **state)
{
    struct error err;

    fail(&err, ERR_PEER, "no socket");
    assert_int_equal(error_hint(&err, "start QEMU with %s", "-qmp"), ERR_PEER);

    assert_string_equal(err.message, "no socket");
    assert_string_equal(err.hint, "start QEMU with -qmp");
}

static void a_copy_is_the_same_error(void **state)
{
    struct error a;
    struct error b = ERROR_INIT;

    fail(&a, ERR_BUDGET, "too slow");
    error_hint(&a, "wait");

    assert_int_equal(error_copy(&b, &a), ERR_BUDGET);
    assert_memory_equal(&a, &b, sizeof(a));
}

static void codes_names_and_statuses_are_unlike(void **state)
{
    static const int codes[] = {
#define X(constant, value, name, status, sentence) constant,
        ERROR_CODES(X)
#undef X
    };

    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        assert_true(codes[i] < 0);
        assert_true(error_exit_status(codes[i]) > 0);
        assert_true(error_code_sentence(codes[i])[0] != '\0');
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(codes[i], codes[j]);
            assert_string_not_equal(error_code_name(codes[i]),
                                    error_code_name(codes[j]));
        }
    }
}

/* The numbers and names that scripts rely on. */
static void promised_statuses_and_names_stay(void **state)
{
    static const struct {
        int code;
        int status;
        const char *name;
    } promised[] = {
        {ERR_USAGE, 2, "usage"},
        {ERR_PARTIAL, 3, "partial"},
        {ERR_NOREPO, 10, "no_repository"},
        {ERR_LOCKED, 11, "locked"},
        {ERR_WRONGKEY, 12, "wrong_key"},
        {ERR_CORRUPT, 13, "damaged"},
        {ERR_FORMAT, 14, "format"},
        {ERR_NOSPC, 15, "no_space"},
        {ERR_PEER, 20, "vm_unreachable"},
        {ERR_INCOMPATIBLE, 21, "incompatible"},
        {ERR_BUDGET, 22, "downtime_budget"},
        {ERR_TIMEOUT, 23, "timeout"},
        {ERR_INTERRUPTED, 130, "interrupted"},
        {ERR_TERMINATED, 143, "terminated"},
    };

    for (size_t i = 0; i < ARRAY_LEN(promised); i++) {
        assert_int_equal(error_exit_status(promised[i].code),
                         promised[i].status);
        assert_string_equal(error_code_name(promised[i].code),
                            promised[i].name);
    }
    assert_int_equal(error_exit_status(0), 0);
}

static void an_unknown_code_reads_as_io(void **state)
{
    assert_string_equal(error_code_name(-9999), "io");
    assert_int_equal(error_exit_status(-9999), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_fills_the_value_and_returns_the_code),
        cmocka_unit_test(errno_adds_its_own_words),
        cmocka_unit_test(some_errnos_decide_the_code),
        cmocka_unit_test(wrapping_keeps_code_and_birth),
        cmocka_unit_test(long_messages_are_cut_not_overrun),
        cmocka_unit_test(a_hint_leaves_the_message_alone),
        cmocka_unit_test(a_copy_is_the_same_error),
        cmocka_unit_test(codes_names_and_statuses_are_unlike),
        cmocka_unit_test(promised_statuses_and_names_stay),
        cmocka_unit_test(an_unknown_code_reads_as_io),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

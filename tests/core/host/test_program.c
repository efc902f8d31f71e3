#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include "core/host/program.h"

static int make_stopper(void **state)
{
    static struct stopper stop;
    struct error err;

    *state = &stop;
    return stopper_init(&stop, &err);
}

static int release_stopper(void **state)
{
    stopper_release(*state);
    return 0;
}

static void a_program_is_found_as_a_shell_would(void **state)
{
    char *path = NULL;
    struct error err;

    setenv("PATH", "/nowhere::/bin:/usr/bin", 1);

    assert_int_equal(program_find("sh", &path, &err), 0);
    assert_string_equal(path, "/bin/sh");
    free(path);
}

static void a_missing_program_is_named(void **state)
{
    char *path = NULL;
    struct error err;

    assert_int_equal(program_find("no-such-program", &path, &err),
                     ERR_NOTFOUND);
    assert_non_null(strstr(err.message, "'no-such-program'"));
    assert_null(path);
}

static void the_first_line_is_returned(void **state)
{
    char line[64];
    struct error err;

    assert_int_equal(program_first_line("/bin/echo", "one\ntwo", *state, line,
                                        sizeof(line), &err),
                     0);
    assert_string_equal(line, "one");
}

static void a_long_line_is_cut(void **state)
{
    char line[4];
    struct error err;

    assert_int_equal(program_first_line("/bin/echo", "abcdef", *state, line,
                                        sizeof(line), &err),
                     0);
    assert_string_equal(line, "abc");
}

static void a_silent_program_is_unsupported(void **state)
{
    char line[64];
    struct error err;

    assert_int_equal(program_first_line("/bin/true", "x", *state, line,
                                        sizeof(line), &err),
                     ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'/bin/true x': it prints nothing"));
}

static void a_program_that_does_not_start_is_unsupported(void **state)
{
    char line[64];
    struct error err;

    assert_int_equal(program_first_line("/nowhere/x", "y", *state, line,
                                        sizeof(line), &err),
                     ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "does not start"));
}

/* `cat` of a terminal or pipe would wait for ever; here stdin is empty, so
 * `sleep` it is: the stopper ends the wait at once. */
static void a_stopper_ends_the_wait(void **state)
{
    struct stopper *stop = *state;
    char line[64];
    struct error err;

    stopper_pull(stop, ERR_INTERRUPTED);

    assert_int_equal(program_first_line("/bin/sleep", "60", stop, line,
                                        sizeof(line), &err),
                     ERR_INTERRUPTED);
}

int main(void)
{
#define WITH_STOPPER(test) \
    cmocka_unit_test_setup_teardown(test, make_stopper, release_stopper)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_is_found_as_a_shell_would),
        cmocka_unit_test(a_missing_program_is_named),
        WITH_STOPPER(the_first_line_is_returned),
        WITH_STOPPER(a_long_line_is_cut),
        WITH_STOPPER(a_silent_program_is_unsupported),
        WITH_STOPPER(a_program_that_does_not_start_is_unsupported),
        WITH_STOPPER(a_stopper_ends_the_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

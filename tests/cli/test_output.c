#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include <fcntl.h>

#include "cli/output.h"
#include "core/base/clock.h"
#include "tests/cli/capture.h"

static void sizes_have_one_digit_behind_the_point(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1536, "1.5 KiB"},
        {1048523, "1023.9 KiB"},
        {1048575, "1.0 MiB"},
        {UINT64_C(1) << 30, "1.0 GiB"},
        {UINT64_MAX, "16.0 EiB"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[32];

        assert_string_equal(output_size(cases[i].bytes, text), cases[i].text);
    }
}

static void durations_have_two_units_at_most(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {
        {0, "0 ms"},          {999, "999 ms"},        {1000, "1.0 s"},
        {59999, "59.9 s"},    {60000, "1 m 0 s"},     {123000, "2 m 3 s"},
        {3600000, "1 h 0 m"}, {90061000, "25 h 1 m"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[32];

        assert_string_equal(output_duration(cases[i].ms, text), cases[i].text);
    }
}

static void times_are_local(void **state)
{
    char text[32];

    setenv("TZ", "UTC-2", 1);
    tzset();

    assert_string_equal(output_time(1700000000 * NS_PER_SEC, text),
                        "2023-11-15 00:13:20");
    assert_string_equal(output_time(0, text), "-");
}

static void control_characters_never_reach_the_terminal(void **state)
{
    char text[128];
    struct capture c;

    capture_start(&c, STDOUT_FILENO);
    output_text("%s\n", "vm\033[31m\a\x7f tab\tend \xc3\xa9");
    capture_end(&c, text, sizeof(text));

    assert_string_equal(text, "vm?[31m?? tab\tend \xc3\xa9\n");
}

static void a_long_text_is_printed_whole(void **state)
{
    char word[3000];
    char text[4096];
    struct capture c;

    memset(word, 'x', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';

    capture_start(&c, STDOUT_FILENO);
    output_text("<%s>", word);
    capture_end(&c, text, sizeof(text));

    assert_int_equal(strlen(text), sizeof(word) + 1);
    assert_int_equal(text[strlen(text) - 1], '>');
}

static void json_is_one_line_in_the_order_of_insertion(void **state)
{
    struct error err;
    char text[128];
    struct capture c;
    int rc;

    capture_start(&c, STDOUT_FILENO);
    rc = output_json(json_pack("{s:s, s:i}", "type", "x\ny", "a", 1), &err);
    capture_end(&c, text, sizeof(text));

    assert_int_equal(rc, 0);
    assert_string_equal(text, "{\"type\":\"x\\ny\",\"a\":1}\n");
}

static void json_that_could_not_be_built_is_an_error(void **state)
{
    struct error err;

    assert_int_equal(output_json(NULL, &err), ERR_NOMEM);
}

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
    static const char *const headings[] = {"ID", ">SIZE", "TAGS"};
    struct output_table *table;
    struct error err;
    struct capture c;
    char text[256];

    assert_int_equal(output_table_new(headings, 3, &table, &err), 0);
    assert_int_equal(
        output_table_row(table, (const char *const[]){"a", "1 B", ""}, &err),
        0);
    assert_int_equal(
        output_table_row(
            table, (const char *const[]){"r\xc3\xa9p", "1000 B", "k=v"}, &err),
        0);
    capture_start(&c, STDOUT_FILENO);
    output_table_print(table);
    capture_end(&c, text, sizeof(text));
    output_table_free(table);

    assert_string_equal(text, "ID     SIZE  TAGS\n"
                              "a       1 B\n"
                              "r\xc3\xa9p  1000 B  k=v\n");
}

static void a_full_disk_behind_stdout_is_told(void **state)
{
    int saved = dup(STDOUT_FILENO);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct error err = ERROR_INIT;
    int rc;

    fflush(stdout);
    dup2(full, STDOUT_FILENO);
    output_text("lost\n");
    rc = output_flush(&err);
    clearerr(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(full);

    assert_int_equal(rc, ERR_NOSPC);
    assert_non_null(strstr(err.message, "standard output"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_one_digit_behind_the_point),
        cmocka_unit_test(durations_have_two_units_at_most),
        cmocka_unit_test(times_are_local),
        cmocka_unit_test(control_characters_never_reach_the_terminal),
        cmocka_unit_test(a_long_text_is_printed_whole),
        cmocka_unit_test(json_is_one_line_in_the_order_of_insertion),
        cmocka_unit_test(json_that_could_not_be_built_is_an_error),
        cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(a_full_disk_behind_stdout_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include "cli/config_lines.h"

struct seen {
    char text[512];
    unsigned stop_at; /* line; 0: none */
};

static int see(void *arg, const struct config_line *l, struct error *err)
{
    struct seen *s = arg;
    size_t used = strlen(s->text);

    if (l->number == s->stop_at)
        return fail(err, ERR_INVALID, "stop");
    snprintf(s->text + used, sizeof(s->text) - used, "%u:%s:%s:%s:%s\n",
             l->number, l->word ? l->word : "", l->name ? l->name : "",
             l->key ? l->key : "", l->value ? l->value : "");
    return 0;
}

static void expect_lines(const char *text, const char *expected)
{
    char *copy = strdup(text);
    struct seen s = {.text = ""};
    struct error err;

    assert_ok(config_lines_read(copy, "c", see, &s, &err), &err);
    assert_string_equal(s.text, expected);
    free(copy);
}

static void sections_keys_and_comments_are_told_apart(void **state)
{
    expect_lines("", "");
    expect_lines("\n# x\n  \t\n", "");
    expect_lines("a=1", "1:::a:1\n");
    expect_lines("a = b = c \r\n[vm x y]\n  key=\n", "1:::a:b = c\n"
                                                     "2:vm:x y::\n"
                                                     "3:::key:\n");
    expect_lines("[defaults]\n[ vm\ta ]", "1:defaults:::\n2:vm:a::\n");
    expect_lines("a = #1\n", "1:::a:#1\n");
}

static void errors_carry_name_and_line(void **state)
{
    char unfinished[] = "a=1\n\n[vm x\n";
    char nothing[] = "words\n";
    char stopped[] = "a=1\nb=2\n";
    struct seen s = {.text = ""};
    struct error err;

    assert_error(config_lines_read(unfinished, "c", see, &s, &err), &err,
                 ERR_USAGE, "c:3: '[vm x' has no ']'");
    assert_error(config_lines_read(nothing, "c", see, &s, &err), &err,
                 ERR_USAGE, "c:1: 'words' is not of the form");
    s.stop_at = 2;
    assert_error(config_lines_read(stopped, "c", see, &s, &err), &err,
                 ERR_INVALID, "c:2: stop");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sections_keys_and_comments_are_told_apart),
        cmocka_unit_test(errors_carry_name_and_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

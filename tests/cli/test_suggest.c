#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include <string.h>

#include "cli/suggest.h"

static void distance_counts_edits(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        unsigned distance;
    } cases[] = {
        {"", "", 0},          {"", "abc", 3},
        {"abc", "", 3},       {"list", "list", 0},
        {"lsit", "list", 1},  {"lst", "list", 1},
        {"lists", "list", 1}, {"lost", "list", 1},
        {"ca", "abc", 3},     {"abcdef", "fedcba", 5},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(suggest_distance(cases[i].a, cases[i].b),
                         cases[i].distance);
}

static void an_endless_word_is_far_from_everything(void **state)
{
    char word[200];

    memset(word, 'a', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';

    assert_true(suggest_distance(word, "a") >= 63);
    assert_true(suggest_distance("a", word) >= 63);
}

static const char *nearest(const char *word)
{
    static const char *const commands[] = {
        "init", "snapshot", "list", "show", "restore", "check", "doctor"};
    const char *best = NULL;

    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        suggest_consider(word, commands[i], &best);
    return best;
}

static void the_nearest_word_wins(void **state)
{
    assert_string_equal(nearest("snapshto"), "snapshot");
    assert_string_equal(nearest("lits"), "list");
    assert_string_equal(nearest("chekc"), "check");
    assert_string_equal(nearest("restroe"), "restore");
}

static void a_beginning_is_near(void **state)
{
    assert_string_equal(nearest("snap"), "snapshot");
    assert_string_equal(nearest("doc"), "doctor");
}

static void a_strange_word_has_no_neighbour(void **state)
{
    assert_null(nearest("frobnicate"));
    assert_null(nearest("x"));
    assert_null(nearest(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distance_counts_edits),
        cmocka_unit_test(an_endless_word_is_far_from_everything),
        cmocka_unit_test(the_nearest_word_wins),
        cmocka_unit_test(a_beginning_is_near),
        cmocka_unit_test(a_strange_word_has_no_neighbour),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

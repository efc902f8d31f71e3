#include "tests/fakes/assert_error.h"

#include "restore/machine/command_map.h"

static const char *apply(struct command_map *m, const char *word)
{
    static char text[512];
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    assert_ok(command_map_apply(m, word, &b, &err), &err);
    snprintf(text, sizeof(text), "%s", buf_str(&b));
    assert_int_equal(command_map_touches(m, word), strcmp(text, word) != 0);
    return text;
}

static void add(struct command_map *m, const char *rule)
{
    struct error err = ERROR_INIT;

    assert_ok(command_map_add(m, rule, &err), &err);
}

static void what_stands_as_a_whole_is_replaced(void **state)
{
    static const struct {
        const char *rule, *word, *wanted;
    } cases[] = {
        {"/vm/a=/vm/b", "/vm/a", "/vm/b"},
        {"/vm/a=/vm/b", "/vm/a/disk.raw", "/vm/b/disk.raw"},
        {"/vm/a/=/x/", "file=/vm/a/d,format=raw", "file=/x/d,format=raw"},
        {"/vm/a=/vm/b", "unix:/vm/a/q.sock,server=on",
         "unix:/vm/b/q.sock,server=on"},
        {"tap0=tap7", "tap,ifname=tap0,script=no", "tap,ifname=tap7,script=no"},
        {"52:54:00:00:00:01=52:54:00:00:00:02",
         "virtio-net,mac=52:54:00:00:00:01",
         "virtio-net,mac=52:54:00:00:00:02"},
        {"/vm/a=/vm/b", "{\"path\":\"/vm/a\"}", "{\"path\":\"/vm/b\"}"},
        {"2222=2223", "user,hostfwd=tcp::2222-:22",
         "user,hostfwd=tcp::2223-:22"},
        /* A comma is doubled inside of an option's value, and only there. */
        {"/a,b=/c,d", "file=/a,,b,if=none", "file=/c,,d,if=none"},
        {"/a,b=/c,d", "/a,b", "/c,d"},
        /* What only looks like it stays. */
        {"/vm/a=/vm/b", "/vm/ab", "/vm/ab"},
        {"/vm/a=/vm/b", "file=/old/vm/a", "file=/old/vm/a"},
        {"tap0=tap7", "ifname=tap01", "ifname=tap01"},
        {"/vm/1=/vm/2", "/vm/1-old", "/vm/1-old"},
        {"/a,b=/c", "file=/a,b=1", "file=/a,b=1"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct command_map m = {0};

        add(&m, cases[i].rule);
        assert_string_equal(apply(&m, cases[i].word), cases[i].wanted);
        assert_int_equal(m.rules[0].used,
                         strcmp(cases[i].word, cases[i].wanted) != 0);
        command_map_release(&m);
    }
}

static void the_longest_rule_wins_and_what_was_replaced_is_left(void **state)
{
    struct command_map m = {0};

    add(&m, "/vm=/x");
    add(&m, "/vm/a=/vm/b");
    add(&m, "/vm/b=/vm/a");
    assert_string_equal(apply(&m, "a=/vm/a,b=/vm/b,c=/vm/c"),
                        "a=/vm/b,b=/vm/a,c=/x/c");
    command_map_release(&m);
}

static void no_map_leaves_everything(void **state)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    assert_ok(command_map_apply(NULL, "/vm/a", &b, &err), &err);
    assert_string_equal(buf_str(&b), "/vm/a");
    assert_false(command_map_touches(NULL, "/vm/a"));
}

static void rules_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {"", "=", "a", "a=", "=b"};
    struct command_map m = {0};
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(command_map_add(&m, bad[i], &err), ERR_USAGE);
    add(&m, "a=b");
    assert_int_equal(command_map_add(&m, "a=c", &err), ERR_USAGE);
    assert_int_equal(m.n, 1);
    assert_int_equal(command_map_check_used(&m, &err), ERR_USAGE);
    assert_non_null(strstr(err.message, "a=b"));
    apply(&m, "a");
    assert_ok(command_map_check_used(&m, &err), &err);
    command_map_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_stands_as_a_whole_is_replaced),
        cmocka_unit_test(the_longest_rule_wins_and_what_was_replaced_is_left),
        cmocka_unit_test(no_map_leaves_everything),
        cmocka_unit_test(rules_that_are_none_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

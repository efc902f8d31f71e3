#include "tests/fakes/assert_error.h"

#include "core/base/json.h"

static json_t *parse(const char *text)
{
    struct error err;
    json_t *value = NULL;

    assert_ok(json_parse(text, strlen(text), &value, &err), &err);
    return value;
}

static void assert_no_json(const char *text, size_t len, const char *piece)
{
    struct error err;
    json_t *value = NULL;

    assert_error(json_parse(text, len, &value, &err), &err, ERR_PROTOCOL,
                 piece);
    assert_null(value);
}

static void objects_and_arrays_are_parsed(void **state)
{
    cleanup_json json_t *object = parse("{\"a\": {\"b\": [1, true]}}\r\n");
    cleanup_json json_t *array = parse("[]");

    assert_true(json_is_object(object));
    assert_int_equal(json_array_size(json_path(object, "a.b")), 2);
    assert_true(json_is_array(array));
}

static void what_is_no_json_is_told_with_its_place(void **state)
{
    assert_no_json("", 0, "not JSON: ");
    assert_no_json("{\"a\": }", 7, "at byte 7");
    assert_no_json("5", 1, "not JSON: ");
    assert_no_json("{} {}", 5, "not JSON: ");
    assert_no_json("{\"a\": 1, \"a\": 2}", 16, "duplicate");
    assert_no_json("{\"a\": \"\\u0000\"}", 15, "not JSON: ");
    assert_no_json("{\"a\": \"\xff\"}", 10, "not JSON: ");
    assert_no_json("{\0}", 3, "not JSON: ");
}

static void each_prefix_is_no_json(void **state)
{
    static const char text[] =
        "{\"event\": \"STOP\", \"data\": [1.5, null, {\"x\": -7}]}";

    for (size_t len = 0; len < sizeof(text) - 1; len++)
        assert_no_json(text, len, "not JSON: ");
}

static void nesting_without_end_is_refused(void **state)
{
    static char text[100000];

    memset(text, '[', sizeof(text));
    assert_no_json(text, sizeof(text), "not JSON: maximum parsing depth");
}

static void a_text_too_long_is_refused_unread(void **state)
{
    assert_no_json("{}", (size_t)JSON_MAX_BYTES + 1, "is too long");
}

static void values_print_on_one_line_in_order(void **state)
{
    cleanup_json json_t *value = parse("{\"z\": 1,\n\"a\": [true, \"\\n\"]}");
    cleanup_buf struct buf text = BUF_INIT;
    struct error err;

    assert_ok(json_print(value, &text, &err), &err);

    assert_string_equal(buf_str(&text), "{\"z\":1,\"a\":[true,\"\\n\"]}");
}

static void values_are_built_or_the_reason_is_told(void **state)
{
    cleanup_json json_t *value = NULL;
    json_t *none = NULL;
    struct error err;

    assert_ok(json_build(&value, &err, "{s:s, s:i}", "name", "vm", "n", 3),
              &err);
    assert_string_equal(json_path_str(value, "name", "?"), "vm");
    assert_int_equal(json_path_int(value, "n", 0), 3);
    assert_error(json_build(&none, &err, "{s:s}", "name", "\xff"), &err,
                 ERR_INVALID, "cannot build JSON");
    assert_null(none);
}

static void members_are_found_by_path_or_replaced(void **state)
{
    cleanup_json json_t *v = parse(
        "{\"qemu\": {\"major\": 7, \"text\": \"x\", \"on\": true}, \"n\": 1}");

    assert_int_equal(json_path_int(v, "qemu.major", -1), 7);
    assert_string_equal(json_path_str(v, "qemu.text", "?"), "x");
    assert_true(json_path_bool(v, "qemu.on", false));
    assert_ptr_equal(json_path(v, ""), v);

    assert_null(json_path(v, "qemu.minor"));
    assert_null(json_path(v, "n.below"));
    assert_null(json_path(NULL, "qemu"));
    assert_int_equal(json_path_int(v, "qemu.text", -1), -1);
    assert_string_equal(json_path_str(v, "qemu.major", "?"), "?");
    assert_true(json_path_bool(v, "qemu.major", true));
    assert_int_equal(json_path_int(NULL, "qemu", -1), -1);
}

static void a_path_longer_than_any_key_finds_nothing(void **state)
{
    cleanup_json json_t *v = parse("{\"a\": 1}");
    char path[300];

    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_null(json_path(v, path));
}

static void any_bytes_become_a_string(void **state)
{
    cleanup_json json_t *good = json_text("k\xc3\xa4se");
    cleanup_json json_t *bad = json_text("a\xff\x80z");

    assert_string_equal(json_string_value(good), "k\xc3\xa4se");
    assert_string_equal(json_string_value(bad), "a??z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_and_arrays_are_parsed),
        cmocka_unit_test(what_is_no_json_is_told_with_its_place),
        cmocka_unit_test(each_prefix_is_no_json),
        cmocka_unit_test(nesting_without_end_is_refused),
        cmocka_unit_test(a_text_too_long_is_refused_unread),
        cmocka_unit_test(values_print_on_one_line_in_order),
        cmocka_unit_test(values_are_built_or_the_reason_is_told),
        cmocka_unit_test(members_are_found_by_path_or_replaced),
        cmocka_unit_test(a_path_longer_than_any_key_finds_nothing),
        cmocka_unit_test(any_bytes_become_a_string),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

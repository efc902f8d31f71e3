#include "tests/fakes/assert_error.h"

#include "restore/machine/generation_id.h"

static void assert_put(const char *value, const char *wanted)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    assert_true(generation_id_is_device(value));
    assert_ok(generation_id_put(value, "G", &b, &err), &err);
    assert_string_equal(buf_str(&b), wanted);
}

static void the_guid_of_the_device_is_replaced(void **state)
{
    assert_put("vmgenid", "vmgenid,guid=G");
    assert_put("vmgenid,guid=auto", "vmgenid,guid=G");
    assert_put("vmgenid,guid=x,id=v0", "vmgenid,id=v0,guid=G");
    assert_put("driver=vmgenid,guid=x", "driver=vmgenid,guid=G");
    assert_put("{\"driver\":\"vmgenid\",\"guid\":\"x\",\"id\":\"v\"}",
               "{\"driver\":\"vmgenid\",\"guid\":\"G\",\"id\":\"v\"}");
}

static void other_devices_are_none(void **state)
{
    static const char *const others[] = {
        "virtio-net,id=vmgenid", "vmgenid2", "{\"driver\":\"x\"}", "{", "",
    };

    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_false(generation_id_is_device(others[i]));
}

static void a_new_one_is_random_and_of_its_form(void **state)
{
    char a[GENERATION_ID_LEN + 1];
    char b[GENERATION_ID_LEN + 1];
    struct error err = ERROR_INIT;

    assert_ok(generation_id_new(a, &err), &err);
    assert_ok(generation_id_new(b, &err), &err);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), GENERATION_ID_LEN);
    assert_int_equal(strspn(a, "0123456789abcdef-"), GENERATION_ID_LEN);
    assert_int_equal(a[14], '4');
    assert_non_null(strchr("89ab", a[19]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_guid_of_the_device_is_replaced),
        cmocka_unit_test(other_devices_are_none),
        cmocka_unit_test(a_new_one_is_random_and_of_its_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

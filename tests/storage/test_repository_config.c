#include "tests/fakes/assert_error.h"

#include "core/base/json.h"
#include "storage/repository_config.h"

static void print_new(struct buf *ret)
{
    struct repository_config c;
    struct error err;

    buf_reset(ret);
    assert_ok(repository_config_make(&c, &err), &err);
    assert_ok(repository_config_print(&c, ret, &err), &err);
}

/* As print_new(), with a piece replaced and the checksum made to fit. */
static void print_changed(struct buf *ret, const char *old, const char *new)
{
    struct buf text = BUF_INIT;
    struct error err;
    const char *at, *sum;

    print_new(&text);
    at = strstr(buf_str(&text), old);
    assert_non_null(at);
    buf_reset(ret);
    sum = strstr(buf_str(&text), ",\"checksum\"");
    assert_ok(buf_printf(ret, &err, "%.*s%s%.*s", (int)(at - (char *)text.data),
                         (char *)text.data, new,
                         (int)(sum - at - (long)strlen(old)), at + strlen(old)),
              &err);
    assert_ok(
        buf_printf(ret, &err, ",\"checksum\":\"%016llx\"}\n",
                   (unsigned long long)checksum64(ret->data, ret->len, 0)),
        &err);
    buf_release(&text);
}

static void a_config_goes_through_text_and_back(void **state)
{
    struct repository_config c, back;
    struct buf text = BUF_INIT;
    struct error err;

    assert_ok(repository_config_make(&c, &err), &err);
    assert_ok(repository_config_print(&c, &text, &err), &err);
    assert_ok(repository_config_parse(text.data, text.len, &back, &err), &err);

    assert_memory_equal(&c, &back, sizeof(c));
    assert_int_equal(back.n_keys, 1);
    assert_ptr_equal(repository_config_key(&back, back.hash_key_id),
                     &back.keys[0]);
    assert_null(repository_config_key(&back, 2));
    buf_release(&text);
}

static void it_is_json_for_everybody(void **state)
{
    struct buf text = BUF_INIT;
    cleanup_json json_t *object = NULL;
    struct error err;

    print_new(&text);
    assert_ok(json_parse(text.data, text.len, &object, &err), &err);

    assert_int_equal(json_path_int(object, "format", 0), 1);
    assert_int_equal(strlen(json_path_str(object, "id", "")), 32);
    assert_int_equal(strlen(json_path_str(
                         json_array_get(json_object_get(object, "keyring"), 0),
                         "secret", "")),
                     2 * HASH_SECRET_BYTES);
    buf_release(&text);
}

static void two_repositories_share_no_key(void **state)
{
    struct repository_config a, b;
    struct error err;

    assert_ok(repository_config_make(&a, &err), &err);
    assert_ok(repository_config_make(&b, &err), &err);

    assert_string_not_equal(a.id, b.id);
    assert_memory_not_equal(a.keys[0].secret, b.keys[0].secret,
                            HASH_SECRET_BYTES);
}

static void every_flipped_bit_is_noticed(void **state)
{
    struct repository_config back;
    struct buf text = BUF_INIT;
    struct error err;

    print_new(&text);
    for (size_t bit = 0; bit < text.len * 8; bit++) {
        int rc;

        text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        rc = repository_config_parse(text.data, text.len, &back, &err);
        assert_true(rc == ERR_CORRUPT || rc == ERR_FORMAT);
        text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_release(&text);
}

static void every_prefix_is_refused(void **state)
{
    struct repository_config back;
    struct buf text = BUF_INIT;
    struct error err;

    print_new(&text);
    for (size_t len = 0; len < text.len; len++)
        assert_int_equal(repository_config_parse(text.data, len, &back, &err),
                         ERR_CORRUPT);
    buf_release(&text);
}

static void parse_refuses(const char *old, const char *new, int code,
                          const char *piece)
{
    struct repository_config back;
    struct buf text = BUF_INIT;
    struct error err;

    print_changed(&text, old, new);
    assert_error(repository_config_parse(text.data, text.len, &back, &err),
                 &err, code, piece);
    buf_release(&text);
}

static void what_it_does_not_know_it_refuses(void **state)
{
    parse_refuses("\"format\":1", "\"format\":2", ERR_FORMAT, "format 2");
    parse_refuses("\"required_features\":[]",
                  "\"required_features\":[\"cipher\"]", ERR_FORMAT, "'cipher'");
    parse_refuses("\"required_features\":[]", "\"required_features\":0",
                  ERR_CORRUPT, "required features");
    parse_refuses("\"format\":1", "\"format\":0", ERR_CORRUPT, "no format");
    parse_refuses("\"id\":\"", "\"id\":\"x", ERR_CORRUPT, "no id");
    parse_refuses("\"hash_key\":1", "\"hash_key\":7", ERR_CORRUPT,
                  "the key it writes with");
    parse_refuses("\"secret\":\"", "\"secret\":\"0", ERR_CORRUPT, "secret");
    parse_refuses("\"frame_bytes\":32768", "\"frame_bytes\":-1", ERR_CORRUPT,
                  "frame size");
}

static void compatible_features_are_passed_over(void **state)
{
    struct repository_config back;
    struct buf text = BUF_INIT;
    struct error err;

    print_changed(&text, "\"compatible_features\":[]",
                  "\"compatible_features\":[\"nice\"],\"more\":{}");
    assert_ok(repository_config_parse(text.data, text.len, &back, &err), &err);
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_config_goes_through_text_and_back),
        cmocka_unit_test(it_is_json_for_everybody),
        cmocka_unit_test(two_repositories_share_no_key),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(what_it_does_not_know_it_refuses),
        cmocka_unit_test(compatible_features_are_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include "cli/secrets.h"

static const struct {
    const char *text;
    const char *masked;
} cases[] = {
    {"-m", "-m"},
    {"", ""},
    {"secret,id=s0,data=letmein,format=raw",
     "secret,id=s0,data=***,format=raw"},
    {"secret,id=s0,data=let,,me,,in", "secret,id=s0,data=***"},
    {"qom-type=secret,data=x,id=a", "qom-type=secret,data=***,id=a"},
    {"{\"qom-type\":\"secret\",\"id\":\"a\",\"data\":\"x\\\"y\",\"format\":1}",
     "{\"qom-type\":\"secret\",\"id\":\"a\",\"data\":\"***\",\"format\":1}"},
    {"{\"qom-type\": \"secret\", \"data\" : \"x\"}",
     "{\"qom-type\": \"secret\", \"data\" : \"***\"}"},
    {"port=5930,password=abc,addr=::1", "port=5930,password=***,addr=::1"},
    {":1,password=on", ":1,password=***"},
    {"driver=nbd,file.password=x,file.host=h",
     "driver=nbd,file.password=***,file.host=h"},
    {"tls-creds=t,password-secret=s0", "tls-creds=t,password-secret=s0"},
    {"memory-backend-ram,id=data,size=1G",
     "memory-backend-ram,id=data,size=1G"},
    {"file=disk.raw,data-file=x", "file=disk.raw,data-file=x"},
    {"nbd://me:pass@host/x", "nbd://me:***@host/x"},
    {"iscsi://me%pass@host/x", "iscsi://me%***@host/x"},
    {"http://host:80/a@b", "http://host:80/a@b"},
    {"https://u:p@ss@host/", "https://u:***@host/"},
    {"type=11,value=io.systemd.credential:token=abc,def",
     "type=11,value=io.systemd.credential:token=***"},
    {"Password=x", "Password=***"},
    {"console=ttyS0 password=x", "console=ttyS0 password=***"},
};

static void secrets_become_stars_and_nothing_else_does(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_buf struct buf b = BUF_INIT;
        struct error err;

        assert_int_equal(secrets_mask_text(cases[i].text, &b, &err), 0);
        assert_string_equal(buf_str(&b), cases[i].masked);
    }
}

static void every_string_of_a_value_is_masked(void **state)
{
    cleanup_json json_t *facts =
        json_pack("{s:{s:[s,s,s]}, s:i}", "process", "argv", "qemu", "-object",
                  "secret,id=a,data=hush", "n", 1);
    cleanup_json json_t *masked = NULL;
    cleanup_buf struct buf before = BUF_INIT;
    cleanup_buf struct buf after = BUF_INIT;
    struct error err;

    assert_int_equal(secrets_mask_json(facts, &masked, &err), 0);

    assert_int_equal(json_print(masked, &after, &err), 0);
    assert_string_equal(buf_str(&after), "{\"process\":{\"argv\":[\"qemu\",\"-"
                                         "object\",\"secret,id=a,data=***\"]}"
                                         ",\"n\":1}");
    /* The original still has what a replay needs. */
    assert_int_equal(json_print(facts, &before, &err), 0);
    assert_non_null(strstr(buf_str(&before), "hush"));
}

/* Cut anywhere, the text still ends in bounds and shows no more of the secret
 * than its mask. */
static void a_text_cut_anywhere_is_safe(void **state)
{
    static const char text[] =
        "{\"qom-type\":\"secret\",\"data\":\"TOP\\\"SECRET\"},password=TOP,,X"
        " nbd://u:TOP@h";

    for (size_t len = 0; len <= strlen(text); len++) {
        cleanup_free char *cut = strndup(text, len);
        cleanup_buf struct buf b = BUF_INIT;
        struct error err;

        assert_int_equal(secrets_mask_text(cut, &b, &err), 0);
        if (!strstr(cut, "nbd"))
            assert_null(strstr(buf_str(&b), "TO"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_become_stars_and_nothing_else_does),
        cmocka_unit_test(every_string_of_a_value_is_masked),
        cmocka_unit_test(a_text_cut_anywhere_is_safe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

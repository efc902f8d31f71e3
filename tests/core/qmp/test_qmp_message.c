#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include "core/qmp/qmp_message.h"

static const char dialogue[] =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, "
    "\"major\": 7}, \"package\": \"Debian\"}, \"capabilities\": [\"oob\"]}}\r\n"
    "{\"return\": {}, \"id\": 1}\r\n"
    "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": "
    "\"STOP\"}\r\n"
    "\r\n"
    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": 2}"
    "\r\n"
    "{\"return\": [1, 2]}\n";

static const struct {
    enum qmp_message_kind kind;
    int64_t id;
} expected[] = {
    {QMP_GREETING, QMP_NO_ID}, {QMP_RETURN, 1},
    {QMP_EVENT, QMP_NO_ID},    {QMP_ERROR, 2},
    {QMP_RETURN, QMP_NO_ID},
};

/* Feeds `len` bytes in pieces of `piece`; returns how many messages came, or
 * the error. Each must be the one expected. */
static int count_messages(const char *text, size_t len, size_t piece,
                          struct error *err)
{
    struct qmp_reader r = QMP_READER_INIT;
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < len; i += piece) {
        bool got = true;

        rc = qmp_reader_feed(&r, text + i, MIN(piece, len - i), err);
        while (rc == 0 && got) {
            struct qmp_message m;

            rc = qmp_reader_next(&r, &m, &got, err);
            if (rc < 0 || !got)
                break;
            assert_true(n < ARRAY_LEN(expected));
            assert_int_equal(m.kind, expected[n].kind);
            assert_int_equal(m.id, expected[n].id);
            json_decref(m.body);
            n++;
        }
    }
    qmp_reader_release(&r);
    return rc < 0 ? rc : (int)n;
}

static void messages_come_out_at_any_cut(void **state)
{
    struct error err = ERROR_INIT;

    for (size_t piece = 1; piece <= strlen(dialogue); piece++)
        assert_int_equal(count_messages(dialogue, strlen(dialogue), piece,
                                        &err),
                         ARRAY_LEN(expected));
}

static void a_cut_dialogue_gives_its_whole_lines(void **state)
{
    struct error err = ERROR_INIT;
    int most = 0;

    for (size_t len = 0; len < strlen(dialogue); len++) {
        int n = count_messages(dialogue, len, len + 1, &err);

        assert_in_range(n, most, most + 1);
        most = n;
    }
    assert_int_equal(most, ARRAY_LEN(expected) - 1);
}

static void a_flipped_bit_gives_a_message_or_an_error(void **state)
{
    for (size_t i = 0; i < strlen(dialogue) * 8; i++) {
        struct qmp_reader r = QMP_READER_INIT;
        struct error err = ERROR_INIT;
        char text[sizeof(dialogue)];
        bool got = true;
        int rc;

        memcpy(text, dialogue, sizeof(text));
        text[i / 8] = (char)(text[i / 8] ^ (1 << (i % 8)));
        rc = qmp_reader_feed(&r, text, strlen(dialogue), &err);
        while (rc == 0 && got) {
            struct qmp_message m;

            rc = qmp_reader_next(&r, &m, &got, &err);
            if (rc == 0 && got)
                json_decref(m.body);
        }
        assert_true(rc == 0 || rc == ERR_PROTOCOL);
        qmp_reader_release(&r);
    }
}

static void refuse(const char *line, const char *reason)
{
    struct qmp_reader r = QMP_READER_INIT;
    struct error err = ERROR_INIT;
    struct qmp_message m;
    bool got;

    assert_int_equal(qmp_reader_feed(&r, line, strlen(line), &err), 0);
    assert_int_equal(qmp_reader_next(&r, &m, &got, &err), ERR_PROTOCOL);
    assert_non_null(strstr(err.message, reason));
    qmp_reader_release(&r);
}

static void what_is_no_qmp_is_refused_by_reason(void **state)
{
    refuse("SSH-2.0-OpenSSH_9.2\r\n", "not JSON");
    refuse("{\"return\": {}\n", "not JSON");
    refuse("[1, 2]\n", "no greeting, answer or event");
    refuse("{\"id\": 3}\n", "no greeting, answer or event");
    refuse("{\"event\": 3}\n", "no greeting, answer or event");
    refuse("{\"QMP\": 1}\n", "no greeting, answer or event");
    refuse("{\"a\": 1, \"a\": 2}\n", "not JSON");
}

static void
a_line_without_end_is_refused_before_it_eats_the_memory(void **state)
{
    struct qmp_reader r = QMP_READER_INIT;
    struct error err = ERROR_INIT;
    struct qmp_message m;
    static char piece[1u << 20];
    bool got;
    int rc = 0;
    unsigned n;

    memset(piece, ' ', sizeof(piece));
    for (n = 0; rc == 0 && n < 64; n++) {
        assert_int_equal(qmp_reader_feed(&r, piece, sizeof(piece), &err), 0);
        rc = qmp_reader_next(&r, &m, &got, &err);
    }

    assert_int_equal(rc, ERR_PROTOCOL);
    assert_non_null(strstr(err.message, "a line of more than"));
    assert_int_equal(n, QMP_LINE_MAX / sizeof(piece) + 1);
    qmp_reader_release(&r);
}

static void nesting_without_end_is_refused(void **state)
{
    struct qmp_reader r = QMP_READER_INIT;
    struct error err = ERROR_INIT;
    struct qmp_message m;
    static char deep[200000];
    bool got;

    memset(deep, '[', sizeof(deep));
    deep[sizeof(deep) - 1] = '\n';
    assert_int_equal(qmp_reader_feed(&r, deep, sizeof(deep), &err), 0);

    assert_int_equal(qmp_reader_next(&r, &m, &got, &err), ERR_PROTOCOL);
    qmp_reader_release(&r);
}

static void bytes_given_out_are_let_go(void **state)
{
    static const char line[] = "{\"event\": \"RESUME\"}\n";
    struct qmp_reader r = QMP_READER_INIT;
    struct error err = ERROR_INIT;

    for (unsigned i = 0; i < 100000; i++) {
        struct qmp_message m;
        bool got = false;

        assert_int_equal(qmp_reader_feed(&r, line, strlen(line), &err), 0);
        assert_int_equal(qmp_reader_next(&r, &m, &got, &err), 0);
        assert_true(got);
        json_decref(m.body);
    }

    assert_in_range(r.bytes.cap, 0, 1 << 20);
    qmp_reader_release(&r);
}

static void a_command_is_one_line_with_its_id(void **state)
{
    cleanup_json json_t *args = json_pack("{s:s}", "uri", "unix:/a\nb");
    struct qmp_command c = {.name = "migrate", .args = args, .id = 7};
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    assert_int_equal(qmp_put_command(&b, &c, &err), 0);

    assert_string_equal(buf_str(&b), "{\"execute\":\"migrate\",\"id\":7,"
                                     "\"arguments\":{\"uri\":"
                                     "\"unix:/a\\nb\"}}\r\n");
}

static void an_out_of_band_command_says_so(void **state)
{
    struct qmp_command c = {.name = "yank", .id = 1, .oob = true};
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    assert_int_equal(qmp_put_command(&b, &c, &err), 0);

    assert_string_equal(buf_str(&b), "{\"exec-oob\":\"yank\",\"id\":1}\r\n");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_out_at_any_cut),
        cmocka_unit_test(a_cut_dialogue_gives_its_whole_lines),
        cmocka_unit_test(a_flipped_bit_gives_a_message_or_an_error),
        cmocka_unit_test(what_is_no_qmp_is_refused_by_reason),
        cmocka_unit_test(
            a_line_without_end_is_refused_before_it_eats_the_memory),
        cmocka_unit_test(nesting_without_end_is_refused),
        cmocka_unit_test(bytes_given_out_are_let_go),
        cmocka_unit_test(a_command_is_one_line_with_its_id),
        cmocka_unit_test(an_out_of_band_command_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

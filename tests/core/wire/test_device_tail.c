#include "tests/core/vm/assert_error.h"

#include "core/wire/device_tail.h"
#include "core/wire/qemu_wire.h"
#include "tests/core/wire/stream_maker.h"

struct fixture {
    struct device_tail t;
    struct buf bytes;
    struct error err;
};

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct fixture));
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    device_tail_release(&f->t);
    buf_release(&f->bytes);
    free(f);
    return 0;
}

static void append_all(struct fixture *f)
{
    must(device_tail_append(&f->t, f->bytes.data, f->bytes.len, &f->err),
         &f->err);
}

static void a_proved_tail_is_without_its_end_and_description(void **state)
{
    struct fixture *f = *state;
    cleanup_buf struct buf tail = BUF_INIT;
    cleanup_buf struct buf json = BUF_INIT;

    made_tail(&f->bytes, "paused");
    made_tail_parts(&tail, &json, "paused");
    append_all(f);

    assert_true(device_tail_prove(&f->t));

    assert_int_equal(f->t.state.tail.len, tail.len);
    assert_memory_equal(f->t.state.tail.data, tail.data, tail.len);
    assert_int_equal(f->t.state.vmdesc.len, json.len);
    assert_memory_equal(f->t.state.vmdesc.data, json.data, json.len);
    assert_string_equal(f->t.state.run_state, "paused");
}

static void only_the_whole_tail_is_proved(void **state)
{
    struct fixture *f = *state;

    made_tail(&f->bytes, "running");

    for (size_t i = 0; i < f->bytes.len; i++) {
        assert_false(device_tail_prove(&f->t));
        must(device_tail_append(&f->t, f->bytes.data + i, 1, &f->err), &f->err);
    }
    assert_true(device_tail_prove(&f->t));
}

/*
 * A guest writes EOF, a description of all devices up to it and its own
 * section's footer into its device's memory; the read happens to end there.
 * It is taken for the end only until the next byte comes.
 */
static void a_forged_end_is_undone_by_the_bytes_behind_it(void **state)
{
    cleanup_json json_t *devices = json_array();
    cleanup_json json_t *forged = json_array();
    cleanup_buf struct buf body = BUF_INIT;
    struct fixture *f = *state;
    size_t fake_end;

    /* What the guest's memory holds: "data", footer, EOF, VMDESC. */
    json_array_append_new(forged,
                          json_pack("{s:s, s:i, s:[{s:i}]}", "name", "guest",
                                    "instance_id", 0, "fields", "size", 4));
    must(buf_append(&body, "data", 4, &f->err), &f->err);
    must(stream_put_section_footer(&body, 10, &f->err), &f->err);
    {
        cleanup_json json_t *root = json_pack("{s:O}", "devices", forged);
        cleanup_buf struct buf text = BUF_INIT;

        must(json_print(root, &text, &f->err), &f->err);
        must(stream_put_eof(&body, &f->err), &f->err);
        must(stream_put_vmdesc(&body, &text, &f->err), &f->err);
    }
    made_device(&f->bytes, devices, "guest", 0, body.data, body.len);
    fake_end = f->bytes.len - QEMU_FOOTER_BYTES;
    {
        cleanup_json json_t *root = json_pack("{s:O}", "devices", devices);
        cleanup_buf struct buf text = BUF_INIT;

        must(json_print(root, &text, &f->err), &f->err);
        must(stream_put_eof(&f->bytes, &f->err), &f->err);
        must(stream_put_vmdesc(&f->bytes, &text, &f->err), &f->err);
    }

    must(device_tail_append(&f->t, f->bytes.data, fake_end, &f->err), &f->err);
    assert_true(device_tail_prove(&f->t));
    must(device_tail_append(&f->t, f->bytes.data + fake_end,
                            f->bytes.len - fake_end, &f->err),
         &f->err);

    assert_true(device_tail_prove(&f->t));
    assert_int_equal(f->t.state.n_sections, 1);
    assert_int_equal(f->t.state.sections[0].bytes,
                     1 + 4 + 6 + 8 + body.len + QEMU_FOOTER_BYTES);
}

/* Candidates whose description does not prove the bytes are read over. */
static void a_description_of_something_else_is_no_end(void **state)
{
    static const char fake[] = "\0\6\0\0\0\x0e{\"devices\":[]}";
    cleanup_json json_t *devices = json_array();
    struct fixture *f = *state;

    made_device(&f->bytes, devices, "guest", 0, fake, sizeof(fake) - 1);
    f->bytes.len -= QEMU_FOOTER_BYTES;
    append_all(f);

    assert_false(device_tail_prove(&f->t));

    assert_int_equal(device_tail_explain(&f->t, &f->err), ERR_PROTOCOL);
    assert_non_null(strstr(f->err.message, "are not described"));
}

/* A length of which a byte is 0 or 6 must not hide the EOF before it. */
static void any_length_of_description_is_found(void **state)
{
    struct fixture *f = *state;

    for (size_t pad = 0; pad < 600; pad++) {
        cleanup_buf struct buf json = BUF_INIT;

        device_tail_release(&f->t);
        buf_reset(&f->bytes);
        must(buf_printf(&json, &f->err, "{\"devices\":[],\"pad\":\"%0*d\"}",
                        (int)pad + 1, 0),
             &f->err);
        must(stream_put_eof(&f->bytes, &f->err), &f->err);
        must(stream_put_vmdesc(&f->bytes, &json, &f->err), &f->err);
        append_all(f);
        assert_true(device_tail_prove(&f->t));
        assert_int_equal(f->t.state.tail.len, 0);
        assert_string_equal(f->t.state.run_state, "");
    }
}

static void a_run_state_of_no_letters_is_refused(void **state)
{
    struct fixture *f = *state;

    made_tail(&f->bytes, "run\nning");
    append_all(f);

    assert_false(device_tail_prove(&f->t));
    assert_int_equal(device_tail_explain(&f->t, &f->err), ERR_PROTOCOL);
    assert_non_null(strstr(f->err.message, "holds no run state"));
    assert_int_equal(f->t.state.n_sections, 0);
}

static void a_tail_without_end_is_refused_before_memory_is_gone(void **state)
{
    struct fixture *f = *state;
    size_t chunk = 32u << 20;
    cleanup_free uint8_t *zeros = calloc(1, chunk);
    int rc = 0;
    size_t n = 0;

    while (rc == 0 && n < 20) {
        rc = device_tail_append(&f->t, zeros, chunk, &f->err);
        n++;
    }

    assert_error(rc, &f->err, ERR_PROTOCOL, "longer than 320 MiB");
    assert_int_equal(n, 11);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_proved_tail_is_without_its_end_and_description),
        TEST(only_the_whole_tail_is_proved),
        TEST(a_forged_end_is_undone_by_the_bytes_behind_it),
        TEST(a_description_of_something_else_is_no_end),
        TEST(any_length_of_description_is_found),
        TEST(a_run_state_of_no_letters_is_refused),
        TEST(a_tail_without_end_is_refused_before_memory_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

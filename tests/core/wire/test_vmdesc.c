#include "tests/core/vm/assert_error.h"

#include "core/wire/qemu_wire.h"
#include "core/wire/vmdesc.h"
#include "tests/core/wire/stream_maker.h"

struct fixture {
    struct buf tail;
    struct buf early;
    json_t *devices;
    struct buf json;
    struct vmdesc_cut cut;
    struct error err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->devices = json_array();
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    buf_release(&f->tail);
    buf_release(&f->early);
    buf_release(&f->json);
    json_decref(f->devices);
    free(f->cut.sections);
    free(f);
    return 0;
}

static int walk(struct fixture *f)
{
    cleanup_json json_t *root = json_pack("{s:O}", "devices", f->devices);

    free(f->cut.sections);
    f->cut = (struct vmdesc_cut){0};
    buf_reset(&f->json);
    must(json_print(root, &f->json, &f->err), &f->err);
    return vmdesc_walk(f->json.data, f->json.len,
                       cursor_of(f->early.data, f->early.len),
                       cursor_of(f->tail.data, f->tail.len), &f->cut, &f->err);
}

/* Replaces the description of the device that was added last. */
static void describe(struct fixture *f, json_t *fields, json_t *subsections)
{
    json_t *d = json_array_get(f->devices, json_array_size(f->devices) - 1);

    json_object_set_new(d, "fields", fields);
    if (subsections)
        json_object_set_new(d, "subsections", subsections);
}

static void add(struct fixture *f, const char *name, size_t len)
{
    static const uint8_t body[4096];

    made_device(&f->tail, f->devices, name, 0, body, len);
}

static void fields_arrays_structs_and_subsections_add_up(void **state)
{
    struct fixture *f = *state;

    add(f, "nic", 4 + 3 * 8 + 16 + (2 + 5 + 4 + 6));
    describe(f,
             json_pack("[{s:i}, {s:i, s:i}, {s:i, s:{s:[{s:i}]}}]", "size", 4,
                       "size", 8, "array_len", 3, "size", 16, "struct",
                       "fields", "size", 999),
             json_pack("[{s:s, s:[{s:i}]}]", "vmsd_name", "nic/x", "fields",
                       "size", 6));
    add(f, "timer", 24);

    assert_int_equal(walk(f), 0);

    assert_int_equal(f->cut.n, 2);
    assert_int_equal(f->cut.n_searched, 0);
    assert_string_equal(f->cut.sections[0].name, "nic");
    assert_int_equal(f->cut.sections[0].offset, 0);
    assert_int_equal(f->cut.sections[1].offset, f->cut.sections[0].bytes);
    assert_int_equal(f->cut.sections[1].offset + f->cut.sections[1].bytes,
                     f->tail.len);
    assert_int_equal(f->cut.sections[1].version, 1);
}

static void subsections_of_subsections_count_as_well(void **state)
{
    struct fixture *f = *state;

    add(f, "a", 1 + (2 + 3 + 4 + 2 + (2 + 5 + 4 + 3)));
    describe(f, json_pack("[{s:i}]", "size", 1),
             json_pack("[{s:s, s:[{s:i}], s:[{s:s, s:[{s:i}]}]}]", "vmsd_name",
                       "a/b", "fields", "size", 2, "subsections", "vmsd_name",
                       "a/b/c", "fields", "size", 3));

    assert_int_equal(walk(f), 0);
    assert_int_equal(f->cut.n_searched, 0);
}

static void a_handler_of_the_old_style_says_its_size_as_a_whole(void **state)
{
    struct fixture *f = *state;
    json_t *d;

    add(f, "old", 100);
    d = json_array_get(f->devices, 0);
    json_object_del(d, "fields");
    json_object_set_new(d, "size", json_integer(100));

    assert_int_equal(walk(f), 0);
    assert_int_equal(f->cut.n_searched, 0);
}

static void
a_device_that_does_not_add_up_is_searched_for_and_noted(void **state)
{
    struct fixture *f = *state;

    add(f, "timer", 24);
    add(f, "odd", 100);
    describe(f, json_pack("[{s:i}]", "size", 60), NULL);
    add(f, "cpu", 8);
    add(f, "untold", 50);
    describe(f, json_pack("[{s:s}]", "name", "no size"), NULL);

    assert_int_equal(walk(f), 0);

    assert_int_equal(f->cut.n, 4);
    assert_int_equal(f->cut.n_searched, 2);
    assert_string_equal(f->cut.sections[2].name, "cpu");
    assert_int_equal(f->cut.sections[1].bytes, 1 + 4 + 4 + 8 + 100 + 5);
}

/* The body holds a footer and a header of the next device, as a guest might
 * put them there; sizes that add up do not look at it. */
static void bytes_that_look_like_a_boundary_do_not_fool_the_walk(void **state)
{
    cleanup_buf struct buf body = BUF_INIT;
    struct fixture *f = *state;
    const struct section_name fake = {11, "cpu", 0, 1};

    must(stream_put_section_footer(&body, 10, &f->err), &f->err);
    must(stream_put_section_start(&body, &fake, true, &f->err), &f->err);
    must(buf_append(&body, "12345678", 8, &f->err), &f->err);
    must(stream_put_section_footer(&body, 11, &f->err), &f->err);
    made_device(&f->tail, f->devices, "guest", 0, body.data, body.len);
    add(f, "cpu", 8);

    assert_int_equal(walk(f), 0);

    assert_int_equal(f->cut.n, 2);
    assert_int_equal(f->cut.n_searched, 0);
    assert_int_equal(f->cut.sections[1].offset + f->cut.sections[1].bytes,
                     f->tail.len);
}

static void devices_before_ram_are_walked_first(void **state)
{
    struct fixture *f = *state;

    made_device(&f->early, f->devices, "mem/early", 0, "abc", 3);
    add(f, "timer", 24);

    assert_int_equal(walk(f), 0);

    assert_int_equal(f->cut.n, 1);
    assert_string_equal(f->cut.sections[0].name, "timer");
    assert_int_equal(f->cut.sections[0].offset, 0);
}

static void no_devices_describe_no_bytes(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(walk(f), 0);
    assert_int_equal(f->cut.n, 0);
}

static void bytes_that_nobody_describes_are_refused(void **state)
{
    struct fixture *f = *state;

    add(f, "timer", 24);
    must(buf_append(&f->tail, "extra", 5, &f->err), &f->err);

    assert_error(walk(f), &f->err, ERR_PROTOCOL,
                 "5 bytes of device state are not described");
}

static void a_described_device_that_is_missing_is_named(void **state)
{
    struct fixture *f = *state;

    add(f, "timer", 24);
    json_array_append_new(f->devices,
                          json_pack("{s:s, s:i, s:[]}", "name", "gone",
                                    "instance_id", 0, "fields"));

    assert_error(walk(f), &f->err, ERR_PROTOCOL,
                 "device 'gone' is described but not at byte 48");
}

static void another_instance_is_another_device(void **state)
{
    struct fixture *f = *state;

    add(f, "timer", 24);
    json_object_set_new(json_array_get(f->devices, 0), "instance_id",
                        json_integer(1));

    assert_error(walk(f), &f->err, ERR_PROTOCOL, "'timer' is described but");
}

static void descriptions_that_are_none_are_refused(void **state)
{
    static const struct {
        const char *json;
        const char *piece;
    } cases[] = {
        {"", "device description: not JSON"},
        {"{", "device description: not JSON"},
        {"[]", "lists no devices"},
        {"{}", "lists no devices"},
        {"{\"devices\": 3}", "lists no devices"},
        {"{\"devices\": [3]}", "'?' is described but not at byte 0"},
        {"{\"devices\": [{\"name\": 3}]}", "'?' is described but"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_error(vmdesc_walk(cases[i].json, strlen(cases[i].json),
                                 cursor_of("", 0), cursor_of("", 0), &f->cut,
                                 &f->err),
                     &f->err, ERR_PROTOCOL, cases[i].piece);
}

static void sizes_that_overflow_are_no_sizes(void **state)
{
    struct fixture *f = *state;

    add(f, "timer", 24);
    describe(f,
             json_pack("[{s:I, s:I}, {s:i}]", "size", INT64_MAX, "array_len",
                       INT64_MAX, "size", -5),
             NULL);

    assert_int_equal(walk(f), 0);
    assert_int_equal(f->cut.n_searched, 1);
}

/* No prefix of the bytes, nor of the text, is a proof. */
static void every_prefix_is_refused(void **state)
{
    cleanup_buf struct buf tail = BUF_INIT;
    cleanup_buf struct buf json = BUF_INIT;
    struct fixture *f = *state;

    made_tail_parts(&tail, &json, "running");

    for (size_t len = 0; len < tail.len; len++)
        assert_int_equal(vmdesc_walk(json.data, json.len, cursor_of("", 0),
                                     cursor_of(tail.data, len), &f->cut,
                                     &f->err),
                         ERR_PROTOCOL);
    for (size_t len = 0; len < json.len; len++)
        assert_int_equal(vmdesc_walk(json.data, len, cursor_of("", 0),
                                     cursor_of(tail.data, tail.len), &f->cut,
                                     &f->err),
                         ERR_PROTOCOL);
    assert_int_equal(vmdesc_walk(json.data, json.len, cursor_of("", 0),
                                 cursor_of(tail.data, tail.len), &f->cut,
                                 &f->err),
                     0);
}

static void a_flipped_bit_is_refused_or_cuts_the_same_way(void **state)
{
    cleanup_buf struct buf tail = BUF_INIT;
    cleanup_buf struct buf json = BUF_INIT;
    struct fixture *f = *state;

    made_tail_parts(&tail, &json, "running");

    for (size_t bit = 0; bit < (tail.len + json.len) * 8; bit++) {
        struct vmdesc_cut cut = {0};
        uint8_t *byte = bit / 8 < tail.len ? &tail.data[bit / 8]
                                           : &json.data[bit / 8 - tail.len];
        int rc;

        *byte ^= (uint8_t)(1u << bit % 8);
        rc = vmdesc_walk(json.data, json.len, cursor_of("", 0),
                         cursor_of(tail.data, tail.len), &cut, &f->err);
        *byte ^= (uint8_t)(1u << bit % 8);
        if (rc < 0) {
            assert_int_equal(rc, ERR_PROTOCOL);
            continue;
        }
        assert_int_equal(cut.n, 4);
        assert_int_equal(cut.sections[3].offset + cut.sections[3].bytes,
                         tail.len);
        free(cut.sections);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fields_arrays_structs_and_subsections_add_up),
        TEST(subsections_of_subsections_count_as_well),
        TEST(a_handler_of_the_old_style_says_its_size_as_a_whole),
        TEST(a_device_that_does_not_add_up_is_searched_for_and_noted),
        TEST(bytes_that_look_like_a_boundary_do_not_fool_the_walk),
        TEST(devices_before_ram_are_walked_first),
        TEST(no_devices_describe_no_bytes),
        TEST(bytes_that_nobody_describes_are_refused),
        TEST(a_described_device_that_is_missing_is_named),
        TEST(another_instance_is_another_device),
        TEST(descriptions_that_are_none_are_refused),
        TEST(sizes_that_overflow_are_no_sizes),
        TEST(every_prefix_is_refused),
        TEST(a_flipped_bit_is_refused_or_cuts_the_same_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/core/vm/assert_error.h"

#include "core/wire/config_decoder.h"
#include "core/wire/qemu_wire.h"
#include "core/wire/wire_out.h"
#include "tests/core/wire/stream_maker.h"

struct fixture {
    struct machine_config c;
    struct buf b;
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

    machine_config_release(&f->c);
    buf_release(&f->b);
    free(f);
    return 0;
}

static void put_machine(struct fixture *f, const char *name, uint32_t len)
{
    struct wire_out o = wire_out_begin(&f->b, &f->err);

    out_u8(&o, QEMU_SECTION_CONFIGURATION);
    out_be32(&o, len);
    out_bytes(&o, name, strlen(name));
    must(wire_out_end(&o), &f->err);
}

static void put_subsection(struct fixture *f, const char *name,
                           uint32_t version, const void *body, size_t len)
{
    struct wire_out o = wire_out_begin(&f->b, &f->err);

    out_u8(&o, QEMU_SECTION_SUBSECTION);
    out_str8(&o, name);
    out_be32(&o, version);
    out_bytes(&o, body, len);
    must(wire_out_end(&o), &f->err);
}

/* Reads the machine, then subsections until the bytes end; gives the result
 * of the step that was not 0, or 0. */
static int read_all(struct fixture *f, size_t len)
{
    struct input in = {.at = cursor_of(f->b.data, len)};
    int rc;

    machine_config_release(&f->c);
    f->c = (struct machine_config){0};
    f->err = ERROR_INIT;
    rc = config_read_machine(&f->c, &in, &f->err);
    while (rc == 0 && cursor_left(&in.at) > 0)
        rc = config_read_subsection(&f->c, &in, &f->err);
    return rc;
}

static const uint8_t ignore_shared[] = "\0\0\0\1\x0fx-ignore-shared";

static void put_all(struct fixture *f)
{
    static const uint8_t uuid[16] = {1, 2, 3};

    put_machine(f, "pc-q35-10.0", 11);
    put_subsection(f, QEMU_CONFIG_PAGE_BITS, 1, "\0\0\0\x0c", 4);
    put_subsection(f, QEMU_CONFIG_CAPABILITIES, 1, ignore_shared,
                   sizeof(ignore_shared) - 1);
    put_subsection(f, QEMU_CONFIG_UUID, 1, uuid, sizeof(uuid));
}

static void all_of_the_section_is_read_and_kept_as_it_came(void **state)
{
    struct fixture *f = *state;

    put_all(f);

    assert_int_equal(read_all(f, f->b.len), 0);

    assert_string_equal(f->c.machine, "pc-q35-10.0");
    assert_int_equal(f->c.target_page_bits, 12);
    assert_true(f->c.ignore_shared);
    assert_true(f->c.has_uuid);
    assert_int_equal(f->c.uuid[2], 3);
    assert_int_equal(f->c.raw.len, f->b.len);
    assert_memory_equal(f->c.raw.data, f->b.data, f->b.len);
}

static void every_prefix_asks_for_more_or_ends_at_a_piece(void **state)
{
    struct fixture *f = *state;
    size_t whole = 0;

    put_all(f);
    for (size_t len = 0; len < f->b.len; len++)
        whole += read_all(f, len) == 0;

    /* Behind the name and behind two of the three subsections. */
    assert_int_equal(whole, 3);
}

static void flipped_bits_are_refused_or_other_facts(void **state)
{
    struct fixture *f = *state;

    put_all(f);
    for (size_t bit = 0; bit < f->b.len * 8; bit++) {
        int rc;

        f->b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        rc = read_all(f, f->b.len);
        f->b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (rc < 0)
            assert_true(rc == ERR_PROTOCOL || rc == ERR_UNSUPPORTED);
    }
}

static void machine_names_that_are_none_are_refused(void **state)
{
    struct fixture *f = *state;

    put_machine(f, "", 0);
    assert_error(read_all(f, f->b.len), &f->err, ERR_PROTOCOL,
                 "a name of 0 bytes");
    buf_reset(&f->b);
    put_machine(f, "pc", 256);
    assert_error(read_all(f, f->b.len), &f->err, ERR_PROTOCOL,
                 "a name of 256 bytes");
    buf_reset(&f->b);
    put_machine(f, "pc", 2);
    f->b.data[6] = '\0';
    assert_error(read_all(f, f->b.len), &f->err, ERR_PROTOCOL,
                 "a NUL in its name");
}

static void what_changes_the_stream_in_other_ways_is_refused(void **state)
{
    static const struct {
        const char *name;
        uint32_t version;
        const char *body;
        size_t len;
        int code;
        const char *piece;
    } cases[] = {
        {QEMU_CONFIG_CAPABILITIES, 1, "\0\0\0\1\x0amapped-ram", 15,
         ERR_UNSUPPORTED, "capability 'mapped-ram'"},
        {QEMU_CONFIG_CAPABILITIES, 1, "\0\0\0\1\3new", 8, ERR_UNSUPPORTED,
         "capability 'new'"},
        {QEMU_CONFIG_CAPABILITIES, 1, "\0\0\1\0", 4, ERR_PROTOCOL,
         "256 migration capabilities"},
        {QEMU_CONFIG_PAGE_BITS, 1, "\0\0\0\x10", 4, ERR_UNSUPPORTED,
         "guest pages of 2^16 bytes"},
        {QEMU_CONFIG_PAGE_BITS, 2, "\0\0\0\x0c", 4, ERR_UNSUPPORTED,
         "version 2 of subsection"},
        {"configuration/new", 1, "", 0, ERR_UNSUPPORTED,
         "unknown subsection 'configuration/new'"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_reset(&f->b);
        put_machine(f, "pc", 2);
        put_subsection(f, cases[i].name, cases[i].version, cases[i].body,
                       cases[i].len);
        assert_error(read_all(f, f->b.len), &f->err, cases[i].code,
                     cases[i].piece);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_of_the_section_is_read_and_kept_as_it_came),
        TEST(every_prefix_asks_for_more_or_ends_at_a_piece),
        TEST(flipped_bits_are_refused_or_other_facts),
        TEST(machine_names_that_are_none_are_refused),
        TEST(what_changes_the_stream_in_other_ways_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

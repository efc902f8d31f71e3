#include "tests/core/vm/assert_error.h"

#include "core/wire/stream_encoder.h"
#include "tests/core/wire/stream_maker.h"
#include "tests/core/wire/wire_bytes.h"

static void header_and_commands_are_encoded_to_the_byte(void **state)
{
    struct wire_bytes *f = *state;

    must(stream_put_header(&f->b, &f->err), &f->err);
    assert_hex(f, "QEVM\0\0\0\x03");
    must(stream_put_open_return_path(&f->b, &f->err), &f->err);
    assert_hex(f, "\x08\0\x01\0\0");
    must(stream_put_ping(&f->b, 3, &f->err), &f->err);
    assert_hex(f, "\x08\0\x02\0\x04\0\0\0\x03");
    must(stream_put_eof(&f->b, &f->err), &f->err);
    assert_hex(f, "\0");
}

/* A destination compares capabilities with its own; a restore has none. */
static void a_new_config_has_no_capabilities(void **state)
{
    const struct machine_config x86 = {.machine = "pc", .ignore_shared = true};
    const struct machine_config arm = {.machine = "virt",
                                       .target_page_bits = 12};
    struct wire_bytes *f = *state;

    must(stream_put_config(&f->b, &x86, &f->err), &f->err);
    assert_hex(f, "\x07\0\0\0\x02pc");
    must(stream_put_config(&f->b, &arm, &f->err), &f->err);
    assert_hex(f, "\x07\0\0\0\x04virt\x05\x1e"
                  "configuration/target-page-bits\0\0\0\x01\0\0\0\x0c");
}

static void page_sizes_are_listed_only_where_they_differ(void **state)
{
    struct ramblock_list l = {0};
    const struct ramblock ram = {
        .idstr = "r", .used_bytes = 2u << 20, .host_page_bytes = 2u << 20};
    const struct ramblock rom = {
        .idstr = "b", .used_bytes = 4096, .host_page_bytes = 4096};
    struct wire_bytes *f = *state;

    must(ramblock_list_add(&l, &ram, &f->err), &f->err);
    must(ramblock_list_add(&l, &rom, &f->err), &f->err);

    must(stream_put_ram_setup(&f->b, 2, &l, true, &f->err), &f->err);
    assert_hex(f, "\x01\0\0\0\x02\x03ram\0\0\0\0\0\0\0\x04"
                  "\0\0\0\0\0\x20\x10\x04"
                  "\x01r\0\0\0\0\0\x20\0\0\0\0\0\0\0\x20\0\0"
                  "\x01"
                  "b\0\0\0\0\0\0\x10\0"
                  "\0\0\0\0\0\0\0\x10\x7e\0\0\0\x02");
    must(ram_put_block_list(&f->b, &l, false, &f->err), &f->err);
    assert_hex(f, "\0\0\0\0\0\x20\x10\x04"
                  "\x01r\0\0\0\0\0\x20\0\0"
                  "\x01"
                  "b\0\0\0\0\0\0\x10\0");
    ramblock_list_release(&l);
}

static void sections_of_pages_are_framed(void **state)
{
    struct wire_bytes *f = *state;

    must(stream_put_ram_section(&f->b, 9, false, &f->err), &f->err);
    must(stream_put_ram_section_end(&f->b, 9, &f->err), &f->err);
    must(stream_put_ram_section(&f->b, 9, true, &f->err), &f->err);
    assert_hex(f, "\x02\0\0\0\x09\0\0\0\0\0\0\0\x10\x7e\0\0\0\x09"
                  "\x03\0\0\0\x09");
}

static void the_description_is_counted(void **state)
{
    const struct buf json = {.data = (uint8_t *)"{}", .len = 2};
    struct wire_bytes *f = *state;

    must(stream_put_vmdesc(&f->b, &json, &f->err), &f->err);
    assert_hex(f, "\x06\0\0\0\x02{}");
}

static void a_name_that_is_too_long_leaves_the_buffer_as_it_was(void **state)
{
    struct section_name name = {.section_id = 1};
    char idstr[300];
    struct wire_bytes *f = *state;

    memset(idstr, 'x', 299);
    idstr[299] = '\0';
    name.idstr = idstr;
    must(stream_put_eof(&f->b, &f->err), &f->err);

    assert_error(stream_put_section_start(&f->b, &name, true, &f->err), &f->err,
                 ERR_INVALID, "name of 299 bytes is too long");
    assert_int_equal(f->b.len, 1);
}

#define TEST(name)                                           \
    cmocka_unit_test_setup_teardown(name, wire_bytes_set_up, \
                                    wire_bytes_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(header_and_commands_are_encoded_to_the_byte),
        TEST(a_new_config_has_no_capabilities),
        TEST(page_sizes_are_listed_only_where_they_differ),
        TEST(sections_of_pages_are_framed),
        TEST(the_description_is_counted),
        TEST(a_name_that_is_too_long_leaves_the_buffer_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/core/vm/assert_error.h"

#include "core/wire/qemu_wire.h"
#include "core/wire/ram_decoder.h"
#include "tests/core/wire/stream_maker.h"

/* The handler alone, called through the registry as the decoder does. */
struct fixture {
    struct listener listener;
    struct machine_config config;
    struct stream_decoder_stats stats;
    struct ram_decoder ram;
    struct section_registry *registry;
    const struct section_handler *h;
    struct buf body;
    size_t left; /* bytes of the body that were not taken */
    size_t need;
    struct error err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->ram.ops = &listener_ops;
    f->ram.ops_arg = &f->listener;
    f->ram.config = &f->config;
    f->ram.stats = &f->stats;
    must(section_registry_new(&f->registry, &f->err), &f->err);
    must(ram_decoder_register(&f->ram, f->registry, &f->err), &f->err);
    f->h = section_registry_at(f->registry, 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    section_registry_free(f->registry);
    ram_decoder_release(&f->ram);
    listener_release(&f->listener);
    buf_release(&f->body);
    free(f);
    return 0;
}

static int load(struct fixture *f, enum section_part part)
{
    struct input in = {.at = cursor_of(f->body.data, f->body.len),
                       .base = 1000};
    int rc;

    f->err = ERROR_INIT;
    rc = f->h->ops->load(f->h->arg, part, &in, &f->err);
    f->left = cursor_left(&in.at);
    f->need = in.need;
    return rc;
}

static void put_word(struct fixture *f, uint64_t word)
{
    must(buf_append_be64(&f->body, word, &f->err), &f->err);
}

static void put_name(struct fixture *f, const char *name)
{
    must(buf_append_u8(&f->body, (uint8_t)strlen(name), &f->err), &f->err);
    must(buf_append(&f->body, name, strlen(name), &f->err), &f->err);
}

static void put_byte(struct fixture *f, uint8_t byte)
{
    must(buf_append_u8(&f->body, byte, &f->err), &f->err);
}

/* Loads START with the made blocks; the body is empty afterwards. */
static void load_setup(struct fixture *f)
{
    struct ramblock_list l = made_blocks();

    must(ram_put_block_list(&f->body, &l, false, &f->err), &f->err);
    must(ram_put_eos(&f->body, &f->err), &f->err);
    ramblock_list_release(&l);
    assert_int_equal(load(f, SECTION_START), SECTION_LOAD_ENDED);
    assert_int_equal(f->left, 0);
    buf_reset(&f->body);
    buf_reset(&f->listener.trace);
}

static void the_block_list_is_told_once_it_is_whole(void **state)
{
    struct fixture *f = *state;
    struct ramblock_list l = made_blocks();

    must(ram_put_block_list(&f->body, &l, false, &f->err), &f->err);
    f->body.len--;
    assert_int_equal(load(f, SECTION_START), SECTION_LOAD_MORE);
    assert_int_equal(f->listener.n_events, 0);
    assert_int_equal(f->need, 1 + 7 + 8);
    assert_int_equal(f->left, f->need - 1);
    ramblock_list_release(&l);
}

static void a_body_ends_at_eos_and_leaves_what_is_behind(void **state)
{
    struct fixture *f = *state;

    load_setup(f);
    put_word(f, QEMU_RAM_EOS);
    put_word(f, 0xdead);

    assert_int_equal(load(f, SECTION_PART), SECTION_LOAD_ENDED);
    assert_int_equal(f->left, 8);
    assert_string_equal(buf_str(&f->listener.trace), "section end\n");
}

static void the_block_named_last_survives_the_section(void **state)
{
    struct fixture *f = *state;

    load_setup(f);
    put_word(f, 0x1000 | QEMU_RAM_ZERO);
    put_name(f, "pc.bios");
    put_byte(f, 0);
    put_word(f, QEMU_RAM_EOS);
    assert_int_equal(load(f, SECTION_PART), SECTION_LOAD_ENDED);
    buf_reset(&f->body);
    put_word(f, 0x0000 | QEMU_RAM_ZERO | QEMU_RAM_CONTINUE);
    put_byte(f, 0);
    put_word(f, QEMU_RAM_EOS);

    assert_int_equal(load(f, SECTION_PART), SECTION_LOAD_ENDED);
    assert_string_equal(buf_str(&f->listener.trace),
                        "zero 2 1\nsection end\nzero 2 0\nsection end\n");
}

static void a_record_says_what_it_needs_and_is_told_once(void **state)
{
    struct fixture *f = *state;
    size_t whole;

    load_setup(f);
    put_word(f, 0x1000 | QEMU_RAM_PAGE);
    put_name(f, "pc.ram");
    whole = f->body.len + PAGE_BYTES;
    for (size_t i = 0; i < PAGE_BYTES; i++)
        put_byte(f, 1);

    for (size_t len = 0; len < whole; len += len < 20 ? 1 : 500) {
        f->body.len = len;
        assert_int_equal(load(f, SECTION_PART), SECTION_LOAD_MORE);
        assert_int_equal(f->left, len);
        assert_int_equal(f->need, len < 8    ? 8
                                  : len < 9  ? 9
                                  : len < 15 ? 15
                                             : whole);
    }
    f->body.len = whole;
    assert_int_equal(load(f, SECTION_PART), SECTION_LOAD_MORE);
    assert_int_equal(f->left, 0);
    assert_int_equal(f->stats.pages, 1);
}

static void guest_addresses_are_read_only_with_ignore_shared(void **state)
{
    struct fixture *f = *state;

    f->config.ignore_shared = true;
    put_word(f, 0x2000 | QEMU_RAM_MEM_SIZE);
    put_name(f, "pc.rom");
    put_word(f, 0x2000);
    put_word(f, 0xc0000);
    put_word(f, QEMU_RAM_EOS);

    assert_int_equal(load(f, SECTION_START), SECTION_LOAD_ENDED);
    assert_int_equal(f->ram.blocks.blocks[0].used_bytes, 0x2000);
    ram_decoder_settle(&f->ram);
    assert_true(f->ram.blocks.blocks[0].left_out);
}

static void without_ignore_shared_no_block_is_left_out(void **state)
{
    struct fixture *f = *state;

    load_setup(f);
    ram_decoder_settle(&f->ram);
    for (uint32_t i = 0; i < f->ram.blocks.n; i++)
        assert_false(f->ram.blocks.blocks[i].left_out);
}

/* A page size that we do not expect is taken for the next block's name. */
static void a_list_with_page_sizes_comes_out_of_step(void **state)
{
    struct ramblock_list l = made_blocks();
    struct fixture *f = *state;

    l.blocks[0].host_page_bytes = 2u << 20;
    must(ram_put_block_list(&f->body, &l, true, &f->err), &f->err);
    must(ram_put_eos(&f->body, &f->err), &f->err);
    ramblock_list_release(&l);

    assert_int_equal(load(f, SECTION_START), ERR_PROTOCOL);
    assert_non_null(strstr(f->err.message, "at stream offset"));
}

static void xbzrle_records_are_checked_before_their_delta(void **state)
{
    static const struct {
        uint8_t head[3];
        const char *piece;
    } cases[] = {
        {{2, 0, 1}, "malformed XBZRLE record at stream offset 1000"},
        {{1, 0x10, 1}, "malformed XBZRLE record"},
        {{1, 0, 1}, "record at stream offset 1000: XBZRLE count"},
    };
    struct fixture *f = *state;

    load_setup(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_reset(&f->body);
        put_word(f, QEMU_RAM_XBZRLE);
        put_name(f, "pc.ram");
        must(buf_append(&f->body, cases[i].head, 3, &f->err), &f->err);
        put_byte(f, 1);
        assert_error(load(f, SECTION_PART), &f->err, ERR_PROTOCOL,
                     cases[i].piece);
    }
}

static void names_with_a_nul_are_malformed(void **state)
{
    struct fixture *f = *state;

    load_setup(f);
    put_word(f, QEMU_RAM_ZERO);
    put_byte(f, 2);
    put_byte(f, 0);
    put_byte(f, 'x');
    put_byte(f, 0);

    assert_error(load(f, SECTION_PART), &f->err, ERR_PROTOCOL,
                 "malformed RAM block name");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_block_list_is_told_once_it_is_whole),
        TEST(a_body_ends_at_eos_and_leaves_what_is_behind),
        TEST(the_block_named_last_survives_the_section),
        TEST(a_record_says_what_it_needs_and_is_told_once),
        TEST(guest_addresses_are_read_only_with_ignore_shared),
        TEST(without_ignore_shared_no_block_is_left_out),
        TEST(a_list_with_page_sizes_comes_out_of_step),
        TEST(xbzrle_records_are_checked_before_their_delta),
        TEST(names_with_a_nul_are_malformed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

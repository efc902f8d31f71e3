#include "tests/core/vm/assert_error.h"

#include "core/wire/postcopy_commands.h"
#include "tests/core/wire/stream_maker.h"
#include "tests/core/wire/wire_bytes.h"

static void commands_are_encoded_to_the_byte(void **state)
{
    static const struct discard_range first = {0, 0x1000};
    cleanup_buf struct buf package = BUF_INIT;
    struct wire_bytes *f = *state;

    must(postcopy_put_advise(&f->b, 0x201000, 4096, &f->err), &f->err);
    assert_hex(f, "\x08\0\x03\0\x10\0\0\0\0\0\x20\x10\0\0\0\0\0\0\0\x10\0");
    must(postcopy_put_discard(&f->b, "pc.ram", &first, 1, &f->err), &f->err);
    assert_hex(f, "\x08\0\x06\0\x19\0\x06pc.ram\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                  "\x10\0");
    must(postcopy_put_listen(&f->b, &f->err), &f->err);
    must(postcopy_put_run(&f->b, &f->err), &f->err);
    must(postcopy_put_resume(&f->b, &f->err), &f->err);
    assert_hex(f, "\x08\0\x04\0\0\x08\0\x05\0\0\x08\0\x09\0\0");
    must(postcopy_put_recv_bitmap(&f->b, "pc.ram", &f->err), &f->err);
    assert_hex(f, "\x08\0\x0a\0\x07\x06pc.ram");
    must(buf_append(&package, "abc", 3, &f->err), &f->err);
    must(postcopy_put_packaged(&f->b, &package, &f->err), &f->err);
    assert_hex(f, "\x08\0\x07\0\x04\0\0\0\x03"
                  "abc");
}

static int note_range(void *arg, const char *idstr, struct discard_range r,
                      struct error *err)
{
    struct wire_bytes *f = arg;

    if (f->trace.len > 60)
        return fail(err, ERR_NOSPC, "too many ranges");
    return buf_printf(&f->trace, err, "%s %lx+%lx\n", idstr, r.start, r.bytes);
}

static int get(struct wire_bytes *f, const void *body, size_t len)
{
    buf_reset(&f->trace);
    f->err = ERROR_INIT;
    return postcopy_get_discard(body, len, note_range, f, &f->err);
}

static const struct discard_range ranges[] = {{0x1000, 0x2000},
                                              {0x200000, 0x200000}};

static void discard_reads_back(void **state)
{
    struct wire_bytes *f = *state;

    must(postcopy_put_discard(&f->b, "pc.ram", ranges, 2, &f->err), &f->err);

    assert_int_equal(get(f, f->b.data + 5, f->b.len - 5), 0);
    assert_string_equal(buf_str(&f->trace),
                        "pc.ram 1000+2000\npc.ram 200000+200000\n");
}

static void discard_of_too_few_or_too_many_ranges_is_refused(void **state)
{
    struct wire_bytes *f = *state;
    cleanup_free struct discard_range *many =
        calloc(POSTCOPY_DISCARD_RANGES_MAX + 1, sizeof(*many));
    char name[256];

    for (size_t i = 0; i <= POSTCOPY_DISCARD_RANGES_MAX; i++)
        many[i] = ranges[0];
    memset(name, 'x', 255);
    name[255] = '\0';

    assert_error(postcopy_put_discard(&f->b, "a", many, 0, &f->err), &f->err,
                 ERR_INVALID, "DISCARD of 0 ranges");
    assert_error(postcopy_put_discard(&f->b, "a", many,
                                      POSTCOPY_DISCARD_RANGES_MAX + 1, &f->err),
                 &f->err, ERR_INVALID, "DISCARD of 4001 ranges");
    assert_int_equal(f->b.len, 0);
    assert_int_equal(postcopy_put_discard(&f->b, name, many,
                                          POSTCOPY_DISCARD_RANGES_MAX, &f->err),
                     0);
    assert_int_equal(load_be16(f->b.data + 3), f->b.len - 5);
}

static void prefixes_of_discard_are_refused(void **state)
{
    struct wire_bytes *f = *state;
    size_t whole_ranges = 0;

    must(postcopy_put_discard(&f->b, "pc.ram", ranges, 2, &f->err), &f->err);
    for (size_t len = 0; len < f->b.len - 5; len++) {
        cleanup_free uint8_t *cut = malloc(len + 1);
        int rc;

        memcpy(cut, f->b.data + 5, len);
        rc = get(f, cut, len);
        whole_ranges += rc == 0;
        if (rc < 0)
            assert_error(rc, &f->err, ERR_PROTOCOL, "DISCARD");
    }
    /* Only the one that ends behind the first range. */
    assert_int_equal(whole_ranges, 1);
}

static void flipped_bits_of_discard_are_refused_or_other_ranges(void **state)
{
    struct wire_bytes *f = *state;

    must(postcopy_put_discard(&f->b, "pc.ram", ranges, 2, &f->err), &f->err);
    for (size_t bit = 5 * 8; bit < f->b.len * 8; bit++) {
        f->b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (get(f, f->b.data + 5, f->b.len - 5) < 0)
            assert_int_equal(f->err.code, ERR_PROTOCOL);
        else
            assert_string_not_equal(buf_str(&f->trace),
                                    "pc.ram 1000+2000\npc.ram 200000+200000\n");
        f->b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void malformed_discards_are_named(void **state)
{
    static const struct {
        uint8_t body[20];
        size_t len;
        const char *piece;
    } cases[] = {
        {{1, 1, 'a', 0}, 20, "DISCARD of version 1, closed by 0"},
        {{0, 1, 'a', 7}, 20, "DISCARD of version 0, closed by 7"},
        {{0, 1, 'a', 0}, 4, "DISCARD with 0 bytes of ranges"},
        {{0, 1, 'a', 0}, 20, "DISCARD of 0x0 bytes at 0x0 of 'a'"},
        {{0, 9, 'a', 0}, 8, "DISCARD is cut"},
    };
    struct wire_bytes *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_error(get(f, cases[i].body, cases[i].len), &f->err, ERR_PROTOCOL,
                     cases[i].piece);
}

static void an_error_of_the_client_ends_a_discard(void **state)
{
    struct discard_range many[10];
    struct wire_bytes *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = ranges[1];
    must(postcopy_put_discard(&f->b, "pc.ram", many, 10, &f->err), &f->err);

    assert_error(get(f, f->b.data + 5, f->b.len - 5), &f->err, ERR_NOSPC,
                 "too many ranges");
}

static void advise_reads_back_and_nothing_else_does(void **state)
{
    uint8_t body[17] = {0};
    uint64_t sizes = 7;
    uint64_t target = 8;
    struct wire_bytes *f = *state;

    store_be64(body, 0x201000);
    store_be64(body + 8, 4096);
    for (size_t len = 0; len <= 17; len++) {
        if (len != 16)
            assert_error(postcopy_get_advise(body, len, &sizes, &target,
                                             &f->err),
                         &f->err, ERR_PROTOCOL, "ADVISE with a body of");
    }
    assert_int_equal(sizes, 7);
    assert_int_equal(postcopy_get_advise(body, 16, &sizes, &target, &f->err),
                     0);
    assert_int_equal(sizes, 0x201000);
    assert_int_equal(target, 4096);
}

static void recv_bitmap_names_one_block(void **state)
{
    struct wire_bytes *f = *state;
    char idstr[256];

    assert_int_equal(postcopy_get_recv_bitmap("\3abc", 4, idstr, &f->err), 0);
    assert_string_equal(idstr, "abc");
    for (size_t len = 0; len < 4; len++)
        assert_error(postcopy_get_recv_bitmap("\3abc", len, idstr, &f->err),
                     &f->err, ERR_PROTOCOL, "RECV_BITMAP");
    assert_error(postcopy_get_recv_bitmap("\3abcd", 5, idstr, &f->err), &f->err,
                 ERR_PROTOCOL, "a body of 5 bytes");
}

static void an_empty_package_is_refused(void **state)
{
    struct wire_bytes *f = *state;
    const struct buf empty = BUF_INIT;

    assert_error(postcopy_put_packaged(&f->b, &empty, &f->err), &f->err,
                 ERR_INVALID, "package of 0 bytes");
}

#define TEST(name)                                           \
    cmocka_unit_test_setup_teardown(name, wire_bytes_set_up, \
                                    wire_bytes_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commands_are_encoded_to_the_byte),
        TEST(discard_reads_back),
        TEST(discard_of_too_few_or_too_many_ranges_is_refused),
        TEST(prefixes_of_discard_are_refused),
        TEST(flipped_bits_of_discard_are_refused_or_other_ranges),
        TEST(malformed_discards_are_named),
        TEST(an_error_of_the_client_ends_a_discard),
        TEST(advise_reads_back_and_nothing_else_does),
        TEST(recv_bitmap_names_one_block),
        TEST(an_empty_package_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

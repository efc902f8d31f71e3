#include "tests/core/vm/assert_error.h"

#include "core/wire/qemu_wire.h"
#include "core/wire/return_path.h"
#include "tests/core/wire/stream_maker.h"

struct fixture {
    struct buf bytes;
    struct buf trace;
    struct return_path_decoder *d;
    struct error err;
    int fail_at; /* this message (from 1) fails; 0: none */
    int n;
};

static int note(struct fixture *f, const char *text, struct error *err)
{
    if (++f->n == f->fail_at)
        return fail(err, ERR_NOSPC, "message %d is one too many", f->n);
    return buf_append(&f->trace, text, strlen(text), err);
}

static int on_shut(void *arg, uint32_t status, struct error *err)
{
    char line[64];

    snprintf(line, sizeof(line), "shut %u\n", status);
    return note(arg, line, err);
}

static int on_pong(void *arg, uint32_t value, struct error *err)
{
    char line[64];

    snprintf(line, sizeof(line), "pong %u\n", value);
    return note(arg, line, err);
}

static int on_request(void *arg, const char *idstr, uint64_t start,
                      uint32_t len, struct error *err)
{
    char line[512];

    snprintf(line, sizeof(line), "%s 0x%lx+0x%x\n", idstr, start, len);
    return note(arg, line, err);
}

static int on_bitmap(void *arg, const char *idstr, const uint64_t *words,
                     uint64_t n_pages, struct error *err)
{
    char line[512];

    snprintf(line, sizeof(line), "%s has %lu bits, %lx ... %lx\n", idstr,
             n_pages, words[0], words[n_pages / 64 - 1]);
    return note(arg, line, err);
}

static int on_resume_ack(void *arg, uint32_t value, struct error *err)
{
    char line[64];

    snprintf(line, sizeof(line), "resumed %u\n", value);
    return note(arg, line, err);
}

static const struct return_path_ops ops = {
    .shut = on_shut,
    .pong = on_pong,
    .request = on_request,
    .bitmap = on_bitmap,
    .resume_ack = on_resume_ack,
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    must(return_path_decoder_new(&ops, f, &f->d, &f->err), &f->err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    return_path_decoder_free(f->d);
    buf_release(&f->bytes);
    buf_release(&f->trace);
    free(f);
    return 0;
}

static void start_over(struct fixture *f)
{
    return_path_decoder_free(f->d);
    buf_reset(&f->trace);
    f->n = 0;
    must(return_path_decoder_new(&ops, f, &f->d, &f->err), &f->err);
}

static int feed(struct fixture *f)
{
    f->err = ERROR_INIT;
    return return_path_decoder_feed(f->d, f->bytes.data, f->bytes.len, &f->err);
}

static void put_dialogue(struct fixture *f)
{
    static const uint64_t words[] = {5, 1};
    static const uint8_t unknown[] = {0, 99, 0, 3, 1, 2, 3, 0, 7, 0, 0};
    struct buf *b = &f->bytes;

    must(return_path_put_pong(b, 1, &f->err), &f->err);
    must(return_path_put_request(b, "pc.ram", 0x1000, 4096, &f->err), &f->err);
    must(return_path_put_request(b, NULL, 0x200000, 2097152, &f->err), &f->err);
    must(buf_append(b, unknown, sizeof(unknown), &f->err), &f->err);
    must(return_path_put_bitmap(b, "pc.bios", words, 65, &f->err), &f->err);
    must(return_path_put_request(b, NULL, 0, 4096, &f->err), &f->err);
    must(return_path_put_resume_ack(b, &f->err), &f->err);
    must(return_path_put_shut(b, 0, &f->err), &f->err);
}

#define DIALOGUE                      \
    "pong 1\n"                        \
    "pc.ram 0x1000+0x1000\n"          \
    "pc.ram 0x200000+0x200000\n"      \
    "pc.bios has 128 bits, 5 ... 1\n" \
    "pc.ram 0x0+0x1000\n"             \
    "resumed 1\n"                     \
    "shut 0\n"

static void requests_are_encoded_to_the_byte(void **state)
{
    static const uint8_t want[] = {0, 3,    0,    0x13, 0,   0,    0,    0,
                                   0, 0,    0x10, 0,    0,   0,    0x10, 0,
                                   6, 'p',  'c',  '.',  'r', 'a',  'm',  0,
                                   4, 0,    12,   0,    0,   0,    0,    0,
                                   0, 0x20, 0,    0,    0,   0x10, 0};
    struct fixture *f = *state;

    must(return_path_put_request(&f->bytes, "pc.ram", 0x1000, 4096, &f->err),
         &f->err);
    must(return_path_put_request(&f->bytes, NULL, 0x2000, 4096, &f->err),
         &f->err);

    assert_int_equal(f->bytes.len, sizeof(want));
    assert_memory_equal(f->bytes.data, want, sizeof(want));
}

static void a_dialogue_is_read_whole(void **state)
{
    struct fixture *f = *state;

    put_dialogue(f);

    assert_int_equal(feed(f), 0);
    assert_string_equal(buf_str(&f->trace), DIALOGUE);
}

static void every_cut_gives_the_same_messages(void **state)
{
    struct fixture *f = *state;

    put_dialogue(f);
    for (size_t a = 0; a <= f->bytes.len; a++) {
        start_over(f);
        must(return_path_decoder_feed(f->d, f->bytes.data, a, &f->err),
             &f->err);
        must(return_path_decoder_feed(f->d, f->bytes.data + a, f->bytes.len - a,
                                      &f->err),
             &f->err);
        assert_string_equal(buf_str(&f->trace), DIALOGUE);
    }
    start_over(f);
    for (size_t i = 0; i < f->bytes.len; i++)
        must(return_path_decoder_feed(f->d, f->bytes.data + i, 1, &f->err),
             &f->err);
    assert_string_equal(buf_str(&f->trace), DIALOGUE);
}

/* A prefix gives the first messages and no other. */
static void every_prefix_gives_the_first_messages(void **state)
{
    struct fixture *f = *state;

    put_dialogue(f);
    for (size_t len = 0; len <= f->bytes.len; len++) {
        start_over(f);
        must(return_path_decoder_feed(f->d, f->bytes.data, len, &f->err),
             &f->err);
        assert_memory_equal(DIALOGUE, buf_str(&f->trace), f->trace.len);
    }
}

static void flipped_bits_never_get_out_of_hand(void **state)
{
    struct fixture *f = *state;

    put_dialogue(f);
    for (size_t bit = 0; bit < f->bytes.len * 8; bit++) {
        f->bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        start_over(f);
        if (feed(f) < 0) {
            assert_int_equal(f->err.code, ERR_PROTOCOL);
            assert_non_null(strstr(f->err.message, "return path"));
        }
        f->bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void an_error_of_the_client_stays(void **state)
{
    struct fixture *f = *state;

    put_dialogue(f);
    for (f->fail_at = 1; f->fail_at <= 7; f->fail_at++) {
        start_over(f);
        assert_error(feed(f), &f->err, ERR_NOSPC, "is one too many");
        assert_error(feed(f), &f->err, ERR_NOSPC, "is one too many");
        assert_int_equal(f->n, f->fail_at);
    }
}

static void malformed_messages_are_named(void **state)
{
    static const struct {
        uint8_t bytes[24];
        size_t len;
        const char *piece;
    } cases[] = {
        {{0, 1, 0, 3, 0, 0, 0}, 7, "SHUT with a body of 3 bytes"},
        {{0, 2, 0, 5, 0, 0, 0, 0, 0}, 9, "PONG with a body of 5 bytes"},
        {{0, 4, 0, 11}, 15, "REQ_PAGES with a body of 11"},
        {{0, 4, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0},
         16,
         "request for pages of no block"},
        {{0, 3, 0, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 1, 'a', 0},
         18,
         NULL},
        {{0, 3, 0, 14, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 16, 0, 1, 'a'},
         18,
         "request for 0x1000 bytes at 0x1 of 'a'"},
        {{0, 3, 0, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'a'},
         18,
         "request for 0x0 bytes"},
        {{0, 3, 0, 14, 255, 255, 255, 255, 255, 255, 240, 0, 0, 0, 16, 0, 1,
          'a'},
         18,
         "request for 0x1000 bytes at 0xfffffffffffff000"},
        {{0, 3, 0, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 2, 'a'},
         18,
         "REQ_PAGES_ID with a body of 14 bytes is malformed"},
        {{0, 5, 0, 2, 0, 'a'}, 6, "RECV_BITMAP with a body of 2 bytes"},
        {{0, 5, 0, 1, 0}, 5, "RECV_BITMAP with a body of 1 bytes"},
        {{0, 5, 0, 2, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 7}, 14, "bitmap of 7 bytes"},
        {{0, 3, 4, 0}, 4, "REQ_PAGES_ID with a body of 1024 bytes"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        start_over(f);
        buf_reset(&f->bytes);
        must(buf_append(&f->bytes, cases[i].bytes, cases[i].len, &f->err),
             &f->err);
        if (cases[i].piece)
            assert_error(feed(f), &f->err, ERR_PROTOCOL, cases[i].piece);
        else
            assert_int_equal(feed(f), 0);
    }
}

static void a_bitmap_that_nobody_wants_is_refused(void **state)
{
    static const struct return_path_ops none = {0};
    static const uint64_t word = 1;
    struct fixture *f = *state;

    return_path_decoder_free(f->d);
    must(return_path_decoder_new(&none, f, &f->d, &f->err), &f->err);
    must(return_path_put_pong(&f->bytes, 1, &f->err), &f->err);
    must(return_path_put_bitmap(&f->bytes, "a", &word, 1, &f->err), &f->err);

    assert_error(feed(f), &f->err, ERR_PROTOCOL, "nobody asked for");
}

static void names_too_long_for_a_message_are_refused_whole(void **state)
{
    char name[300];
    struct fixture *f = *state;
    static const uint64_t word = 1;

    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    must(return_path_put_pong(&f->bytes, 1, &f->err), &f->err);

    assert_error(return_path_put_request(&f->bytes, name, 0, 4096, &f->err),
                 &f->err, ERR_INVALID, "name of 299 bytes is too long");
    assert_error(return_path_put_bitmap(&f->bytes, name, &word, 1, &f->err),
                 &f->err, ERR_INVALID, "too long");
    assert_int_equal(f->bytes.len, 8);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_are_encoded_to_the_byte),
        TEST(a_dialogue_is_read_whole),
        TEST(every_cut_gives_the_same_messages),
        TEST(every_prefix_gives_the_first_messages),
        TEST(flipped_bits_never_get_out_of_hand),
        TEST(an_error_of_the_client_stays),
        TEST(malformed_messages_are_named),
        TEST(a_bitmap_that_nobody_wants_is_refused),
        TEST(names_too_long_for_a_message_are_refused_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include "core/base/bytes.h"
#include "core/codec/frame_codec.h"

#define FRAME 32768u

/*
 * Counts what zstd asks for: it is a shared library, so its calls come here.
 * Sanitizers have a malloc of their own.
 */
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 1
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
static unsigned allocations;

void *malloc(size_t n)
{
    allocations++;
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    allocations++;
    return __libc_calloc(n, size);
}
#endif

struct fixture {
    struct frame_codec *codec;
    uint8_t text[FRAME];
    uint8_t random[FRAME];
    uint8_t stored[FRAME];
    uint8_t back[FRAME + 1];
    struct error err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    uint64_t x = 88172645463325252u;

    for (size_t i = 0; i < FRAME; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        f->random[i] = (uint8_t)x;
        f->text[i] = (uint8_t) "the page of a guest "[i % 20 ^ (x & 1)];
    }
    assert_int_equal(frame_codec_new(1, &f->codec, &f->err), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    frame_codec_free(f->codec);
    free(f);
    return 0;
}

static size_t compress(struct fixture *f, const void *src, size_t len)
{
    size_t n = 0;

    assert_int_equal(
        frame_codec_compress(f->codec, src, len, f->stored, &n, &f->err), 0);
    return n;
}

static void assert_damage(struct fixture *f, const void *src, size_t len,
                          size_t raw_len, const char *piece)
{
    assert_error(frame_codec_decompress(f->codec, src, len, f->back, raw_len,
                                        &f->err),
                 &f->err, ERR_CORRUPT, piece);
}

static void text_gets_smaller_and_comes_back(void **state)
{
    struct fixture *f = *state;

    size_t n = compress(f, f->text, FRAME);

    assert_in_range(n, 1, FRAME / 2);
    assert_int_equal(frame_codec_decompress(f->codec, f->stored, n, f->back,
                                            FRAME, &f->err),
                     0);
    assert_memory_equal(f->back, f->text, FRAME);
}

static void random_bytes_are_left_for_raw_storing(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(compress(f, f->random, FRAME), 0);
}

static void what_saves_less_than_an_eighth_is_left_raw(void **state)
{
    struct fixture *f = *state;

    memset(f->random, 0, FRAME / 16);
    assert_int_equal(compress(f, f->random, FRAME), 0);
    memset(f->random, 0, FRAME / 4);
    assert_in_range(compress(f, f->random, FRAME), 1, FRAME - FRAME / 8 - 1);
}

/* Bytes of 16 values, without what repeats itself: a byte coder halves them. */
static void literals_are_coded_where_that_saves_much(void **state)
{
    struct fixture *f = *state;
    size_t coded, plain, again;

    for (size_t i = 0; i < FRAME; i++)
        f->text[i] = (uint8_t)('a' + f->random[i] % 16);
    coded = compress(f, f->text, FRAME);
    assert_in_range(coded, FRAME / 2 - 500, FRAME / 2 + 1500);
    memset(f->random, 0, FRAME * 5 / 8);
    for (size_t i = FRAME * 5 / 8; i < FRAME; i++)
        f->random[i] = f->text[i];
    plain = compress(f, f->random, FRAME);
    assert_in_range(plain, FRAME * 3 / 8, FRAME * 3 / 8 + 500);
    assert_ok(frame_codec_decompress(f->codec, f->stored, plain, f->back, FRAME,
                                     &f->err),
              &f->err);
    assert_memory_equal(f->back, f->random, FRAME);
    again = compress(f, f->text, FRAME);
    assert_int_equal(again, coded);
}

static void without_a_level_nothing_gets_smaller_and_all_is_read(void **state)
{
    struct fixture *f = *state;
    cleanup(frame_codec) struct frame_codec *none = NULL;
    size_t n = compress(f, f->text, FRAME);
    size_t left = 1;

    assert_ok(frame_codec_new(FRAME_CODEC_NONE, &none, &f->err), &f->err);
    assert_ok(frame_codec_decompress(none, f->stored, n, f->back, FRAME,
                                     &f->err),
              &f->err);
    assert_memory_equal(f->back, f->text, FRAME);
    assert_ok(frame_codec_compress(none, f->text, FRAME, f->stored, &left,
                                   &f->err),
              &f->err);
    assert_int_equal(left, 0);
}

static void odd_and_tiny_lengths_come_back(void **state)
{
    struct fixture *f = *state;

    for (size_t len = 1; len < 700; len += 7) {
        size_t n;

        memset(f->text, 'x', len);
        n = compress(f, f->text, len);
        if (n == 0) {
            assert_in_range(len, 1, 30);
            continue;
        }
        memset(f->back, 0xee, sizeof(f->back));
        assert_int_equal(frame_codec_decompress(f->codec, f->stored, n, f->back,
                                                len, &f->err),
                         0);
        assert_memory_equal(f->back, f->text, len);
        assert_int_equal(f->back[len], 0xee);
    }
}

static void each_prefix_of_a_frame_is_damage(void **state)
{
    struct fixture *f = *state;
    size_t n = compress(f, f->text, FRAME);

    for (size_t len = 0; len < n; len++)
        assert_damage(f, f->stored, len, FRAME, "no zstd frame");
}

static void a_flipped_bit_never_writes_behind_the_room(void **state)
{
    struct fixture *f = *state;
    size_t n = compress(f, f->text, FRAME);

    for (size_t bit = 0; bit < n * 8; bit++) {
        int rc;

        f->stored[bit / 8] ^= (uint8_t)(1u << bit % 8);
        f->back[FRAME] = 0xee;
        rc = frame_codec_decompress(f->codec, f->stored, n, f->back, FRAME,
                                    &f->err);
        assert_true(rc == 0 || rc == ERR_CORRUPT);
        assert_int_equal(f->back[FRAME], 0xee);
        f->stored[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void another_raw_length_is_damage(void **state)
{
    struct fixture *f = *state;
    size_t n = compress(f, f->text, FRAME - 1);

    assert_damage(f, f->stored, n, FRAME - 2, "does not decompress");
    assert_damage(f, f->stored, n, FRAME, "gives 32767 bytes");
}

static void two_frames_in_a_row_are_damage(void **state)
{
    struct fixture *f = *state;
    size_t n = compress(f, f->text, FRAME / 2);

    memcpy(f->stored + n, f->stored, n);

    assert_damage(f, f->stored, 2 * n, FRAME, "zstd frame ends after");
}

static void a_frame_without_data_is_damage(void **state)
{
    struct fixture *f = *state;

    memset(f->stored, 0, 108);
    store_le32(f->stored, 0x184d2a50); /* skippable, RFC 8878 3.1.2 */
    store_le32(f->stored + 4, 100);

    assert_damage(f, f->stored, 108, FRAME, "gives 0 bytes");
}

static void only_the_length_that_a_frame_tells_is_expected(void **state)
{
    struct fixture *f = *state;
    size_t n;

    assert_ok(frame_codec_compress(f->codec, f->text, FRAME, f->stored, &n,
                                   &f->err),
              &f->err);
    assert_ok(frame_codec_expect(f->stored, n, FRAME, &f->err), &f->err);
    assert_error(frame_codec_expect(f->stored, n, FRAME + 1, &f->err), &f->err,
                 ERR_CORRUPT, "32769 were expected");
    assert_error(frame_codec_expect(f->random, FRAME, FRAME, &f->err), &f->err,
                 ERR_CORRUPT, "no zstd frame");
    assert_error(frame_codec_expect(f->stored, 3, UINT64_MAX, &f->err), &f->err,
                 ERR_CORRUPT, "no zstd frame");
}

static void levels_that_zstd_does_not_have_are_refused(void **state)
{
    struct fixture *f = *state;
    struct frame_codec *c = NULL;

    assert_int_equal(frame_codec_new(1000, &c, &f->err), ERR_INVALID);
    assert_non_null(strstr(f->err.message, "level 1000"));
    assert_null(c);
}

static void frames_allocate_nothing(void **state)
{
#ifdef COUNTS_ALLOCATIONS
    struct fixture *f = *state;
    unsigned before = allocations;

    for (unsigned i = 0; i < 1000; i++) {
        size_t n;

        store_le32(f->text + i, i);
        n = compress(f, f->text, FRAME);
        assert_int_equal(frame_codec_decompress(f->codec, f->stored, n, f->back,
                                                FRAME, &f->err),
                         0);
        compress(f, f->random, FRAME);
    }

    assert_int_equal(allocations, before);
    /* The counter counts. */
    free(malloc(1));
    assert_int_equal(allocations, before + 1);
#else
    skip();
#endif
}

static void the_library_tells_its_version(void **state)
{
    assert_true(frame_codec_library_version()[0] >= '1');
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(text_gets_smaller_and_comes_back),
        TEST(random_bytes_are_left_for_raw_storing),
        TEST(what_saves_less_than_an_eighth_is_left_raw),
        TEST(literals_are_coded_where_that_saves_much),
        TEST(without_a_level_nothing_gets_smaller_and_all_is_read),
        TEST(odd_and_tiny_lengths_come_back),
        TEST(each_prefix_of_a_frame_is_damage),
        TEST(a_flipped_bit_never_writes_behind_the_room),
        TEST(another_raw_length_is_damage),
        TEST(two_frames_in_a_row_are_damage),
        TEST(a_frame_without_data_is_damage),
        TEST(only_the_length_that_a_frame_tells_is_expected),
        TEST(levels_that_zstd_does_not_have_are_refused),
        TEST(frames_allocate_nothing),
        TEST(the_library_tells_its_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

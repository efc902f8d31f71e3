#include "tests/storage/repo_fixture.h"

#include "core/base/cursor.h"
#include "storage/manifest_file.h"
#include "storage/packs/page_hash.h"
#include "storage/repository_inside.h"

#define ID  "00000000000000ab"
#define RAW 40000u

/* Text that compresses well, or noise that does not. */
static void make_image(struct buf *ret, bool noise)
{
    struct error err;
    uint64_t x = 7;

    for (unsigned i = 0; i < RAW; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        assert_ok(buf_append_u8(ret,
                                noise ? (uint8_t)(x >> 56) : (uint8_t)(i / 100),
                                &err),
                  &err);
    }
}

static void make_file(struct buf *ret, bool noise)
{
    struct error err;

    make_image(ret, noise);
    assert_ok(manifest_file_seal(ID, ret, &err), &err);
}

static void put(struct fixture *f, const struct buf *file)
{
    scratch_write(f->scratch.repo, "snapshots/" ID, file->data, file->len);
}

static int read_it(struct fixture *f, struct manifest_file *ret,
                   struct error *err)
{
    return manifest_file_read(repository_snapshots_dirfd(f->repository), ID,
                              "snapshot '" ID "'", ret, err);
}

static uint8_t *footer_of(struct buf *file)
{
    return file->data + file->len - MANIFEST_FOOTER_BYTES;
}

/* Says `raw` in a footer that fits all else, under another version if asked. */
static void forge(struct buf *file, uint32_t raw, uint32_t version)
{
    uint8_t *footer = footer_of(file);

    manifest_file_footer(footer, ID, file->data,
                         file->len - MANIFEST_FOOTER_BYTES, raw);
    store_le32(footer + 8, version);
    store_le64(footer + 56, checksum64(footer, 56, strtoull(ID, NULL, 16)));
}

static void expect_image(struct fixture *f, const struct buf *file, bool noise)
{
    cleanup(manifest_file) struct manifest_file read = {0};
    cleanup_buf struct buf image = BUF_INIT;
    struct error err;

    make_image(&image, noise);
    put(f, file);
    assert_ok(read_it(f, &read, &err), &err);
    assert_int_equal(read.bytes, file->len);
    assert_int_equal(read.image.len, RAW);
    assert_memory_equal(read.image.data, image.data, RAW);
}

static void expect_refused(struct fixture *f, const struct buf *file, int code,
                           const char *piece)
{
    struct manifest_file read = {0};
    struct error err;

    put(f, file);
    assert_error(read_it(f, &read, &err), &err, code, piece);
    assert_message(&err, "snapshot '" ID "'");
    assert_null(read.image.data);
}

static void what_compresses_is_stored_so(void **state)
{
    cleanup_buf struct buf file = BUF_INIT;

    make_file(&file, false);
    assert_true(file.len < RAW / 10);
    assert_int_equal(load_le32(footer_of(&file) + 12), RAW);
    expect_image(*state, &file, false);
}

static void what_does_not_compress_is_stored_as_it_is(void **state)
{
    cleanup_buf struct buf file = BUF_INIT;

    make_file(&file, true);
    assert_int_equal(file.len, RAW + MANIFEST_FOOTER_BYTES);
    assert_int_equal(load_le32(footer_of(&file) + 12), RAW);
    expect_image(*state, &file, true);
}

static void version_1_is_read(void **state)
{
    cleanup_buf struct buf file = BUF_INIT;

    make_file(&file, true);
    forge(&file, 0, 1);
    expect_image(*state, &file, true);
}

static void versions_to_come_are_told_as_such(void **state)
{
    cleanup_buf struct buf file = BUF_INIT;

    make_file(&file, false);
    forge(&file, RAW, 3);
    expect_refused(*state, &file, ERR_FORMAT, "version 3");
}

static void an_image_of_another_length_is_refused(void **state)
{
    cleanup_buf struct buf file = BUF_INIT;
    uint32_t stored;

    make_file(&file, false);
    stored = (uint32_t)(file.len - MANIFEST_FOOTER_BYTES);
    forge(&file, RAW + 1, 2);
    expect_refused(*state, &file, ERR_CORRUPT, "40001 were expected");
    forge(&file, UINT32_C(1) << 30, 2);
    expect_refused(*state, &file, ERR_CORRUPT, "1073741824 were expected");
    forge(&file, (UINT32_C(1) << 30) + 1, 2);
    expect_refused(*state, &file, ERR_CORRUPT, "does not fit");
    forge(&file, stored - 1, 2);
    expect_refused(*state, &file, ERR_CORRUPT, "does not fit");
    forge(&file, 0, 2);
    expect_refused(*state, &file, ERR_CORRUPT, "does not fit");
}

static void what_is_no_frame_is_refused(void **state)
{
    cleanup_buf struct buf file = BUF_INIT;

    make_file(&file, true);
    forge(&file, RAW + 1, 2);
    expect_refused(*state, &file, ERR_CORRUPT, "no zstd frame");
}

static void a_damaged_frame_is_refused(void **state)
{
    cleanup_buf struct buf file = BUF_INIT;
    struct error err;

    /* Bytes behind the frame. */
    make_file(&file, false);
    assert_ok(buf_append(&file, "xx", 2, &err), &err);
    forge(&file, RAW, 2);
    expect_refused(*state, &file, ERR_CORRUPT, "zstd frame ends");
    /* The end of it missing. */
    file.len -= 6;
    forge(&file, RAW, 2);
    expect_refused(*state, &file, ERR_CORRUPT, "no zstd frame");
}

static void every_flipped_bit_is_noticed(void **state)
{
    struct fixture *f = *state;
    cleanup_buf struct buf file = BUF_INIT;
    struct manifest_file read = {0};
    struct error err;

    make_file(&file, false);
    for (size_t bit = 0; bit < file.len * 8; bit++) {
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        put(f, &file);
        assert_int_equal(read_it(f, &read, &err), ERR_CORRUPT);
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_null(read.image.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(what_compresses_is_stored_so),
        FIXTURE_TEST(what_does_not_compress_is_stored_as_it_is),
        FIXTURE_TEST(version_1_is_read),
        FIXTURE_TEST(versions_to_come_are_told_as_such),
        FIXTURE_TEST(an_image_of_another_length_is_refused),
        FIXTURE_TEST(what_is_no_frame_is_refused),
        FIXTURE_TEST(a_damaged_frame_is_refused),
        FIXTURE_TEST(every_flipped_bit_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Damage by accident: each byte flipped, each length cut; and by a liar: a
 * file whose checksums all fit, but whose numbers make no sense.
 */
#include "tests/storage/packs/pack_fixture.h"

#include "core/base/bytes.h"
#include "storage/packs/frame.h"

/*
 * A pack built by hand from the words of format.h: the numbers may be wrong,
 * the checksums are right. Three raw frames of 1, 2 and 1 pages.
 */
struct forged_pack {
    struct pack_header header;
    uint8_t frames[4 * PAGE_BYTES];
    struct pack_frame_entry frame_table[3];
    uint8_t item_table[4][PACK_ITEM_ENTRY_BYTES];
    struct pack_trailer trailer;
};

static const uint8_t forged_id[PACK_ID_BYTES] = {
    0xfe, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#define FORGED_ID    "fe0102030405060708090a0b0c0d0e0f"
#define TABLE_OFFSET offsetof(struct forged_pack, frame_table)

static_assert(sizeof(struct forged_pack) ==
                  128 + 4 * PAGE_BYTES + 3 * 16 + 4 * 16,
              "no padding");

static void forge(struct forged_pack *p)
{
    static const uint32_t pages[] = {1, 2, 1};

    *p = (struct forged_pack){0};
    memcpy(p->header.magic, PACK_HEADER_MAGIC, 8);
    store_le32(&p->header.version, 1);
    store_le32(&p->header.kind, PACK_PAGES);
    memcpy(p->header.id, forged_id, sizeof(forged_id));
    store_le32(&p->header.page_bytes, PAGE_BYTES);
    for (uint32_t i = 0; i < 4; i++)
        fill_content(p->frames + i * PAGE_BYTES, PAGE_BYTES, i, RANDOM);
    for (uint32_t i = 0; i < 3; i++) {
        store_le32(&p->frame_table[i].stored_bytes, pages[i] * PAGE_BYTES);
        store_le32(&p->frame_table[i].raw_bytes, pages[i] * PAGE_BYTES);
    }
    memcpy(p->trailer.magic, PACK_TRAILER_MAGIC, 8);
    store_le32(&p->trailer.n_frames, 3);
    store_le32(&p->trailer.n_items, 4);
    store_le64(&p->trailer.table_offset, TABLE_OFFSET);
    store_le64(&p->trailer.file_bytes, sizeof(*p));
}

/* Makes every checksum fit what is there. */
static void sign(struct forged_pack *p)
{
    struct pack_seeds seeds = pack_seeds_of(forged_id);
    size_t at = 0;

    for (uint32_t i = 0; i < 3; i++) {
        size_t n = load_le32(&p->frame_table[i].stored_bytes);

        if (n <= sizeof(p->frames) - at)
            store_le64(&p->frame_table[i].checksum,
                       checksum64(p->frames + at, n, seeds.frames + i));
        at += MIN(n, sizeof(p->frames) - at);
    }
    store_le64(&p->header.checksum, checksum64(&p->header, 56, 0));
    store_le64(&p->trailer.frame_table_sum,
               checksum64(p->frame_table, sizeof(p->frame_table), 0));
    store_le64(&p->trailer.item_table_sum,
               checksum64(p->item_table, sizeof(p->item_table), 0));
    store_le64(&p->trailer.checksum,
               checksum64(&p->trailer, 56, seeds.trailer));
}

static void put_in_place(struct pack_fixture *f, const void *data, size_t len)
{
    if (mkdirat(f->folder.fd, "fe", 0700) < 0)
        assert_int_equal(errno, EEXIST);
    snprintf(f->id, sizeof(f->id), FORGED_ID);
    store_raw(f, data, len);
}

static void a_pack_that_our_writer_never_makes_is_read(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_reader) struct pack_reader *r = NULL;
    struct forged_pack p;

    forge(&p);
    store_le32(&p.header.compatible, 0x80000001);
    sign(&p);
    put_in_place(f, &p, sizeof(p));

    r = open_pack(f, PACK_PAGES);
    for (uint32_t i = 0; i < 4; i++)
        assert_page(f, r, i, RANDOM);
    assert_int_equal(pack_reader_frame_first_item(r, 2), 3);
}

/* What a liar writes; `code` and `piece` are the answer. */
struct lie {
    void (*tell)(struct forged_pack *p);
    int code;
    const char *piece;
};

static void assert_refused(struct pack_fixture *f, const struct lie *lie)
{
    struct forged_pack p;

    forge(&p);
    lie->tell(&p);
    sign(&p);
    put_in_place(f, &p, sizeof(p));
    assert_error(read_all(f, PACK_PAGES), &f->err, lie->code, lie->piece);
    assert_message(&f->err, "pack '" FORGED_ID "'");
}

#define LIE(name, statement)                \
    static void name(struct forged_pack *p) \
    {                                       \
        statement;                          \
    }

LIE(unknown_version, store_le32(&p->header.version, 2))
LIE(unknown_feature, store_le32(&p->header.must_understand, 4))
LIE(large_pages, store_le32(&p->header.page_bytes, 65536))
LIE(other_kind, store_le32(&p->header.kind, PACK_INDEX))
LIE(unknown_kind, store_le32(&p->header.kind, 99))
LIE(other_id, p->header.id[3] ^= 1)
LIE(used_header, store_le64(&p->header.reserved, 1))
LIE(used_trailer, store_le64(&p->trailer.reserved, 1))
LIE(no_magic, p->header.magic[0] = 'f')
LIE(no_tail, p->trailer.magic[7] = 'l')
LIE(all_frames, store_le32(&p->trailer.n_frames, UINT32_MAX))
LIE(all_items, store_le32(&p->trailer.n_items, UINT32_MAX))
LIE(no_frames, store_le32(&p->trailer.n_frames, 0);
    store_le32(&p->trailer.n_items, 7))
LIE(no_items, store_le32(&p->trailer.n_items, 0);
    store_le32(&p->trailer.n_frames, 7))
LIE(more_frames_less_items, store_le32(&p->trailer.n_frames, 4);
    store_le32(&p->trailer.n_items, 3))
LIE(one_item_more, store_le32(&p->trailer.n_items, 5);
    store_le64(&p->trailer.table_offset, TABLE_OFFSET - 16))
LIE(tables_nowhere, store_le64(&p->trailer.table_offset, UINT64_MAX - 15))
LIE(tables_over_frames, store_le64(&p->trailer.table_offset, 64))
LIE(longer_file, store_le64(&p->trailer.file_bytes, sizeof(*p) + 1))
LIE(largest_file, store_le64(&p->trailer.file_bytes, UINT64_MAX))
LIE(empty_frame, store_le32(&p->frame_table[1].stored_bytes, 0))
LIE(grown_frame, store_le32(&p->frame_table[1].stored_bytes, 3 * PAGE_BYTES))
LIE(half_page, store_le32(&p->frame_table[1].raw_bytes, PAGE_BYTES + 2048))
LIE(bomb, store_le32(&p->frame_table[1].raw_bytes, FRAME_RAW_MAX + PAGE_BYTES))
LIE(largest_frame, store_le32(&p->frame_table[1].raw_bytes, UINT32_MAX);
    store_le32(&p->frame_table[1].stored_bytes, UINT32_MAX))
LIE(frame_into_tables, store_le32(&p->frame_table[2].stored_bytes, 5000);
    store_le32(&p->frame_table[2].raw_bytes, 2 * PAGE_BYTES))
LIE(frames_too_short, store_le32(&p->frame_table[2].stored_bytes, 100))
LIE(items_too_many, store_le32(&p->frame_table[2].raw_bytes, 2 * PAGE_BYTES))
LIE(items_too_few, store_le32(&p->frame_table[1].stored_bytes, PAGE_BYTES);
    store_le32(&p->frame_table[1].raw_bytes, PAGE_BYTES))
LIE(frames_a_byte_short,
    store_le32(&p->frame_table[1].stored_bytes, 2 * PAGE_BYTES - 1))

static void no_lie_of_a_header_is_believed(void **state)
{
    static const struct lie lies[] = {
        {unknown_version, ERR_FORMAT, "pack version 2 is not known"},
        {unknown_feature, ERR_FORMAT, "features 0x4 are not known"},
        {large_pages, ERR_FORMAT, "pages of 65536 bytes are not known"},
        {other_kind, ERR_CORRUPT, "kind is 2 instead of 1"},
        {unknown_kind, ERR_CORRUPT, "kind is 99 instead of 1"},
        {other_id, ERR_CORRUPT, "id of another pack"},
        {used_header, ERR_CORRUPT, "offset 48: reserved bytes"},
        {no_magic, ERR_CORRUPT, "no pack begins here"},
    };

    for (size_t i = 0; i < ARRAY_LEN(lies); i++)
        assert_refused(*state, &lies[i]);
}

static void no_lie_of_a_trailer_is_believed(void **state)
{
    static const struct lie lies[] = {
        {no_tail, ERR_CORRUPT, "no pack ends here"},
        {used_trailer, ERR_CORRUPT, "reserved bytes of the trailer"},
        {all_frames, ERR_CORRUPT, "4294967295 frames with 4 items cannot be"},
        {all_items, ERR_CORRUPT, "3 frames with 4294967295 items cannot be"},
        {no_frames, ERR_CORRUPT, "0 frames with 7 items"},
        {no_items, ERR_CORRUPT, "7 frames with 0 items"},
        {tables_nowhere, ERR_CORRUPT,
         "tables cannot be at offset 18446744073709551600"},
        {tables_over_frames, ERR_CORRUPT, "tables cannot be at offset 64"},
        {longer_file, ERR_CORRUPT, "file of 16624 bytes should have 16625"},
        {largest_file, ERR_CORRUPT, "should have 18446744073709551615"},
        /* Tables read in other places do not have the sums meant. */
        {more_frames_less_items, ERR_CORRUPT, "checksum of the frame table"},
        {one_item_more, ERR_CORRUPT, "checksum of the frame table"},
    };

    for (size_t i = 0; i < ARRAY_LEN(lies); i++)
        assert_refused(*state, &lies[i]);
}

static void no_lie_of_a_frame_table_is_believed(void **state)
{
    static const struct lie lies[] = {
        {empty_frame, ERR_CORRUPT, "frame 1: 0 bytes stored for 8192"},
        {grown_frame, ERR_CORRUPT, "frame 1: 12288 bytes stored for 8192"},
        {half_page, ERR_CORRUPT, "frame 1: 8192 bytes stored for 6144"},
        {bomb, ERR_CORRUPT, "frame 1: 8192 bytes stored for 1052672"},
        {largest_frame, ERR_CORRUPT, "frame 1: 4294967295 bytes stored"},
        {frame_into_tables, ERR_CORRUPT, "frame 2 ends at offset 17352"},
        {frames_too_short, ERR_CORRUPT,
         "frames end at offset 12452 with 4 items instead of 16448"},
        {items_too_many, ERR_CORRUPT,
         "frame 2 ends at offset 16448 with item 5"},
        {items_too_few, ERR_CORRUPT,
         "frames end at offset 12352 with 3 items instead of 16448 with 4"},
        {frames_a_byte_short, ERR_CORRUPT, "frames end at offset 16447"},
    };

    for (size_t i = 0; i < ARRAY_LEN(lies); i++)
        assert_refused(*state, &lies[i]);
}

static void assert_only_frame_1_is_bad(struct pack_fixture *f,
                                       const struct forged_pack *p,
                                       const char *piece)
{
    cleanup(pack_reader) struct pack_reader *r = NULL;

    put_in_place(f, p, sizeof(*p));
    r = open_pack(f, PACK_PAGES);
    assert_error(pack_reader_frame(r, 1, f->codec, f->raw, &f->err), &f->err,
                 ERR_CORRUPT, piece);
    assert_page(f, r, 0, RANDOM);
    assert_page(f, r, 3, RANDOM);
}

static void damage_of_a_frame_is_its_own(void **state)
{
    struct forged_pack p;

    forge(&p);
    sign(&p);
    p.frames[2 * PAGE_BYTES] ^= 1;

    assert_only_frame_1_is_bad(*state, &p,
                               "frame 1 at offset 4160: checksum differs");
}

static void each_flipped_bit_is_noticed(void **state)
{
    struct pack_fixture *f = *state;
    cleanup_buf struct buf file = BUF_INIT;
    size_t step;

    /* Compressed and raw frames, a short last frame. */
    assert_ok(write_pages(f, 6, MIXED), &f->err);
    load_raw(f, &file);
    assert_ok(read_all(f, PACK_PAGES), &f->err);
    /* All bits of each byte but in the raw frame, where one is enough. */
    for (size_t at = 0; at < file.len; at++) {
        step = at >= 64 && at < 64 + 4 * PAGE_BYTES ? 8 : 1;
        for (size_t bit = at % 8 / (9 - step); bit < 8; bit += step) {
            cleanup_close int fd = open_raw(f, O_WRONLY);
            uint8_t byte = file.data[at] ^ (uint8_t)(1u << bit);

            assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
            if (read_all(f, PACK_PAGES) != ERR_CORRUPT) {
                print_error("bit %zu of byte %zu goes unnoticed\n", bit, at);
                _fail(__FILE__, __LINE__);
            }
            assert_int_equal(pwrite(fd, &file.data[at], 1, (off_t)at), 1);
        }
    }
    assert_ok(read_all(f, PACK_PAGES), &f->err);
}

static void each_shorter_file_is_noticed(void **state)
{
    struct pack_fixture *f = *state;
    cleanup_close int fd = -1;
    struct stat st;

    assert_ok(write_pages(f, 6, TEXT), &f->err);
    fd = open_raw(f, O_RDWR);
    assert_int_equal(fstat(fd, &st), 0);
    for (off_t len = st.st_size - 1; len >= 0; len--) {
        assert_int_equal(ftruncate(fd, len), 0);
        assert_error(read_all(f, PACK_PAGES), &f->err, ERR_CORRUPT,
                     len < 128 ? "is too short" : "offset");
    }
}

static void bytes_behind_the_end_are_noticed(void **state)
{
    struct pack_fixture *f = *state;
    cleanup_buf struct buf file = BUF_INIT;
    struct pack_trailer *trailer;

    assert_ok(write_pages(f, 6, TEXT), &f->err);
    load_raw(f, &file);
    assert_ok(buf_append_u8(&file, 0, &f->err), &f->err);
    store_raw(f, file.data, file.len);
    assert_error(read_all(f, PACK_PAGES), &f->err, ERR_CORRUPT,
                 "no pack ends here");

    /* The trailer once more, at the end of the longer file. */
    file.len--;
    trailer = (void *)(file.data + file.len - sizeof(*trailer));
    assert_ok(buf_reserve(&file, sizeof(*trailer), &f->err), &f->err);
    memcpy(file.data + file.len,
           file.data + file.len - sizeof(struct pack_trailer),
           sizeof(*trailer));
    file.len += sizeof(*trailer);
    store_raw(f, file.data, file.len);
    assert_error(read_all(f, PACK_PAGES), &f->err, ERR_CORRUPT,
                 "bytes should have");
}

static void a_file_longer_than_any_pack_is_refused_unread(void **state)
{
    struct pack_fixture *f = *state;
    cleanup_close int fd = -1;

    assert_ok(write_pages(f, 1, TEXT), &f->err);
    fd = open_raw(f, O_RDWR);
    assert_int_equal(ftruncate(fd, (off_t)PACK_MAX_BYTES + 1), 0);

    assert_error(read_all(f, PACK_PAGES), &f->err, ERR_CORRUPT, "is too long");
}

static void a_pack_under_another_name_is_damage(void **state)
{
    struct pack_fixture *f = *state;
    cleanup_buf struct buf file = BUF_INIT;

    assert_ok(write_pages(f, 3, TEXT), &f->err);
    load_raw(f, &file);
    put_in_place(f, file.data, file.len);

    assert_error(read_all(f, PACK_PAGES), &f->err, ERR_CORRUPT,
                 "id of another pack");
}

static void a_frame_moved_from_another_pack_is_damage(void **state)
{
    struct pack_fixture *f = *state;
    cleanup_buf struct buf first = BUF_INIT;
    cleanup_buf struct buf second = BUF_INIT;

    /* Two packs of the same pages: the same stored bytes, other checksums. */
    assert_ok(write_pages(f, 4, RANDOM), &f->err);
    load_raw(f, &first);
    assert_ok(write_pages(f, 4, RANDOM), &f->err);
    load_raw(f, &second);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data + 64, second.data + 64, 4 * PAGE_BYTES);
    memcpy(second.data + 64 + 4 * PAGE_BYTES, first.data + 64 + 4 * PAGE_BYTES,
           16);
    store_raw(f, second.data, second.len);

    assert_error(read_all(f, PACK_PAGES), &f->err, ERR_CORRUPT,
                 "checksum of the frame table");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PACK_TEST(a_pack_that_our_writer_never_makes_is_read),
        PACK_TEST(no_lie_of_a_header_is_believed),
        PACK_TEST(no_lie_of_a_trailer_is_believed),
        PACK_TEST(no_lie_of_a_frame_table_is_believed),
        PACK_TEST(damage_of_a_frame_is_its_own),
        PACK_TEST(each_flipped_bit_is_noticed),
        PACK_TEST(each_shorter_file_is_noticed),
        PACK_TEST(bytes_behind_the_end_are_noticed),
        PACK_TEST(a_file_longer_than_any_pack_is_refused_unread),
        PACK_TEST(a_pack_under_another_name_is_damage),
        PACK_TEST(a_frame_moved_from_another_pack_is_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

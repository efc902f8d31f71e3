#include "tests/storage/packs/pack_fixture.h"

static void assert_round_trip(struct pack_fixture *f, uint32_t n,
                              enum content content)
{
    cleanup(pack_reader) struct pack_reader *r = NULL;
    const struct page_hash *hashes;
    uint8_t page[PAGE_BYTES];

    assert_ok(write_pages(f, n, content), &f->err);
    r = open_pack(f, PACK_PAGES);
    assert_int_equal(pack_reader_n_items(r), n);
    assert_int_equal(pack_reader_n_frames(r), (n + 3) / 4);
    assert_string_equal(pack_reader_id(r), f->id);
    assert_int_equal(pack_reader_hash_key_id(r), 7);
    for (uint32_t i = 0; i < n; i++)
        assert_page(f, r, i, content);
    assert_ok(pack_reader_hashes(r, &hashes, &f->err), &f->err);
    for (uint32_t i = 0; i < n; i++) {
        fill_content(page, sizeof(page), i, content);
        assert_true(page_hash_equal(hashes[i],
                                    page_hash_of(&f->key, page, PAGE_BYTES)));
    }
}

static void pages_of_all_kinds_come_back(void **state)
{
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 8, 64, 129};
    struct pack_fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        assert_round_trip(f, counts[i], RANDOM);
        assert_round_trip(f, counts[i], TEXT);
        assert_round_trip(f, counts[i], MIXED);
    }
}

static void packs_written_without_io_uring_are_the_same(void **state)
{
    struct pack_fixture *f = *state;
    const struct ring_args args = {.buffer_bytes = 4096, .no_uring = true};

    ring_free(f->ring);
    assert_ok(ring_new(&args, &f->ring, &f->err), &f->err);
    assert_false(ring_is_uring(f->ring));

    assert_round_trip(f, 129, MIXED);
}

static void text_takes_less_room_than_it_has_bytes(void **state)
{
    struct pack_fixture *f = *state;
    struct pack_reader *r;

    assert_ok(write_pages(f, 64, TEXT), &f->err);
    r = open_pack(f, PACK_PAGES);

    assert_in_range(pack_reader_bytes(r), 1, 64 * PAGE_BYTES / 4);
    pack_reader_close(r);
}

static void random_pages_lie_raw_in_the_file(void **state)
{
    struct pack_fixture *f = *state;
    cleanup_buf struct buf file = BUF_INIT;
    uint8_t page[PAGE_BYTES];

    assert_ok(write_pages(f, 6, RANDOM), &f->err);
    load_raw(f, &file);

    assert_int_equal(file.len, 128 + 6 * PAGE_BYTES + 2 * 16 + 6 * 16);
    for (uint32_t i = 0; i < 6; i++) {
        fill_content(page, sizeof(page), i, RANDOM);
        assert_memory_equal(file.data + 64 + i * PAGE_BYTES, page, PAGE_BYTES);
    }
}

static void blobs_of_odd_lengths_come_back(void **state)
{
    static const size_t lengths[] = {1,     2,     7,      4095,    4096,
                                     10007, 65536, 200001, 1u << 20};
    struct pack_fixture *f = *state;
    cleanup(pack_writer) struct pack_writer *w = NULL;
    cleanup(pack_reader) struct pack_reader *r = NULL;
    cleanup_free uint8_t *blob = malloc(FRAME_RAW_MAX);
    const struct page_hash *hashes;
    struct pack_place place;
    uint32_t item;

    assert_ok(new_writer(f, PACK_INDEX, &w), &f->err);
    for (uint32_t i = 0; i < ARRAY_LEN(lengths); i++) {
        const struct page_hash hash = {.low = i, .high = ~(uint64_t)i};

        fill_content(blob, lengths[i], 4 * i, MIXED);
        assert_ok(pack_writer_add_blob(w, blob, lengths[i], &hash, &item,
                                       &f->err),
                  &f->err);
        assert_int_equal(item, i);
    }
    assert_ok(pack_writer_seal(w, &f->err), &f->err);
    assert_ok(pack_writer_link(w, &f->err), &f->err);
    snprintf(f->id, sizeof(f->id), "%s", pack_writer_id(w));

    r = open_pack(f, PACK_INDEX);
    assert_int_equal(pack_reader_n_items(r), ARRAY_LEN(lengths));
    assert_int_equal(pack_reader_n_frames(r), ARRAY_LEN(lengths));
    assert_ok(pack_reader_hashes(r, &hashes, &f->err), &f->err);
    for (uint32_t i = ARRAY_LEN(lengths); i-- > 0;) {
        assert_ok(pack_reader_place(r, i, &place, &f->err), &f->err);
        assert_int_equal(place.frame, i);
        assert_int_equal(place.slot, 0);
        assert_int_equal(place.raw_bytes, lengths[i]);
        fill_content(blob, lengths[i], 4 * i, MIXED);
        assert_ok(pack_reader_frame(r, i, f->codec, f->raw, &f->err), &f->err);
        assert_memory_equal(f->raw, blob, lengths[i]);
        assert_int_equal(hashes[i].low, i);
        assert_true(hashes[i].high == ~(uint64_t)i);
    }
}

static void places_tell_frame_and_slot(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_reader) struct pack_reader *r = NULL;
    struct pack_place place;

    assert_ok(write_pages(f, 10, TEXT), &f->err);
    r = open_pack(f, PACK_PAGES);
    for (uint32_t i = 0; i < 10; i++) {
        assert_ok(pack_reader_place(r, i, &place, &f->err), &f->err);
        assert_int_equal(place.frame, i / 4);
        assert_int_equal(place.slot, i % 4);
        assert_int_equal(place.raw_bytes, (i < 8 ? 4 : 2) * PAGE_BYTES);
        assert_int_equal(pack_reader_frame_first_item(r, i / 4), i / 4 * 4);
        assert_int_equal(pack_reader_frame_raw_bytes(r, place.frame),
                         place.raw_bytes);
    }
}

static void what_a_pack_does_not_have_is_damage(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_reader) struct pack_reader *r = NULL;
    struct pack_place place;

    assert_ok(write_pages(f, 10, TEXT), &f->err);
    r = open_pack(f, PACK_PAGES);

    assert_error(pack_reader_place(r, 10, &place, &f->err), &f->err,
                 ERR_CORRUPT, "has 10 items and no item 10");
    assert_error(pack_reader_place(r, UINT32_MAX, &place, &f->err), &f->err,
                 ERR_CORRUPT, f->id);
    assert_error(pack_reader_frame(r, 3, f->codec, f->raw, &f->err), &f->err,
                 ERR_CORRUPT, "has 3 frames and no frame 3");
}

static void neighbours_come_with_one_read_once_they_are_wanted(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_reader) struct pack_reader *r = NULL;
    const uint64_t frame = 16 << 10, window = 64 << 10;
    uint64_t expected;

    /* Raw frames of 16 KiB, four pages each: a window holds four of them. */
    assert_ok(write_pages(f, 200, RANDOM), &f->err);
    r = open_pack(f, PACK_PAGES);
    expected = pack_reader_read_bytes(r);
    assert_int_equal(expected, 64 + 64 + 50 * 16);

    assert_page(f, r, 4 * 10, RANDOM); /* alone */
    assert_int_equal(pack_reader_read_bytes(r), expected += frame);
    assert_page(f, r, 4 * 11, RANDOM); /* and 12, 13, 14 */
    assert_int_equal(pack_reader_read_bytes(r), expected += window);
    assert_page(f, r, 4 * 14, RANDOM);
    assert_page(f, r, 4 * 12, RANDOM);
    assert_int_equal(pack_reader_read_bytes(r), expected);
    assert_page(f, r, 4 * 9, RANDOM); /* 8 to 11 */
    assert_int_equal(pack_reader_read_bytes(r), expected += window);
    assert_page(f, r, 4 * 8, RANDOM);
    assert_page(f, r, 4 * 11, RANDOM);
    assert_int_equal(pack_reader_read_bytes(r), expected);
}

static void a_far_frame_is_read_alone_and_takes_no_window_in_use(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_reader) struct pack_reader *r = NULL;
    const uint64_t frame = 16 << 10, window = 64 << 10;
    uint64_t expected;

    assert_ok(write_pages(f, 400, RANDOM), &f->err);
    r = open_pack(f, PACK_PAGES);
    expected = pack_reader_read_bytes(r);
    assert_page(f, r, 0, RANDOM);
    assert_page(f, r, 4, RANDOM); /* frames 1 to 4 */
    assert_int_equal(pack_reader_read_bytes(r), expected += frame + window);

    assert_page(f, r, 4 * 50, RANDOM);
    assert_page(f, r, 4 * 2, RANDOM);
    assert_page(f, r, 4 * 90, RANDOM);
    assert_page(f, r, 4 * 3, RANDOM);
    assert_int_equal(pack_reader_read_bytes(r), expected + 2 * frame);
}

static void linear_reading_reads_each_byte_once(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_reader) struct pack_reader *r = NULL;

    assert_ok(write_pages(f, 1000, MIXED), &f->err);
    r = open_pack(f, PACK_PAGES);
    pack_reader_set_window(r, 1 << 20);
    for (uint32_t i = 0; i < 1000; i++)
        assert_page(f, r, i, MIXED);

    /* Everything but the item table. */
    assert_int_equal(pack_reader_read_bytes(r),
                     pack_reader_bytes(r) - 1000 * 16);
}

static void a_window_smaller_than_a_frame_reads_the_frame(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_reader) struct pack_reader *r = NULL;
    uint64_t opened;

    assert_ok(write_pages(f, 40, RANDOM), &f->err);
    r = open_pack(f, PACK_PAGES);
    opened = pack_reader_read_bytes(r);
    pack_reader_set_window(r, 0);

    for (uint32_t i = 40; i-- > 0;)
        assert_page(f, r, i, RANDOM);
    assert_int_equal(pack_reader_read_bytes(r), opened + 40 * PAGE_BYTES);
}

static void any_order_and_window_gives_the_same_pages(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_reader) struct pack_reader *r = NULL;
    uint64_t x = 42;

    assert_ok(write_pages(f, 203, MIXED), &f->err);
    r = open_pack(f, PACK_PAGES);
    for (unsigned i = 0; i < 2000; i++) {
        if (i % 16 == 0)
            pack_reader_set_window(r, next_random(&x) % (200 << 10));
        assert_page(f, r, (uint32_t)(next_random(&x) % 203), MIXED);
    }
}

static void a_pack_that_is_not_there_is_not_found(void **state)
{
    struct pack_fixture *f = *state;
    struct pack_reader *r = NULL;

    assert_error(pack_reader_open(f->folder.fd,
                                  "00000000000000000000000000000000",
                                  PACK_PAGES, &r, &f->err),
                 &f->err, ERR_NOTFOUND, "00/000000000000");
    assert_error(pack_reader_open(f->folder.fd, "../../etc/passwd", PACK_PAGES,
                                  &r, &f->err),
                 &f->err, ERR_INVALID, "is no id");
    assert_null(r);
}

static void a_pack_of_the_other_kind_is_damage(void **state)
{
    struct pack_fixture *f = *state;

    assert_ok(write_pages(f, 1, TEXT), &f->err);
    assert_error(read_all(f, PACK_INDEX), &f->err, ERR_CORRUPT,
                 "kind is 1 instead of 2");
}

static void what_is_no_plain_file_is_damage(void **state)
{
    struct pack_fixture *f = *state;
    struct pack_reader *r;

    assert_int_equal(mkdirat(f->folder.fd, "00", 0700), 0);
    assert_int_equal(
        mkfifoat(f->folder.fd, "00/00000000000000000000000000000000", 0600), 0);
    assert_error(pack_reader_open(f->folder.fd,
                                  "00000000000000000000000000000000",
                                  PACK_PAGES, &r, &f->err),
                 &f->err, ERR_CORRUPT, "not a plain file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PACK_TEST(pages_of_all_kinds_come_back),
        PACK_TEST(packs_written_without_io_uring_are_the_same),
        PACK_TEST(text_takes_less_room_than_it_has_bytes),
        PACK_TEST(random_pages_lie_raw_in_the_file),
        PACK_TEST(blobs_of_odd_lengths_come_back),
        PACK_TEST(places_tell_frame_and_slot),
        PACK_TEST(what_a_pack_does_not_have_is_damage),
        PACK_TEST(neighbours_come_with_one_read_once_they_are_wanted),
        PACK_TEST(a_far_frame_is_read_alone_and_takes_no_window_in_use),
        PACK_TEST(linear_reading_reads_each_byte_once),
        PACK_TEST(a_window_smaller_than_a_frame_reads_the_frame),
        PACK_TEST(any_order_and_window_gives_the_same_pages),
        PACK_TEST(a_pack_that_is_not_there_is_not_found),
        PACK_TEST(a_pack_of_the_other_kind_is_damage),
        PACK_TEST(what_is_no_plain_file_is_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/storage/packs/pack_fixture.h"

#include "core/base/bytes.h"
#include "storage/packs/frame.h"

#define RAW 16384u

static const struct pack_seeds seeds = {.frames = 100, .trailer = 200};

static void store(struct pack_fixture *f, uint32_t number, const void *raw,
                  size_t len, uint8_t *stored, struct pack_frame_entry *entry)
{
    assert_ok(frame_store(f->codec, &seeds, number, raw, len, stored, entry,
                          &f->err),
              &f->err);
    assert_int_equal(load_le32(&entry->raw_bytes), len);
}

static void the_seeds_are_the_halves_of_the_id(void **state)
{
    const uint8_t id[PACK_ID_BYTES] = {1, 0, 0, 0, 0, 0, 0, 2,
                                       3, 0, 0, 0, 0, 0, 0, 4};
    struct pack_seeds s = pack_seeds_of(id);

    assert_true(s.frames == UINT64_C(0x0200000000000001));
    assert_true(s.trailer == UINT64_C(0x0400000000000003));
}

static void text_is_stored_smaller_and_loaded_again(void **state)
{
    struct pack_fixture *f = *state;
    uint8_t stored[RAW];
    uint8_t text[RAW];
    struct pack_frame_entry entry;

    fill_content(text, RAW, 0, TEXT);
    store(f, 3, text, RAW, stored, &entry);

    assert_in_range(load_le32(&entry.stored_bytes), 1, RAW / 4);
    assert_ok(frame_load(f->codec, &seeds, 3, &entry, stored, f->raw, &f->err),
              &f->err);
    assert_memory_equal(f->raw, text, RAW);
}

static void random_bytes_are_stored_as_they_are(void **state)
{
    struct pack_fixture *f = *state;
    uint8_t stored[RAW];
    uint8_t random[RAW];
    struct pack_frame_entry entry;

    fill_content(random, RAW, 0, RANDOM);
    store(f, 3, random, RAW, stored, &entry);

    assert_int_equal(load_le32(&entry.stored_bytes), RAW);
    assert_memory_equal(stored, random, RAW);
    assert_ok(frame_load(f->codec, &seeds, 3, &entry, stored, f->raw, &f->err),
              &f->err);
    assert_memory_equal(f->raw, random, RAW);
}

static void a_frame_of_another_number_or_pack_is_damage(void **state)
{
    const struct pack_seeds others = {.frames = 99, .trailer = 200};
    struct pack_fixture *f = *state;
    uint8_t stored[RAW];
    struct pack_frame_entry entry;

    fill_content(f->raw, RAW, 0, TEXT);
    store(f, 3, f->raw, RAW, stored, &entry);

    assert_error(frame_load(f->codec, &seeds, 4, &entry, stored, f->raw,
                            &f->err),
                 &f->err, ERR_CORRUPT, "checksum differs");
    assert_error(frame_load(f->codec, &others, 3, &entry, stored, f->raw,
                            &f->err),
                 &f->err, ERR_CORRUPT, "checksum differs");
}

static void a_flipped_bit_of_a_frame_is_damage(void **state)
{
    struct pack_fixture *f = *state;
    uint8_t stored[RAW];
    struct pack_frame_entry entry;

    fill_content(f->raw, RAW, 0, TEXT);
    store(f, 3, f->raw, RAW, stored, &entry);
    for (size_t bit = 0; bit < 8 * load_le32(&entry.stored_bytes); bit++) {
        stored[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_error(frame_load(f->codec, &seeds, 3, &entry, stored, f->raw,
                                &f->err),
                     &f->err, ERR_CORRUPT, "checksum differs");
        stored[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void what_has_a_fitting_checksum_must_still_decompress(void **state)
{
    struct pack_fixture *f = *state;
    const uint8_t stored[] = "this is no zstd frame";
    struct pack_frame_entry entry;

    store_le32(&entry.stored_bytes, sizeof(stored));
    store_le32(&entry.raw_bytes, RAW);
    store_le64(&entry.checksum,
               checksum64(stored, sizeof(stored), seeds.frames + 3));

    assert_error(frame_load(f->codec, &seeds, 3, &entry, stored, f->raw,
                            &f->err),
                 &f->err, ERR_CORRUPT, "no zstd frame");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_seeds_are_the_halves_of_the_id),
        PACK_TEST(text_is_stored_smaller_and_loaded_again),
        PACK_TEST(random_bytes_are_stored_as_they_are),
        PACK_TEST(a_frame_of_another_number_or_pack_is_damage),
        PACK_TEST(a_flipped_bit_of_a_frame_is_damage),
        PACK_TEST(what_has_a_fitting_checksum_must_still_decompress),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

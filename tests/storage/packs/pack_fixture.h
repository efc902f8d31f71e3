/*
 * pack_fixture.h - a folder of packs, a ring, a codec, and pages of all kinds.
 */
#ifndef FIRN_TESTS_STORAGE_PACKS_PACK_FIXTURE_H
#define FIRN_TESTS_STORAGE_PACKS_PACK_FIXTURE_H

#include "tests/fakes/assert_error.h"
#include "tests/fakes/temp_folder.h"

#include "core/base/path.h"
#include "core/vm/page.h"
#include "storage/packs/format.h"
#include "storage/packs/pack_reader.h"

struct pack_fixture {
    struct temp_folder folder;
    struct ring *ring;
    struct frame_codec *codec;
    struct hash_key key;
    struct error err;
    char id[PACK_ID_LEN + 1]; /* of the pack made last */
    uint8_t raw[FRAME_RAW_MAX];
};

enum content { RANDOM, TEXT, MIXED };

static inline UNUSED uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* The bytes of item `i`, the same each time. */
static inline UNUSED void fill_content(uint8_t *data, size_t len, uint32_t i,
                                       enum content content)
{
    uint64_t x = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    bool random = content == RANDOM || (content == MIXED && i / 4 % 2 == 0);

    for (size_t b = 0; b < len; b++) {
        uint64_t r = next_random(&x);

        data[b] = random ? (uint8_t)r : (uint8_t)("guest page "[b % 11] + i);
    }
}

static inline UNUSED int pack_fixture_set_up(void **state)
{
    struct pack_fixture *f = calloc(1, sizeof(*f));
    const struct ring_args args = {.buffer_bytes = 16 << 10, .buffers = 4};

    temp_folder_init(&f->folder);
    for (size_t i = 0; i < sizeof(f->key.secret); i++)
        f->key.secret[i] = (uint8_t)(i * 37 + 11);
    f->key.id = 7;
    assert_ok(ring_new(&args, &f->ring, &f->err), &f->err);
    assert_ok(frame_codec_new(1, &f->codec, &f->err), &f->err);
    *state = f;
    return 0;
}

static inline UNUSED int pack_fixture_tear_down(void **state)
{
    struct pack_fixture *f = *state;

    ring_free(f->ring);
    frame_codec_free(f->codec);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

static inline UNUSED int new_writer(struct pack_fixture *f, enum pack_kind kind,
                                    struct pack_writer **ret)
{
    const struct pack_writer_args args = {
        .packs_dirfd = f->folder.fd,
        .kind = kind,
        .ring = f->ring,
        .level = 1,
        .frame_bytes = 4 * PAGE_BYTES,
        .hash_key_id = f->key.id,
    };

    return pack_writer_new(&args, ret, &f->err);
}

static inline UNUSED int add_page(struct pack_fixture *f, struct pack_writer *w,
                                  uint32_t i, enum content content)
{
    uint8_t page[PAGE_BYTES];
    struct page_hash hash;
    uint32_t item = UINT32_MAX;
    int rc;

    fill_content(page, sizeof(page), i, content);
    hash = page_hash_of(&f->key, page, sizeof(page));
    rc = pack_writer_add_page(w, page, &hash, &item, &f->err);
    if (rc == 0)
        assert_int_equal(item, i);
    return rc;
}

/* Everything from new to link; the first error. */
static inline UNUSED int write_pages(struct pack_fixture *f, uint32_t n,
                                     enum content content)
{
    cleanup(pack_writer) struct pack_writer *w = NULL;
    int rc = new_writer(f, PACK_PAGES, &w);

    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = add_page(f, w, i, content);
    if (rc == 0)
        rc = pack_writer_seal(w, &f->err);
    if (rc == 0)
        rc = pack_writer_link(w, &f->err);
    if (rc == 0)
        snprintf(f->id, sizeof(f->id), "%s", pack_writer_id(w));
    return rc;
}

/* The item's bytes at f->raw + its slot, compared with what was added. */
static inline UNUSED void assert_page(struct pack_fixture *f,
                                      struct pack_reader *r, uint32_t item,
                                      enum content content)
{
    uint8_t want[PAGE_BYTES];
    struct pack_place place;

    fill_content(want, sizeof(want), item, content);
    assert_ok(pack_reader_place(r, item, &place, &f->err), &f->err);
    assert_ok(pack_reader_frame(r, place.frame, f->codec, f->raw, &f->err),
              &f->err);
    assert_memory_equal(f->raw + place.slot * PAGE_BYTES, want, sizeof(want));
}

static inline UNUSED struct pack_reader *open_pack(struct pack_fixture *f,
                                                   enum pack_kind kind)
{
    struct pack_reader *r = NULL;

    assert_ok(pack_reader_open(f->folder.fd, f->id, kind, &r, &f->err),
              &f->err);
    return r;
}

/* Opens, reads each frame and the hashes: whatever a reader can notice. */
static inline UNUSED int read_all(struct pack_fixture *f, enum pack_kind kind)
{
    cleanup(pack_reader) struct pack_reader *r = NULL;
    const struct page_hash *hashes;
    int rc = pack_reader_open(f->folder.fd, f->id, kind, &r, &f->err);

    for (uint32_t i = 0; rc == 0 && i < pack_reader_n_frames(r); i++)
        rc = pack_reader_frame(r, i, f->codec, f->raw, &f->err);
    return rc == 0 ? pack_reader_hashes(r, &hashes, &f->err) : rc;
}

static inline UNUSED int open_raw(struct pack_fixture *f, int flags)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "%.2s/%s", f->id, f->id);
    fd = openat(f->folder.fd, path, flags | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

/* The whole file of the pack made last. */
static inline UNUSED void load_raw(struct pack_fixture *f, struct buf *ret)
{
    char path[64];

    snprintf(path, sizeof(path), "%.2s/%s", f->id, f->id);
    buf_reset(ret);
    assert_ok(path_read_file(f->folder.fd, path, PACK_MAX_BYTES, ret, &f->err),
              &f->err);
}

/* Replaces it. */
static inline UNUSED void store_raw(struct pack_fixture *f, const void *data,
                                    size_t len)
{
    cleanup_close int fd = open_raw(f, O_WRONLY | O_CREAT | O_TRUNC);

    assert_ok(path_write_at(fd, data, len, 0, &f->err), &f->err);
}

#define PACK_TEST(name)                                        \
    cmocka_unit_test_setup_teardown(name, pack_fixture_set_up, \
                                    pack_fixture_tear_down)

#endif

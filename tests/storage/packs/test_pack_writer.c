/*
 * The calls named in meson.build come here first: each is counted, and the
 * one that `fault` names fails, kills the process or spoils the file.
 */
#include "tests/storage/packs/pack_fixture.h"

#include <sys/wait.h>

#include "storage/objects/object_folder.h"

struct fault {
    unsigned fail_at; /* the call that fails; 0: none */
    unsigned kill_at;
    unsigned calls;
    off_t spoil_at;  /* a byte to change once synced; -1: none */
    off_t resize_to; /* -1: none */
};

#define NO_FAULT ((struct fault){.spoil_at = -1, .resize_to = -1})

static struct fault fault = {.spoil_at = -1, .resize_to = -1};

/* True when this call is to fail. */
static bool strike(struct error *err)
{
    fault.calls++;
    if (fault.calls == fault.kill_at)
        _exit(9);
    if (fault.calls != fault.fail_at)
        return false;
    fail(err, ERR_IO, "injected");
    return true;
}

#define WRAP(name, params, args)                          \
    int __real_##name params;                             \
    int __wrap_##name params;                             \
    int __wrap_##name params                              \
    {                                                     \
        return strike(err) ? ERR_IO : __real_##name args; \
    }

WRAP(ring_take_buffer, (struct ring * r, uint8_t **ret, struct error *err),
     (r, ret, err))
WRAP(ring_wait, (struct ring * r, struct error *err), (r, err))
WRAP(object_file_create,
     (const struct object_folder *folder, struct object_file *ret,
      struct error *err),
     (folder, ret, err))
WRAP(object_file_link,
     (const struct object_folder *folder, struct object_file *f, const char *id,
      struct error *err),
     (folder, f, id, err))
WRAP(path_read_at,
     (int fd, void *data, size_t len, uint64_t offset, struct error *err),
     (fd, data, len, offset, err))
WRAP(buf_reserve, (struct buf * b, size_t extra, struct error *err),
     (b, extra, err))
WRAP(frame_codec_new, (int level, struct frame_codec **ret, struct error *err),
     (level, ret, err))

/* Takes its buffer back, as the real one does when it fails. */
int __real_ring_write(struct ring *r, int fd, uint8_t *buffer, size_t len,
                      uint64_t offset, struct error *err);
int __wrap_ring_write(struct ring *r, int fd, uint8_t *buffer, size_t len,
                      uint64_t offset, struct error *err);
int __wrap_ring_write(struct ring *r, int fd, uint8_t *buffer, size_t len,
                      uint64_t offset, struct error *err)
{
    if (strike(err)) {
        ring_give_buffer(r, buffer);
        return ERR_IO;
    }
    return __real_ring_write(r, fd, buffer, len, offset, err);
}

static void spoil(int fd)
{
    uint8_t byte;

    if (fault.resize_to >= 0)
        assert_int_equal(ftruncate(fd, fault.resize_to), 0);
    if (fault.spoil_at < 0)
        return;
    assert_int_equal(pread(fd, &byte, 1, fault.spoil_at), 1);
    byte ^= 0x20;
    assert_int_equal(pwrite(fd, &byte, 1, fault.spoil_at), 1);
}

int __real_ring_sync(struct ring *r, int fd, struct error *err);
int __wrap_ring_sync(struct ring *r, int fd, struct error *err);
int __wrap_ring_sync(struct ring *r, int fd, struct error *err)
{
    int rc = strike(err) ? ERR_IO : __real_ring_sync(r, fd, err);

    if (rc == 0)
        spoil(fd);
    return rc;
}

static int set_up(void **state)
{
    fault = NO_FAULT;
    return pack_fixture_set_up(state);
}

static int tear_down(void **state)
{
    fault = NO_FAULT;
    return pack_fixture_tear_down(state);
}

static void items_are_numbered_in_the_order_of_adding(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_writer) struct pack_writer *w = NULL;

    assert_ok(new_writer(f, PACK_PAGES, &w), &f->err);
    for (uint32_t i = 0; i < 11; i++)
        assert_ok(add_page(f, w, i, MIXED), &f->err);

    assert_int_equal(pack_writer_n_items(w), 11);
    assert_int_equal(strlen(pack_writer_id(w)), PACK_ID_LEN);
}

static void assert_reads_back(struct pack_fixture *f, struct pack_writer *w,
                              uint32_t item)
{
    uint8_t want[PAGE_BYTES];
    uint8_t got[PAGE_BYTES];

    fill_content(want, sizeof(want), item, MIXED);
    assert_ok(pack_writer_read_page(w, item, got, &f->err), &f->err);
    assert_memory_equal(got, want, sizeof(want));
}

static void pages_are_read_back_wherever_they_are(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_writer) struct pack_writer *w = NULL;

    /* Gathered, in the buffer, across two buffers, in flight, in the file:
     * 300 pages pass through 16 KiB buffers. */
    assert_ok(new_writer(f, PACK_PAGES, &w), &f->err);
    for (uint32_t i = 0; i < 301; i++) {
        assert_ok(add_page(f, w, i, MIXED), &f->err);
        assert_reads_back(f, w, i);
        assert_reads_back(f, w, i / 2);
        assert_reads_back(f, w, 0);
    }
    assert_error(pack_writer_read_page(w, 301, f->raw, &f->err), &f->err,
                 ERR_INVALID, "has no item 301");
    assert_ok(pack_writer_seal(w, &f->err), &f->err);
    for (uint32_t i = 0; i < 301; i += 50)
        assert_reads_back(f, w, i);
    assert_ok(pack_writer_link(w, &f->err), &f->err);
    assert_reads_back(f, w, 300);
}

/* Runs of 1 to 13 pages, in frames of four: whole frames among them are not
 * gathered, and all are the same frames. */
static void pages_in_a_row_make_the_frames_that_single_ones_make(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_writer) struct pack_writer *one = NULL;
    cleanup(pack_writer) struct pack_writer *many = NULL;
    uint8_t pages[13 * PAGE_BYTES];
    struct page_hash hashes[13];
    uint32_t n_items = 0;

    assert_ok(new_writer(f, PACK_PAGES, &one), &f->err);
    assert_ok(new_writer(f, PACK_PAGES, &many), &f->err);
    for (uint32_t n = 1; n <= 13; n++) {
        for (uint32_t i = 0; i < n; i++) {
            uint8_t *page = pages + (size_t)i * PAGE_BYTES;

            fill_content(page, PAGE_BYTES, n_items + i, MIXED);
            hashes[i] = page_hash_of(&f->key, page, PAGE_BYTES);
            assert_ok(add_page(f, one, n_items + i, MIXED), &f->err);
        }
        assert_ok(pack_writer_add_pages(many, pages, n, hashes, &f->err),
                  &f->err);
        n_items += n;
        assert_int_equal(pack_writer_n_items(many), n_items);
        assert_int_equal(pack_writer_bytes(many), pack_writer_bytes(one));
        for (uint32_t i = 0; i < n_items; i++)
            assert_reads_back(f, many, i);
    }
    assert_ok(pack_writer_seal(one, &f->err), &f->err);
    assert_ok(pack_writer_seal(many, &f->err), &f->err);
    assert_int_equal(pack_writer_bytes(many), pack_writer_bytes(one));
    for (uint32_t i = 0; i < n_items; i++)
        assert_reads_back(f, many, i);
}

static void the_size_told_is_reached_by_sealing(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_writer) struct pack_writer *w = NULL;
    uint64_t before;

    assert_ok(new_writer(f, PACK_PAGES, &w), &f->err);
    assert_int_equal(pack_writer_bytes(w), 128);
    for (uint32_t i = 0; i < 42; i++)
        assert_ok(add_page(f, w, i, RANDOM), &f->err);
    before = pack_writer_bytes(w);
    assert_ok(pack_writer_seal(w, &f->err), &f->err);

    assert_int_equal(before, 128 + 42 * PAGE_BYTES + 42 * 16 + 11 * 16);
    assert_int_equal(pack_writer_bytes(w), before);
}

static void nothing_has_a_name_before_it_is_linked(void **state)
{
    struct pack_fixture *f = *state;
    struct pack_writer *w;

    assert_ok(new_writer(f, PACK_PAGES, &w), &f->err);
    for (uint32_t i = 0; i < 100; i++)
        assert_ok(add_page(f, w, i, RANDOM), &f->err);
    assert_ok(pack_writer_seal(w, &f->err), &f->err);
    assert_int_equal(temp_folder_count(&f->folder), 0);

    assert_ok(pack_writer_link(w, &f->err), &f->err);
    assert_int_equal(temp_folder_count(&f->folder), 1);
    pack_writer_unlink(w);
    assert_int_equal(temp_folder_count(&f->folder), 0);
    pack_writer_free(w);
}

static void unlinking_what_is_not_linked_does_nothing(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_writer) struct pack_writer *w = NULL;

    assert_ok(new_writer(f, PACK_PAGES, &w), &f->err);
    pack_writer_unlink(w);
    assert_ok(add_page(f, w, 0, TEXT), &f->err);
    assert_ok(pack_writer_seal(w, &f->err), &f->err);
    pack_writer_unlink(w);

    assert_ok(pack_writer_link(w, &f->err), &f->err);
}

static void an_empty_pack_is_not_sealed(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_writer) struct pack_writer *w = NULL;

    assert_ok(new_writer(f, PACK_PAGES, &w), &f->err);
    assert_error(pack_writer_seal(w, &f->err), &f->err, ERR_INVALID,
                 "is empty");
}

static void blobs_that_no_reader_would_take_are_refused(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_writer) struct pack_writer *w = NULL;
    const struct page_hash hash = {1, 2};
    uint32_t item;

    assert_ok(new_writer(f, PACK_INDEX, &w), &f->err);
    assert_error(pack_writer_add_blob(w, f->raw, 0, &hash, &item, &f->err),
                 &f->err, ERR_INVALID, "blob cannot have 0 bytes");
    assert_error(pack_writer_add_blob(w, f->raw, FRAME_RAW_MAX + 1, &hash,
                                      &item, &f->err),
                 &f->err, ERR_INVALID, "1048577 bytes");
    /* No harm done: it goes on. */
    assert_ok(pack_writer_add_blob(w, f->raw, FRAME_RAW_MAX, &hash, &item,
                                   &f->err),
              &f->err);
    assert_int_equal(item, 0);
}

/* Changes one byte of the file between the sync and the reading back. */
static void assert_noticed(struct pack_fixture *f, off_t at)
{
    fault = NO_FAULT;
    fault.spoil_at = at;
    assert_error(write_pages(f, 9, RANDOM), &f->err, ERR_CORRUPT,
                 "differ from what was written");
    assert_int_equal(temp_folder_count(&f->folder), 0);
}

static void sealing_notices_what_the_disk_did_not_keep(void **state)
{
    struct pack_fixture *f = *state;
    const off_t tables = 64 + 9 * PAGE_BYTES;

    assert_noticed(f, 0);
    assert_noticed(f, 63);
    for (off_t at = tables; at < tables + 3 * 16 + 9 * 16 + 64; at++)
        assert_noticed(f, at);
}

static void sealing_notices_a_file_of_another_size(void **state)
{
    struct pack_fixture *f = *state;

    fault.resize_to = 64 + 9 * PAGE_BYTES + 3 * 16 + 9 * 16 + 64 - 1;
    assert_error(write_pages(f, 9, RANDOM), &f->err, ERR_CORRUPT,
                 "the file has 37183 bytes, 37184 were written");
    fault.resize_to += 2;
    assert_error(write_pages(f, 9, RANDOM), &f->err, ERR_CORRUPT,
                 "the file has 37185 bytes");
}

static void any_call_may_fail_and_nothing_is_left(void **state)
{
    struct pack_fixture *f = *state;
    unsigned n = 0;
    int rc;

    do {
        fault = NO_FAULT;
        fault.fail_at = ++n;
        rc = write_pages(f, 200, MIXED);
        if (rc == 0)
            break;
        assert_int_equal(rc, ERR_IO);
        assert_message(&f->err, "injected");
        assert_int_equal(temp_folder_count(&f->folder), 0);
    } while (n < 10000);

    /* It passed because the calls ended, and there were many. */
    assert_int_equal(rc, 0);
    assert_int_equal(fault.calls, n - 1);
    assert_true(n > 50);
    fault = NO_FAULT;
    assert_ok(read_all(f, PACK_PAGES), &f->err);
}

static void a_failed_pack_stays_failed(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_writer) struct pack_writer *w = NULL;
    uint32_t i = 0;

    assert_ok(new_writer(f, PACK_PAGES, &w), &f->err);
    fault.fail_at = fault.calls + 40;
    while (add_page(f, w, i, RANDOM) == 0)
        i++;
    assert_message(&f->err, "injected");
    fault.fail_at = 0;

    assert_error(pack_writer_seal(w, &f->err), &f->err, ERR_IO, "injected");
    assert_error(add_page(f, w, i, RANDOM), &f->err, ERR_IO, "injected");
    assert_error(pack_writer_read_page(w, 0, f->raw, &f->err), &f->err, ERR_IO,
                 "injected");
    assert_error(pack_writer_seal(w, &f->err), &f->err, ERR_IO,
                 pack_writer_id(w));
}

static int read_one(void *arg, const char *id, struct error *err)
{
    struct pack_fixture *f = arg;

    snprintf(f->id, sizeof(f->id), "%s", id);
    return read_all(f, PACK_PAGES);
}

/* Writes in a child that dies at its n-th call; true if it lived. */
static bool write_until_killed(struct pack_fixture *f, unsigned n)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        const struct ring_args args = {.buffer_bytes = 16 << 10, .buffers = 4};

        fault = NO_FAULT;
        fault.kill_at = n;
        /* A ring is not shared with a child. */
        if (ring_new(&args, &f->ring, &f->err) < 0)
            _exit(1);
        _exit(write_pages(f, 200, MIXED) < 0 ? 2 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 9);
    return WEXITSTATUS(status) == 0;
}

static void
a_writer_killed_anywhere_leaves_nothing_or_a_whole_pack(void **state)
{
    struct pack_fixture *f = *state;
    const struct object_folder folder = {
        .dirfd = f->folder.fd, .id_len = PACK_ID_LEN, .fan_out = true};
    unsigned n = 1;

    while (!write_until_killed(f, n)) {
        assert_int_equal(temp_folder_count(&f->folder), 0);
        n++;
    }
    assert_true(n > 50);
    assert_int_equal(temp_folder_count(&f->folder), 1);
    assert_ok(object_list(&folder, read_one, f, &f->err), &f->err);
}

static void a_full_disk_gives_no_space(void **state)
{
    struct pack_fixture *f = *state;

    if (!temp_folder_mount(&f->folder, 256 << 10))
        skip();
    assert_error(write_pages(f, 200, RANDOM), &f->err, ERR_NOSPC,
                 "No space left");
    assert_int_equal(temp_folder_count(&f->folder), 0);

    /* Nothing was kept either: the same room is free again. */
    assert_ok(write_pages(f, 40, RANDOM), &f->err);
    assert_ok(read_all(f, PACK_PAGES), &f->err);
}

static void ids_are_random(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_writer) struct pack_writer *a = NULL;
    cleanup(pack_writer) struct pack_writer *b = NULL;

    assert_ok(new_writer(f, PACK_PAGES, &a), &f->err);
    assert_ok(new_writer(f, PACK_PAGES, &b), &f->err);

    assert_string_not_equal(pack_writer_id(a), pack_writer_id(b));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(items_are_numbered_in_the_order_of_adding),
        TEST(pages_are_read_back_wherever_they_are),
        TEST(pages_in_a_row_make_the_frames_that_single_ones_make),
        TEST(the_size_told_is_reached_by_sealing),
        TEST(nothing_has_a_name_before_it_is_linked),
        TEST(unlinking_what_is_not_linked_does_nothing),
        TEST(an_empty_pack_is_not_sealed),
        TEST(blobs_that_no_reader_would_take_are_refused),
        TEST(sealing_notices_what_the_disk_did_not_keep),
        TEST(sealing_notices_a_file_of_another_size),
        TEST(any_call_may_fail_and_nothing_is_left),
        TEST(a_failed_pack_stays_failed),
        TEST(a_writer_killed_anywhere_leaves_nothing_or_a_whole_pack),
        TEST(a_full_disk_gives_no_space),
        TEST(ids_are_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

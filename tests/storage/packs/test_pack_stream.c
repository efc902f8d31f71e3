#include "tests/storage/packs/pack_fixture.h"

#include "storage/packs/pack_stream.h"

#define BUFFER (16u << 10) /* the fixture's */
#define TOTAL  (10 * BUFFER + 77)

static uint8_t content[TOTAL];

static struct pack_stream new_stream(struct pack_fixture *f)
{
    int fd = openat(f->folder.fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    fill_content(content, sizeof(content), 0, RANDOM);
    return (struct pack_stream){.ring = f->ring, .fd = fd};
}

static void assert_file(struct pack_fixture *f)
{
    cleanup_buf struct buf file = BUF_INIT;

    assert_ok(path_read_file(f->folder.fd, "file", TOTAL, &file, &f->err),
              &f->err);
    assert_int_equal(file.len, TOTAL);
    assert_memory_equal(file.data, content, TOTAL);
}

static void pieces_of_any_length_make_one_file(void **state)
{
    static const size_t lengths[] = {1,      3,          4096,      BUFFER - 1,
                                     BUFFER, BUFFER + 1, 3 * BUFFER};
    struct pack_fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct pack_stream s = new_stream(f);

        for (size_t at = 0; at < TOTAL; at += lengths[i])
            assert_ok(pack_stream_append(&s, content + at,
                                         MIN(lengths[i], TOTAL - at), &f->err),
                      &f->err);
        assert_int_equal(pack_stream_bytes(&s), TOTAL);
        assert_ok(pack_stream_finish(&s, &f->err), &f->err);
        assert_int_equal(pack_stream_bytes(&s), TOTAL);
        close(s.fd);
        assert_file(f);
        assert_int_equal(unlinkat(f->folder.fd, "file", 0), 0);
    }
}

static void room_is_given_only_within_one_buffer(void **state)
{
    struct pack_fixture *f = *state;
    struct pack_stream s = new_stream(f);
    uint8_t *room;

    assert_ok(pack_stream_room(&s, BUFFER, &room, &f->err), &f->err);
    assert_non_null(room);
    assert_ok(pack_stream_append(&s, content, 10, &f->err), &f->err);
    assert_ok(pack_stream_room(&s, BUFFER - 9, &room, &f->err), &f->err);
    assert_null(room);
    assert_ok(pack_stream_room(&s, BUFFER - 10, &room, &f->err), &f->err);
    memcpy(room, content + 10, BUFFER - 10);
    assert_ok(pack_stream_advance(&s, BUFFER - 10, &f->err), &f->err);
    assert_ok(pack_stream_append(&s, content + BUFFER, TOTAL - BUFFER, &f->err),
              &f->err);
    assert_ok(pack_stream_finish(&s, &f->err), &f->err);
    close(s.fd);

    assert_file(f);
}

static void what_was_appended_is_read_from_memory_and_file(void **state)
{
    struct pack_fixture *f = *state;
    struct pack_stream s = new_stream(f);
    uint8_t got[5000];
    uint64_t x = 9;

    for (size_t at = 0; at < TOTAL; at += 1000) {
        assert_ok(pack_stream_append(&s, content + at, MIN(1000, TOTAL - at),
                                     &f->err),
                  &f->err);
        for (unsigned i = 0; i < 10; i++) {
            uint64_t bytes = pack_stream_bytes(&s);
            uint64_t from = next_random(&x) % bytes;
            size_t len = (size_t)MIN(sizeof(got), bytes - from);

            assert_ok(pack_stream_read(&s, from, len, got, &f->err), &f->err);
            assert_memory_equal(got, content + from, len);
        }
    }
    assert_ok(pack_stream_finish(&s, &f->err), &f->err);
    assert_ok(pack_stream_read(&s, TOTAL - 100, 100, got, &f->err), &f->err);
    assert_memory_equal(got, content + TOTAL - 100, 100);
    close(s.fd);
}

static void an_abandoned_stream_leaves_the_ring_to_the_next(void **state)
{
    struct pack_fixture *f = *state;

    for (unsigned i = 0; i < 20; i++) {
        struct pack_stream s = new_stream(f);

        if (i % 2 == 0) { /* every other one fails */
            close(s.fd);
            s.fd = 1000;
        }
        if (pack_stream_append(&s, content, 2 * BUFFER + 1, &f->err) < 0)
            assert_int_equal(i % 2, 0);
        pack_stream_abandon(&s);
        pack_stream_abandon(&s);
        if (s.fd != 1000)
            close(s.fd);
    }
}

static void errors_of_writes_are_told_at_the_end_at_the_latest(void **state)
{
    struct pack_fixture *f = *state;
    struct pack_stream s = new_stream(f);
    int rc;

    close(s.fd);
    s.fd = openat(f->folder.fd, "file", O_RDONLY | O_CLOEXEC);
    rc = pack_stream_append(&s, content, TOTAL, &f->err);
    if (rc == 0)
        rc = pack_stream_finish(&s, &f->err);

    assert_int_equal(rc, ERR_IO);
    assert_message(&f->err, "Bad file descriptor");
    pack_stream_abandon(&s);
    close(s.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PACK_TEST(pieces_of_any_length_make_one_file),
        PACK_TEST(room_is_given_only_within_one_buffer),
        PACK_TEST(what_was_appended_is_read_from_memory_and_file),
        PACK_TEST(an_abandoned_stream_leaves_the_ring_to_the_next),
        PACK_TEST(errors_of_writes_are_told_at_the_end_at_the_latest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

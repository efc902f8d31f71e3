/*
 * What our writer writes is read by a program that knows the words of
 * docs/format.md and none of our code. argv[1]: its path.
 */
#include "tests/storage/packs/pack_fixture.h"

#include <sys/wait.h>

static const char *reader;

/* The reader's exit status for the pack made last; its output in `ret`. */
static int run_reader(struct pack_fixture *f, struct buf *ret)
{
    char command[1024];
    char secret[2 * HASH_SECRET_BYTES + 1];
    FILE *out;
    size_t n;

    for (size_t i = 0; i < HASH_SECRET_BYTES; i++)
        snprintf(secret + 2 * i, 3, "%02x", f->key.secret[i]);
    snprintf(command, sizeof(command),
             "python3 '%s' '%s/%.2s/%s' --raw --secret %s 2>/dev/null", reader,
             f->folder.path, f->id, f->id, secret);
    out = popen(command, "r");
    assert_non_null(out);
    while ((n = fread(f->raw, 1, sizeof(f->raw), out)) > 0)
        assert_ok(buf_append(ret, f->raw, n, &f->err), &f->err);
    return WEXITSTATUS(pclose(out));
}

static void another_program_reads_the_same_pages(void **state)
{
    struct pack_fixture *f = *state;
    cleanup_buf struct buf out = BUF_INIT;
    uint8_t page[PAGE_BYTES];

    assert_ok(write_pages(f, 42, MIXED), &f->err);
    assert_int_equal(run_reader(f, &out), 0);

    assert_int_equal(out.len, 42 * PAGE_BYTES);
    for (uint32_t i = 0; i < 42; i++) {
        fill_content(page, sizeof(page), i, MIXED);
        assert_memory_equal(out.data + i * PAGE_BYTES, page, sizeof(page));
    }
}

static void another_program_reads_the_same_blobs(void **state)
{
    struct pack_fixture *f = *state;
    cleanup(pack_writer) struct pack_writer *w = NULL;
    cleanup_buf struct buf out = BUF_INIT;
    cleanup_buf struct buf want = BUF_INIT;

    assert_ok(new_writer(f, PACK_INDEX, &w), &f->err);
    for (uint32_t i = 1; i < 9; i++) {
        size_t len = i * 777;
        struct page_hash hash;
        uint32_t item;

        fill_content(f->raw, len, 4 * i, MIXED);
        hash = page_hash_of(&f->key, f->raw, len);
        assert_ok(buf_append(&want, f->raw, len, &f->err), &f->err);
        assert_ok(pack_writer_add_blob(w, f->raw, len, &hash, &item, &f->err),
                  &f->err);
    }
    assert_ok(pack_writer_seal(w, &f->err), &f->err);
    assert_ok(pack_writer_link(w, &f->err), &f->err);
    snprintf(f->id, sizeof(f->id), "%s", pack_writer_id(w));

    assert_int_equal(run_reader(f, &out), 0);
    assert_int_equal(out.len, want.len);
    assert_memory_equal(out.data, want.data, want.len);
}

static void another_secret_does_not_fit(void **state)
{
    struct pack_fixture *f = *state;
    cleanup_buf struct buf out = BUF_INIT;

    assert_ok(write_pages(f, 1, TEXT), &f->err);
    f->key.secret[100] ^= 1;
    assert_int_equal(run_reader(f, &out), 1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PACK_TEST(another_program_reads_the_same_pages),
        PACK_TEST(another_program_reads_the_same_blobs),
        PACK_TEST(another_secret_does_not_fit),
    };

    if (argc < 2 || system("python3 -c 'import ctypes'") != 0)
        return 77;
    reader = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}

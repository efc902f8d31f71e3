/*
 * test_damage.c - one flipped bit at a time, over all files of a repository.
 *
 * For each: the check with data names the object, and a reader either fails as
 * damaged or gives every page right.
 */
#include "tests/storage/repo_fixture.h"

#include "storage/keeping/verify.h"

#define FLIPS 1000u
#define PAGES 300u

struct heard {
    unsigned errors;
    bool named;
    const char *wanted; /* the object that must be named */
};

static void hear(void *arg, const char *object, const struct error *what)
{
    struct heard *h = arg;

    if (what->code == 0)
        return;
    h->errors++;
    h->named |= strcmp(object, h->wanted) == 0;
}

/* "packs/ab/<id>" → "pack <id>", "snapshots/<id>" → "snapshot <id>". */
static void object_of(const char *file, char ret[static 64])
{
    const char *last = strrchr(file, '/');

    if (strncmp(file, "packs/", 6) == 0)
        snprintf(ret, 64, "pack %.40s", last + 1);
    else if (strncmp(file, "snapshots/", 10) == 0)
        snprintf(ret, 64, "snapshot %.40s", last + 1);
    else
        snprintf(ret, 64, "%.40s", file);
}

static void check_names(struct repository *r, const char *file)
{
    struct verify_report report;
    struct heard heard = {0};
    struct verify_args args = {
        .read_data_percent = 100, .finding = hear, .arg = &heard};
    struct error err;
    char object[64];

    object_of(file, object);
    heard.wanted = object;
    assert_ok(verify_run(r, &args, &report, &err), &err);
    assert_true(report.errors > 0);
    if (!heard.named)
        print_error("'%s' was not named\n", object);
    assert_true(heard.named);
}

static void reads_right_or_not_at_all(struct fixture *f, struct repository *r,
                                      const char *id, unsigned *ret_failed)
{
    struct error err;
    int rc = sample_vm_compare(&f->vm, r, id, &err);

    if (rc == 0)
        return;
    if (rc != ERR_CORRUPT && rc != ERR_FORMAT)
        print_error("%s\n", err.message);
    assert_true(rc == ERR_CORRUPT || rc == ERR_FORMAT);
    (*ret_failed)++;
}

/* Everything that may be done with the repository while one bit is wrong. */
static void use_damaged(struct fixture *f, const char *file, const char *id,
                        unsigned *ret_failed)
{
    struct repository *r;
    struct error err;
    int rc = repository_open(f->scratch.repo, &r, &err);

    if (strcmp(file, "config") == 0) {
        assert_true(rc == ERR_CORRUPT || rc == ERR_FORMAT);
        assert_message(&err, f->scratch.repo);
        check_names(f->repository, file);
        return;
    }
    assert_ok(rc, &err);
    check_names(r, file);
    reads_right_or_not_at_all(f, r, id, ret_failed);
    repository_close(r);
}

static void a_flipped_bit_anywhere_is_named_and_never_read(void **state)
{
    struct fixture *f = *state;
    struct scratch_files files;
    struct snapshot_summary s;
    struct buf text = BUF_INIT;
    unsigned failed = 0, flips = 0;
    uint64_t x = 4242, total = 0, step;

    sample_vm_release(&f->vm);
    sample_vm_make(&f->vm, PAGES);
    sample_vm_fill(&f->vm, 1);
    fixture_capture(f);
    for (pgno_t i = 0; i < PAGES; i += 3)
        sample_page_fill(f->vm.memory[0] + i * PAGE_BYTES, 777000 + i);
    s = fixture_capture(f);
    scratch_files_list(f->scratch.repo, &files);
    for (size_t i = 0; i < files.n; i++) {
        if (strncmp(files.names[i], "catalog.db", 10) == 0)
            continue;
        scratch_read(f->scratch.repo, files.names[i], &text);
        total += text.len * 8;
    }
    step = total / FLIPS;
    for (size_t i = 0; i < files.n; i++) {
        size_t n_flips;

        if (strncmp(files.names[i], "catalog.db", 10) == 0)
            continue;
        scratch_read(f->scratch.repo, files.names[i], &text);
        /* At least some in the smallest file. */
        n_flips = MAX(text.len * 8 / step, (size_t)60);
        for (size_t j = 0; j < n_flips; j++, flips++) {
            size_t bit;

            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            bit = (size_t)(x % (text.len * 8));
            text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            scratch_write(f->scratch.repo, files.names[i], text.data, text.len);
            use_damaged(f, files.names[i], s.id, &failed);
            text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        scratch_write(f->scratch.repo, files.names[i], text.data, text.len);
    }
    assert_true(flips >= 1000);
    assert_true(failed > flips / 3);
    print_message("%u flips in %zu files, %u seen by the reader\n", flips,
                  files.n, failed);
    scratch_files_release(&files);
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_flipped_bit_anywhere_is_named_and_never_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

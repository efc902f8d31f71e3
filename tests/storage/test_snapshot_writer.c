#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include "storage/snapshot_writer.h"

#include "tests/storage/sample_vm.h"
#include "tests/storage/scratch.h"

#define PAGES 4000u

struct fixture {
    struct scratch scratch;
    struct sample_vm vm;
    struct repository *repository;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err;

    scratch_make(&f->scratch);
    assert_int_equal(repository_create(f->scratch.repo, &err), 0);
    assert_int_equal(repository_open(f->scratch.repo, &f->repository, &err), 0);
    sample_vm_make(&f->vm, PAGES);
    sample_vm_fill(&f->vm, 1000);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    repository_close(f->repository);
    sample_vm_release(&f->vm);
    scratch_remove(&f->scratch);
    free(f);
    return 0;
}

static struct snapshot_writer *begin(struct fixture *f, unsigned lanes)
{
    struct snapshot_writer_args args = {
        .repository = f->repository,
        .vm = f->vm.name,
        .vm_uuid = f->vm.uuid,
        .lanes = lanes,
    };
    struct snapshot_writer *w;
    struct error err;

    assert_int_equal(snapshot_writer_new(&args, &w, &err), 0);
    assert_int_equal(snapshot_writer_set_blocks(w, &f->vm.blocks, &err), 0);
    return w;
}

static size_t count_files(struct fixture *f)
{
    struct scratch_files files;
    size_t n;

    scratch_files_list(f->scratch.repo, &files);
    n = files.n;
    scratch_files_release(&files);
    return n;
}

static void what_was_put_comes_back(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s;
    struct error err = ERROR_INIT;
    int rc = sample_vm_capture(&f->vm, f->repository, &s, &err);

    assert_string_equal(err.message, "");
    assert_int_equal(rc, 0);

    assert_int_equal(sample_vm_compare(&f->vm, f->repository, s.id, &err), 0);
    assert_int_equal(s.pages_total, PAGES + 601);
    assert_int_equal(s.pages_zero, PAGES / 5 + 600);
    assert_int_equal(s.pages_stored, PAGES / 5 * 4 + 1);
    assert_int_equal(s.pages_duplicate, 0);
    assert_int_equal(s.pages_superseded, 0);
    assert_int_equal(s.pages_unseen, 0);
    assert_string_equal(s.vm, "sample");
}

static void a_second_capture_of_the_same_stores_nearly_nothing(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first, second;
    struct error err;

    assert_int_equal(sample_vm_capture(&f->vm, f->repository, &first, &err), 0);
    assert_int_equal(sample_vm_capture(&f->vm, f->repository, &second, &err),
                     0);

    assert_int_equal(second.pages_stored, 0);
    assert_int_equal(second.pages_duplicate, first.pages_stored);
    assert_true(second.stored_bytes * 100 < first.stored_bytes * 3);
    assert_int_equal(sample_vm_compare(&f->vm, f->repository, second.id, &err),
                     0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_put_comes_back),
        TEST(a_second_capture_of_the_same_stores_nearly_nothing),
    };

    (void)begin;
    (void)count_files;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

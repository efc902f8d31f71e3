/*
 * repo_fixture.h - an open repository in a folder of its own, and a VM.
 *
 * Header only; asserts by cmocka. FIXTURE_TEST(f) runs f with one as state.
 */
#ifndef FIRN_TESTS_STORAGE_REPO_FIXTURE_H
#define FIRN_TESTS_STORAGE_REPO_FIXTURE_H

#include "tests/fakes/assert_error.h"

#include "tests/storage/sample_vm.h"
#include "tests/storage/scratch.h"

#define FIXTURE_PAGES 2500u

struct fixture {
    struct scratch scratch;
    struct sample_vm vm;
    struct repository *repository;
};

static inline UNUSED int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err;

    scratch_make(&f->scratch);
    assert_ok(repository_create(f->scratch.repo, &err), &err);
    assert_ok(repository_open(f->scratch.repo, &f->repository, &err), &err);
    sample_vm_make(&f->vm, FIXTURE_PAGES);
    sample_vm_fill(&f->vm, 1000);
    *state = f;
    return 0;
}

static inline UNUSED int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    repository_close(f->repository);
    sample_vm_release(&f->vm);
    scratch_remove(&f->scratch);
    free(f);
    return 0;
}

#define FIXTURE_TEST(f) \
    cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

static inline UNUSED void fixture_reopen(struct fixture *f)
{
    struct error err;

    repository_close(f->repository);
    f->repository = NULL;
    assert_ok(repository_open(f->scratch.repo, &f->repository, &err), &err);
}

static inline UNUSED struct snapshot_writer *fixture_writer(struct fixture *f,
                                                            unsigned lanes)
{
    struct snapshot_writer_args args = {
        .repository = f->repository,
        .vm = f->vm.name,
        .vm_uuid = f->vm.uuid,
        .lanes = lanes,
    };
    struct snapshot_writer *w;
    struct error err;

    assert_ok(snapshot_writer_new(&args, &w, &err), &err);
    assert_ok(snapshot_writer_set_blocks(w, &f->vm.blocks, &err), &err);
    return w;
}

static inline UNUSED struct snapshot_summary fixture_capture(struct fixture *f)
{
    struct snapshot_summary s;
    struct error err;

    assert_ok(sample_vm_capture(&f->vm, f->repository, &s, &err), &err);
    return s;
}

/* Files below the repository whose name begins with `prefix`; the first one's
 * name in `ret_first` (128 bytes), if that is not NULL. */
static inline UNUSED size_t fixture_files(struct fixture *f, const char *prefix,
                                          char *ret_first)
{
    struct scratch_files files;
    size_t n = 0;

    scratch_files_list(f->scratch.repo, &files);
    for (size_t i = 0; i < files.n; i++) {
        if (strncmp(files.names[i], prefix, strlen(prefix)) != 0)
            continue;
        if (n++ == 0 && ret_first)
            memcpy(ret_first, files.names[i], sizeof(files.names[i]));
    }
    scratch_files_release(&files);
    return n;
}

#endif

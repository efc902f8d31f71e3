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

/* Says whether `name` is a pack that one of the snapshots refers to. */
static inline UNUSED bool fixture_is_referenced(struct fixture *f,
                                                const char *name,
                                                struct snapshot_summary *all,
                                                size_t n)
{
    bool found = false;

    for (size_t i = 0; i < n && !found; i++) {
        cleanup(snapshot_reader) struct snapshot_reader *r = NULL;
        const struct snapshot_pack *packs;
        struct error err;
        char path[64];
        size_t n_packs;

        assert_ok(snapshot_reader_open(f->repository, all[i].id, &r, &err),
                  &err);
        packs = snapshot_reader_packs(r, &n_packs);
        for (size_t j = 0; j < n_packs; j++) {
            snprintf(path, sizeof(path), "packs/%.2s/%s", packs[j].id,
                     packs[j].id);
            found |= strcmp(path, name) == 0;
        }
    }
    return found;
}

static inline UNUSED bool
fixture_is_listed(const char *name, struct snapshot_summary *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strncmp(name, "snapshots/", 10) == 0 &&
            strcmp(name + 10, all[i].id) == 0)
            return true;
    }
    return false;
}

/* Every file of the folder must be there for a reason; none is a lease.
 * Returns the number of snapshots. */
static inline UNUSED size_t fixture_account(struct fixture *f)
{
    struct snapshot_summary *all;
    struct scratch_files files;
    struct error err;
    size_t n;

    assert_ok(repository_list(f->repository, NULL, NULL, &all, &n, &err), &err);
    scratch_files_list(f->scratch.repo, &files);
    for (size_t i = 0; i < files.n; i++) {
        const char *name = files.names[i];

        if (strcmp(name, "config") != 0 &&
            strncmp(name, "catalog.db", 10) != 0 &&
            strncmp(name, "checks/", 7) != 0 &&
            !fixture_is_listed(name, all, n) &&
            !fixture_is_referenced(f, name, all, n)) {
            print_error("'%s' is a stray file\n", name);
            _fail(__FILE__, __LINE__);
        }
    }
    scratch_files_release(&files);
    for (size_t i = 0; i < n; i++)
        snapshot_summary_release(&all[i]);
    free(all);
    return n;
}

#endif

#include "tests/storage/repo_fixture.h"

#include "storage/space.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static void the_reserve_fits_the_disk(void **state)
{
    (void)state;
    assert_int_equal(space_default_reserve(0), 0);
    assert_int_equal(space_default_reserve(20 * MIB), MIB);
    assert_int_equal(space_default_reserve(5 * GIB), 256 * MIB);
    assert_int_equal(space_default_reserve(10 * GIB), 256 * MIB);
    assert_int_equal(space_default_reserve(100 * GIB), GIB);
    assert_int_equal(space_default_reserve(UINT64_MAX), 4 * GIB);
}

static void room_is_there_but_for_the_reserve(void **state)
{
    struct fixture *f = *state;
    struct space space;
    struct error err;

    assert_ok(space_of(f->repository, &space, &err), &err);
    assert_true(space.free_bytes > 0);
    assert_true(space.free_bytes <= space.total_bytes);
    assert_ok(space_check(f->repository, 1, 0, &err), &err);
    assert_error(space_check(f->repository, space.total_bytes + 1, 0, &err),
                 &err, ERR_NOSPC, "kept in reserve");
    assert_error(space_check(f->repository, 1, space.total_bytes, &err), &err,
                 ERR_NOSPC, "are needed");
    assert_message(&err, f->scratch.repo);
    assert_error(space_check(f->repository, 1, UINT64_MAX, &err), &err,
                 ERR_NOSPC, "are needed");
}

static void who_holds_most_is_named_first(void **state)
{
    struct fixture *f = *state;
    struct error err;

    f->vm.name = "small";
    sample_vm_fill(&f->vm, 10);
    fixture_capture(f);
    f->vm.name = "large";
    sample_vm_fill(&f->vm, 5000);
    fixture_capture(f);
    sample_vm_fill(&f->vm, 9000);
    fixture_capture(f);

    err = ERROR_INIT;
    error_set(&err, ERR_NOSPC, 0, __FILE__, __LINE__, "full");
    error_hint(&err, "first this");
    assert_int_equal(space_explain(f->repository, &err), ERR_NOSPC);
    assert_string_equal(err.message, "full");
    assert_int_equal(strncmp(err.hint, "first this; ", 12), 0);
    assert_non_null(strstr(err.hint, "firn forget --vm large"));
    assert_non_null(strstr(err.hint, "firn prune"));
    assert_non_null(strstr(err.hint, "in 2 snapshots), small ("));
}

static void an_empty_repository_has_nobody_to_name(void **state)
{
    struct fixture *f = *state;
    struct error err;

    err = ERROR_INIT;
    error_set(&err, ERR_NOSPC, 0, __FILE__, __LINE__, "full");
    space_explain(f->repository, &err);
    assert_non_null(strstr(err.hint, "could be forgotten"));
}

static void long_names_are_cut(void **state)
{
    struct fixture *f = *state;
    char name[200] = "";
    struct error err;

    memset(name, 'n', sizeof(name) - 1);
    f->vm.name = name;
    fixture_capture(f);
    err = ERROR_INIT;
    error_set(&err, ERR_NOSPC, 0, __FILE__, __LINE__, "full");
    space_explain(f->repository, &err);
    assert_non_null(strstr(err.hint, "in 1 snapshot)"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        FIXTURE_TEST(the_reserve_fits_the_disk),
        FIXTURE_TEST(room_is_there_but_for_the_reserve),
        FIXTURE_TEST(who_holds_most_is_named_first),
        FIXTURE_TEST(an_empty_repository_has_nobody_to_name),
        FIXTURE_TEST(long_names_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include <sys/stat.h>

#include "snapshot/spool.h"
#include "tests/fakes/temp_folder.h"

#define MIB (UINT64_C(1) << 20)

struct fixture {
    struct temp_folder folder;
    struct repository *repository;
    struct spool spool;
    struct error err;
};

static void open_repository(struct fixture *f)
{
    char path[160];

    snprintf(path, sizeof(path), "%s/repo", f->folder.path);
    assert_ok(repository_create(path, &f->err), &f->err);
    assert_ok(repository_open(path, &f->repository, &f->err), &f->err);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->spool = SPOOL_INIT;
    temp_folder_init(&f->folder);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    spool_close(&f->spool);
    repository_close(f->repository);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

static void its_room_is_taken_at_once_and_its_length_is_not(void **state)
{
    struct fixture *f = *state;
    unsigned files;
    struct stat st;

    open_repository(f);
    files = temp_folder_count(&f->folder);
    assert_ok(spool_open(&f->spool, f->repository, 8 * MIB, &f->err), &f->err);
    assert_int_equal(fstat(f->spool.fd, &st), 0);

    assert_int_equal(st.st_size, 0);
    assert_true((uint64_t)st.st_blocks * 512 >= 8 * MIB);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(temp_folder_count(&f->folder), files);
}

static void a_disk_without_the_room_is_told_beforehand(void **state)
{
    struct fixture *f = *state;

    if (!temp_folder_mount(&f->folder, 4 * MIB)) {
        print_message("no tmpfs may be mounted here\n");
        skip();
    }
    open_repository(f);

    assert_error(spool_open(&f->spool, f->repository, 8 * MIB, &f->err),
                 &f->err, ERR_NOSPC, "mode background needs 8 MiB");
    assert_non_null(strstr(f->err.hint, "--mode stream"));
    assert_int_equal(f->spool.fd, -1);
}

static void room_given_up_by_a_truncation_is_taken_again(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    open_repository(f);
    assert_ok(spool_open(&f->spool, f->repository, 8 * MIB, &f->err), &f->err);
    assert_int_equal(ftruncate(f->spool.fd, 0), 0);
    assert_ok(spool_reserve(&f->spool, &f->err), &f->err);
    assert_int_equal(fstat(f->spool.fd, &st), 0);

    assert_true((uint64_t)st.st_blocks * 512 >= 8 * MIB);
}

static void the_worst_case_covers_every_page_and_its_record(void **state)
{
    cleanup_json json_t *blocks =
        json_pack("[{s:I}, {s:I}, {s:i}]", "used_bytes",
                  (json_int_t)(256 * MIB), "used_bytes", (json_int_t)(1 * MIB),
                  "used_bytes", -5);
    uint64_t pages = 257 * MIB / PAGE_BYTES;

    assert_true(spool_worst_case_bytes(blocks) >= 257 * MIB + pages * 9);
    assert_true(spool_worst_case_bytes(blocks) < 300 * MIB);
    assert_true(spool_worst_case_bytes(NULL) > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(its_room_is_taken_at_once_and_its_length_is_not),
        TEST(a_disk_without_the_room_is_told_beforehand),
        TEST(room_given_up_by_a_truncation_is_taken_again),
        cmocka_unit_test(the_worst_case_covers_every_page_and_its_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

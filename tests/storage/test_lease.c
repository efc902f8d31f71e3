#include "tests/storage/repo_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/base/clock.h"
#include "storage/lease.h"

#define PACK "00112233445566778899aabbccddeeff"

static size_t count_leases(struct fixture *f)
{
    return fixture_files(f, "locks/", NULL);
}

static size_t reap(struct fixture *f)
{
    struct error err;
    size_t n;

    assert_ok(lease_reap(f->repository, &n, &err), &err);
    return n;
}

/* The only lease, as JSON. */
static json_t *read_lease(struct fixture *f)
{
    struct buf text = BUF_INIT;
    json_t *content;
    struct error err;
    char name[128];

    assert_int_equal(fixture_files(f, "locks/", name), 1);
    scratch_read(f->scratch.repo, name, &text);
    assert_ok(json_parse(text.data, text.len, &content, &err), &err);
    buf_release(&text);
    return content;
}

/* Puts a lease there that says what `key` = `value` says, and else is ours. */
static void forge_lease(struct fixture *f, const char *name, const char *key,
                        json_t *value)
{
    struct buf text = BUF_INIT;
    cleanup_json json_t *content = NULL;
    struct lease *l;
    struct error err;

    assert_ok(lease_acquire(f->repository, "capture", NULL, &l, &err), &err);
    content = read_lease(f);
    lease_release(l);
    json_object_set_new(content, key, value);
    assert_ok(json_print(content, &text, &err), &err);
    scratch_write(f->scratch.repo, name, text.data, text.len);
    buf_release(&text);
}

static void forge_pack(struct fixture *f)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/packs/00", f->scratch.repo);
    mkdir(path, 0700);
    scratch_write(path, PACK, "pack", 4);
}

static void make_old(struct fixture *f, const char *name, time_t age)
{
    char path[256];
    struct timespec times[2] = {{.tv_nsec = UTIME_NOW}};

    times[1].tv_sec = (time_t)(clock_realtime_ns() / NS_PER_SEC) - age;
    snprintf(path, sizeof(path), "%s/%s", f->scratch.repo, name);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static json_t *dead_process(void)
{
    return json_pack("[{s:i, s:i}]", "pid", 1, "start_ticks", 123456789);
}

static void a_lease_says_who_and_what_for(void **state)
{
    struct fixture *f = *state;
    cleanup_json json_t *content = NULL;
    struct lease *l;
    struct error err;
    const json_t *process;

    scratch_write(f->scratch.repo, "snapshots/0123456789abcdef", "", 0);
    assert_ok(lease_acquire(f->repository, "restore", "0123456789abcdef", &l,
                            &err),
              &err);
    content = read_lease(f);
    process = json_array_get(json_object_get(content, "processes"), 0);

    assert_string_equal(json_path_str(content, "purpose", ""), "restore");
    assert_string_equal(json_path_str(content, "snapshot", ""),
                        "0123456789abcdef");
    assert_int_equal(json_path_int(process, "pid", 0), getpid());
    assert_true((uint64_t)json_path_int(content, "expires_ns", 0) >
                clock_realtime_ns() + 3600 * NS_PER_SEC);
    lease_release(l);
    assert_int_equal(count_leases(f), 0);
}

static void a_lease_of_the_living_is_not_reaped(void **state)
{
    struct fixture *f = *state;
    struct lease *l;
    struct error err;

    assert_ok(lease_acquire(f->repository, "capture", NULL, &l, &err), &err);

    assert_int_equal(reap(f), 0);
    fixture_reopen(f);
    assert_int_equal(count_leases(f), 1);
    lease_forget(l);
    assert_int_equal(count_leases(f), 1);
}

static void changing_a_lease_leaves_one_file(void **state)
{
    struct fixture *f = *state;
    const char *const packs[] = {PACK, PACK};
    cleanup_json json_t *content = NULL;
    struct lease *l;
    struct error err;

    assert_ok(lease_acquire(f->repository, "capture", NULL, &l, &err), &err);
    assert_ok(lease_intend(l, packs, 2, &err), &err);
    assert_ok(lease_intend(l, packs, 1, &err), &err);
    assert_ok(lease_add_process(l, getppid(), &err), &err);
    assert_ok(lease_renew(l, &err), &err);

    content = read_lease(f);
    assert_int_equal(json_array_size(json_object_get(content, "packs")), 1);
    assert_int_equal(json_array_size(json_object_get(content, "processes")), 2);
    lease_release(l);
    lease_release(NULL);
    lease_forget(NULL);
}

static void a_process_that_is_gone_cannot_be_added(void **state)
{
    struct fixture *f = *state;
    struct lease *l;
    struct error err;
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    assert_ok(lease_acquire(f->repository, "restore", NULL, &l, &err), &err);
    assert_int_equal(lease_add_process(l, pid, &err), ERR_NOTFOUND);
    lease_release(l);
}

static void opening_reaps_the_lease_of_a_killed_process(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fork();

    if (pid == 0) {
        const char *const packs[] = {PACK};
        struct lease *l;
        struct error err;

        if (lease_acquire(f->repository, "capture", NULL, &l, &err) < 0 ||
            lease_intend(l, packs, 1, &err) < 0)
            _exit(1);
        forge_pack(f);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, NULL, 0);
    assert_int_equal(count_leases(f), 1);
    assert_int_equal(fixture_files(f, "packs/", NULL), 1);

    fixture_reopen(f);
    assert_int_equal(count_leases(f), 0);
    assert_int_equal(fixture_files(f, "packs/", NULL), 0);
}

static void qemu_keeps_the_lease_of_a_dead_pager(void **state)
{
    struct fixture *f = *state;
    pid_t qemu = fork(), pager;

    if (qemu == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    pager = fork();
    if (pager == 0) {
        struct lease *l;
        struct error err;

        _exit(lease_acquire(f->repository, "restore", NULL, &l, &err) < 0 ||
              lease_add_process(l, qemu, &err) < 0);
    }
    waitpid(pager, NULL, 0);
    assert_int_equal(reap(f), 0);
    assert_int_equal(count_leases(f), 1);

    kill(qemu, SIGKILL);
    waitpid(qemu, NULL, 0);
    assert_int_equal(reap(f), 1);
    assert_int_equal(count_leases(f), 0);
}

static void a_pack_that_a_snapshot_refers_to_stays(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    json_t *packs = json_array();
    struct error err;
    char name[128];
    size_t n = fixture_files(f, "packs/", name);

    json_array_append_new(packs, json_string(name + strlen("packs/ab/")));
    json_array_append_new(packs, json_string(PACK));
    json_array_append_new(packs, json_string("../../config"));
    forge_lease(f, "locks/0000000000000001", "packs", packs);
    forge_pack(f);
    {
        cleanup_json json_t *content = read_lease(f);
        struct buf text = BUF_INIT;

        json_object_set_new(content, "processes", dead_process());
        assert_ok(json_print(content, &text, &err), &err);
        scratch_write(f->scratch.repo, "locks/0000000000000001", text.data,
                      text.len);
        buf_release(&text);
    }

    assert_int_equal(reap(f), 1);
    assert_int_equal(fixture_files(f, "packs/", NULL), n);
    assert_int_equal(fixture_files(f, "config", NULL), 1);
    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
}

static void no_pack_goes_while_a_snapshot_cannot_be_read(void **state)
{
    struct fixture *f = *state;
    struct error err;
    cleanup_json json_t *content = NULL;
    struct buf text = BUF_INIT;

    forge_lease(f, "locks/0000000000000001", "packs", json_pack("[s]", PACK));
    forge_pack(f);
    scratch_write(f->scratch.repo, "snapshots/0123456789abcdef", "no", 2);
    content = read_lease(f);
    json_object_set_new(content, "processes", dead_process());
    assert_ok(json_print(content, &text, &err), &err);
    scratch_write(f->scratch.repo, "locks/0000000000000001", text.data,
                  text.len);

    assert_int_equal(reap(f), 1);
    assert_int_equal(fixture_files(f, "packs/", NULL), 1);
    buf_release(&text);
}

static void another_boot_means_dead(void **state)
{
    struct fixture *f = *state;

    forge_lease(f, "locks/0000000000000001", "boot_id", json_string("before"));
    assert_int_equal(reap(f), 1);
}

static void another_host_is_asked_by_its_expiry(void **state)
{
    struct fixture *f = *state;
    cleanup_json json_t *content = NULL;
    struct buf text = BUF_INIT;
    struct error err;

    forge_lease(f, "locks/0000000000000001", "host", json_string("elsewhere"));
    assert_int_equal(reap(f), 0);

    content = read_lease(f);
    json_object_set_new(content, "expires_ns", json_integer(5));
    assert_ok(json_print(content, &text, &err), &err);
    scratch_write(f->scratch.repo, "locks/0000000000000001", text.data,
                  text.len);
    assert_int_equal(reap(f), 1);
    buf_release(&text);
}

static void pids_of_another_namespace_mean_nothing(void **state)
{
    struct fixture *f = *state;

    forge_lease(f, "locks/0000000000000001", "pid_namespace", json_integer(1));
    assert_int_equal(reap(f), 0);
}

static void garbage_is_reaped_when_it_is_old(void **state)
{
    static const char *const garbage[] = {"", "{\"version\":1", "\xff\xfe",
                                          "[]", "{}"};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
        scratch_write(f->scratch.repo, "locks/00000000000000aa", garbage[i],
                      strlen(garbage[i]));
        assert_int_equal(reap(f), 0);
        make_old(f, "locks/00000000000000aa", 23 * 3600);
        assert_int_equal(reap(f), 0);
        make_old(f, "locks/00000000000000aa", 25 * 3600);
        assert_int_equal(reap(f), 1);
        assert_int_equal(count_leases(f), 0);
    }
}

/* Truncated and flipped leases: nothing but a dead one may go at once. */
static void a_damaged_lease_does_no_harm(void **state)
{
    struct fixture *f = *state;
    struct buf text = BUF_INIT;
    struct lease *l;
    struct error err;
    char name[128];
    size_t n;

    assert_ok(lease_acquire(f->repository, "capture", NULL, &l, &err), &err);
    fixture_files(f, "locks/", name);
    scratch_read(f->scratch.repo, name, &text);
    for (size_t len = 0; len < text.len; len++) {
        scratch_write(f->scratch.repo, name, text.data, len);
        assert_ok(lease_reap(f->repository, &n, &err), &err);
        assert_int_equal(n, 0);
    }
    for (size_t bit = 0; bit < text.len * 8; bit++) {
        text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        scratch_write(f->scratch.repo, name, text.data, text.len);
        assert_ok(lease_reap(f->repository, &n, &err), &err);
        text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_release(&text);
    lease_release(l);
}

static void two_may_reap_at_once(void **state)
{
    struct fixture *f = *state;
    pid_t pids[4];

    for (int round = 0; round < 20; round++) {
        cleanup_json json_t *content = NULL;
        struct buf text = BUF_INIT;
        struct error err;

        forge_lease(f, "locks/0000000000000001", "packs",
                    json_pack("[s]", PACK));
        content = read_lease(f);
        json_object_set_new(content, "processes", dead_process());
        assert_ok(json_print(content, &text, &err), &err);
        forge_pack(f);
        for (int i = 1; i < 40; i++) {
            char name[64];

            snprintf(name, sizeof(name), "locks/%016d", i);
            scratch_write(f->scratch.repo, name, text.data, text.len);
        }
        for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
            pids[i] = fork();
            if (pids[i] == 0) {
                size_t n;

                _exit(lease_reap(f->repository, &n, &err) < 0);
            }
        }
        for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
            int status;

            waitpid(pids[i], &status, 0);
            assert_int_equal(status, 0);
        }
        reap(f);
        assert_int_equal(count_leases(f), 0);
        assert_int_equal(fixture_files(f, "packs/", NULL), 0);
        buf_release(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_lease_says_who_and_what_for),
        FIXTURE_TEST(a_lease_of_the_living_is_not_reaped),
        FIXTURE_TEST(changing_a_lease_leaves_one_file),
        FIXTURE_TEST(a_process_that_is_gone_cannot_be_added),
        FIXTURE_TEST(opening_reaps_the_lease_of_a_killed_process),
        FIXTURE_TEST(qemu_keeps_the_lease_of_a_dead_pager),
        FIXTURE_TEST(a_pack_that_a_snapshot_refers_to_stays),
        FIXTURE_TEST(no_pack_goes_while_a_snapshot_cannot_be_read),
        FIXTURE_TEST(another_boot_means_dead),
        FIXTURE_TEST(another_host_is_asked_by_its_expiry),
        FIXTURE_TEST(pids_of_another_namespace_mean_nothing),
        FIXTURE_TEST(garbage_is_reaped_when_it_is_old),
        FIXTURE_TEST(a_damaged_lease_does_no_harm),
        FIXTURE_TEST(two_may_reap_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include <sys/wait.h>

#include "core/base/channel.h"
#include "core/base/path.h"
#include "restore/owed_vm.h"
#include "tests/fakes/temp_folder.h"

#define REPO  "0123456789abcdef0123456789abcdef"
#define OTHER "ffffffffffffffffffffffffffffffff"

static struct temp_folder t;

/* A VM that is this very test: it lives. */
static void put(const char *name, const char *snapshot, const char *repository,
                const char *qmp, pid_t qemu)
{
    cleanup_owed_vm struct owed_vm vm = {0};
    cleanup_free char *path = NULL;
    struct error err = ERROR_INIT;

    assert_ok(path_join(t.path, name, &path, &err), &err);
    assert_ok(owed_vm_begin(&vm, path,
                            json_pack("{s:s, s:s, s:s}", "snapshot", snapshot,
                                      "repository_id", repository, "qmp", qmp),
                            &err),
              &err);
    assert_ok(owed_vm_set_process(&vm, "qemu", qemu, &err), &err);
    assert_ok(owed_vm_write(&vm, &err), &err);
}

static int find(const char *snapshot, const char *repository, const char *qmp,
                struct error *err)
{
    cleanup_owed_vm struct owed_vm vm = {0};
    struct owed_vm_query query = {
        .folder = t.path,
        .snapshot = snapshot,
        .repository_id = repository,
        .qmp_path = qmp,
    };
    int rc = owed_vm_find(&query, &vm, err);

    if (rc == 0) {
        assert_string_equal(json_path_str(vm.state, "snapshot", ""), snapshot);
        assert_int_equal(owed_vm_process(&vm, "qemu"), getpid());
    }
    return rc;
}

static void the_only_vm_of_a_snapshot_is_found(void **state)
{
    struct error err = ERROR_INIT;

    assert_int_equal(find("aaaa", REPO, NULL, &err), ERR_NOTFOUND);
    put("a-1.json", "aaaa", REPO, "/no/q", getpid());
    put("b-1.json", "bbbb", REPO, "/no/q", getpid());
    put("c-1.json", "aaaa", OTHER, "/no/q", getpid());
    assert_ok(find("aaaa", REPO, NULL, &err), &err);
    put("a-2.json", "aaaa", REPO, "/no/r", getpid());
    assert_int_equal(find("aaaa", REPO, NULL, &err), ERR_USAGE);
    assert_non_null(strstr(err.hint, "--qmp"));
}

static void the_vm_behind_a_monitor_must_be_of_the_snapshot(void **state)
{
    struct error err = ERROR_INIT;
    cleanup_free char *path = NULL;
    cleanup_close int fd = -1;

    assert_ok(path_join(t.path, "q.sock", &path, &err), &err);
    assert_ok(channel_listen(path, 16, &fd, &err), &err);
    /* Who listens is this process: no state names it yet. */
    assert_int_equal(find("aaaa", REPO, path, &err), ERR_INCOMPATIBLE);
    assert_non_null(strstr(err.message, "nothing"));
    put("a-1.json", "aaaa", REPO, "/no/q", getpid());
    assert_ok(find("aaaa", REPO, path, &err), &err);
    assert_int_equal(find("bbbb", REPO, path, &err), ERR_INCOMPATIBLE);
    assert_non_null(strstr(err.message, "'aaaa', not of 'bbbb'"));
    assert_int_equal(find("aaaa", OTHER, path, &err), ERR_INCOMPATIBLE);
    assert_non_null(strstr(err.message, "another repository"));
}

static void a_vm_that_ended_is_none(void **state)
{
    struct error err = ERROR_INIT;
    pid_t pid = fork();

    if (pid == 0)
        for (;;)
            pause();
    put("a-1.json", "aaaa", REPO, "/no/q", pid);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(find("aaaa", REPO, NULL, &err), ERR_NOTFOUND);
}

static void a_vm_of_another_boot_is_none(void **state)
{
    cleanup_owed_vm struct owed_vm vm = {0};
    struct error err = ERROR_INIT;

    assert_ok(owed_vm_begin(&vm, "/no/where", json_object(), &err), &err);
    assert_ok(owed_vm_set_process(&vm, "qemu", getpid(), &err), &err);
    assert_int_equal(owed_vm_process(&vm, "qemu"), getpid());
    assert_int_equal(owed_vm_process(&vm, "pager"), 0);
    json_object_set_new(vm.state, "boot_id", json_string("of yesterday"));
    assert_int_equal(owed_vm_process(&vm, "qemu"), 0);
}

static void states_that_are_none_are_passed_over(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "7",
        "{\"state\":1}",
        "{\"state\":2, \"qemu_pid\":\"x\"}",
        "{\"state\":2, \"qemu_pid\":-1}",
    };
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        cleanup_free char *path = NULL;
        FILE *f;

        assert_ok(path_join(t.path, "x-1.json", &path, &err), &err);
        f = fopen(path, "w");
        fputs(texts[i], f);
        fclose(f);
        assert_int_equal(find("aaaa", REPO, NULL, &err), ERR_NOTFOUND);
    }
}

static int set_up(void **state)
{
    temp_folder_init(&t);
    return 0;
}

static int tear_down(void **state)
{
    temp_folder_release(&t);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        T(the_only_vm_of_a_snapshot_is_found),
        T(the_vm_behind_a_monitor_must_be_of_the_snapshot),
        T(a_vm_that_ended_is_none),
        T(a_vm_of_another_boot_is_none),
        T(states_that_are_none_are_passed_over),
#undef T
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

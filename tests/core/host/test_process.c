#include "tests/fakes/assert_error.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/host/process.h"

/* A child that waits to be killed; it is ready when this returns. */
static pid_t start_child(void)
{
    int ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "odd) Z 1 2 (");
        if (chdir("/") < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_true(pid > 0);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void our_own_faults_are_counted(void **state)
{
    uint64_t before = process_faults(getpid());
    size_t size = 256 * 4096;
    char *fresh = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(fresh, MAP_FAILED);
    madvise(fresh, size, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < size; i += 4096)
        fresh[i] = 1;
    assert_true(process_faults(getpid()) >= before + 256);
    munmap(fresh, size);
    assert_int_equal(process_faults(0), 0);
}

static void our_own_start_time_is_stable(void **state)
{
    uint64_t first, second;
    struct error err;

    assert_ok(process_start_time(getpid(), &first, &err), &err);
    assert_ok(process_start_time(getpid(), &second, &err), &err);

    assert_int_equal(first, second);
    assert_true(first > 0);
    assert_true(process_alive(getpid(), first));
    assert_false(process_alive(getpid(), first + 1));
}

static void a_name_with_brackets_does_not_move_the_fields(void **state)
{
    pid_t pid = start_child();
    uint64_t ours, its;
    struct error err;

    assert_ok(process_start_time(getpid(), &ours, &err), &err);
    assert_ok(process_start_time(pid, &its, &err), &err);

    /* Started after us, within the minutes that a test may take. */
    assert_true(its >= ours);
    assert_true(its - ours < (uint64_t)(600 * sysconf(_SC_CLK_TCK)));
    end_child(pid);
}

static void a_dead_process_is_not_found(void **state)
{
    pid_t pid = start_child();
    uint64_t ticks;
    struct error err;

    assert_ok(process_start_time(pid, &ticks, &err), &err);
    assert_true(process_alive(pid, ticks));
    end_child(pid);

    assert_error(process_start_time(pid, &ticks, &err), &err, ERR_NOTFOUND,
                 "stat");
    assert_false(process_alive(pid, ticks));
    assert_error(process_start_time(0, &ticks, &err), &err, ERR_NOTFOUND,
                 "no process 0");
    assert_error(process_start_time(-1, &ticks, &err), &err, ERR_NOTFOUND,
                 "no process -1");
}

static void a_zombie_counts_as_gone(void **state)
{
    pid_t pid = start_child();
    siginfo_t info;
    uint64_t ticks;
    struct error err;

    kill(pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);

    assert_error(process_start_time(pid, &ticks, &err), &err, ERR_NOTFOUND,
                 "has ended");
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_boot_id_has_its_length(void **state)
{
    char id[BOOT_ID_LEN + 1];
    struct error err;

    assert_ok(process_boot_id(id, &err), &err);

    assert_int_equal(strlen(id), BOOT_ID_LEN);
    assert_int_equal(strspn(id, "0123456789abcdef-"), BOOT_ID_LEN);
}

static void arguments_come_back_one_by_one(void **state)
{
    char first[] = "first", input[] = "-", empty[] = "", blank[] = "a b",
         odd[] = "\xff";
    char *const argv[] = {first, input, empty, blank, odd, NULL};
    cleanup_json json_t *list = NULL;
    int ready[2], go[2];
    struct error err;
    char byte;
    pid_t pid;

    assert_int_equal(pipe2(ready, 0), 0);
    assert_int_equal(pipe2(go, 0), 0);
    pid = fork();
    if (pid == 0) {
        /* cat waits for our pipe as its first file, "-", and shows its
         * arguments meanwhile. */
        dup2(go[0], 0);
        close(go[1]);
        close(ready[0]);
        fcntl(ready[1], F_SETFD, FD_CLOEXEC);
        execv("/bin/cat", argv);
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 0); /* closed by exec */

    assert_ok(process_command_line(pid, &list, &err), &err);
    assert_int_equal(json_array_size(list), 5);
    assert_string_equal(json_string_value(json_array_get(list, 0)), "first");
    assert_string_equal(json_string_value(json_array_get(list, 2)), "");
    assert_string_equal(json_string_value(json_array_get(list, 3)), "a b");
    assert_string_equal(json_string_value(json_array_get(list, 4)), "?");
    close(go[0]);
    close(go[1]);
    close(ready[0]);
    end_child(pid);
}

static void the_working_directory_is_found(void **state)
{
    pid_t pid = start_child();
    cleanup_free char *cwd = NULL;
    struct error err;

    assert_ok(process_cwd(pid, &cwd, &err), &err);
    assert_string_equal(cwd, "/");
    end_child(pid);

    assert_error(process_cwd(pid, &cwd, &err), &err, ERR_NOTFOUND, "folder");
}

static void memory_is_seen_of_the_living(void **state)
{
    (void)state;
    assert_true(process_memory(getpid()) >= 4096);
    assert_int_equal(process_memory(0), 0);
    assert_int_equal(process_memory(999999999), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_own_start_time_is_stable),
        cmocka_unit_test(our_own_faults_are_counted),
        cmocka_unit_test(a_name_with_brackets_does_not_move_the_fields),
        cmocka_unit_test(a_dead_process_is_not_found),
        cmocka_unit_test(a_zombie_counts_as_gone),
        cmocka_unit_test(a_boot_id_has_its_length),
        cmocka_unit_test(arguments_come_back_one_by_one),
        cmocka_unit_test(the_working_directory_is_found),
        cmocka_unit_test(memory_is_seen_of_the_living),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

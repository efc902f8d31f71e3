#include "tests/fakes/assert_error.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/base/clock.h"
#include "core/base/path.h"
#include "core/host/child.h"

#define FOR_EVER_MS 60000u

struct script {
    const char *argv[4];
    struct child_args args;
    int out_fd;
};

/* A shell's words, what it reads, and a file for what it says. */
static void prepare(struct script *s, const char *words, const char *input)
{
    const struct script made = {
        .argv = {"/bin/sh", "-c", words, NULL},
        .out_fd = memfd_create("out", MFD_CLOEXEC),
    };

    *s = made;
    assert_true(s->out_fd >= 0);
    s->args = (struct child_args){
        .argv = s->argv,
        .input = input,
        .input_len = input ? strlen(input) : 0,
        .out_fd = s->out_fd,
        .err_fd = s->out_fd,
        .keep_fd = -1,
    };
}

static void expect_output(struct script *s, const char *expected)
{
    char text[256] = "";

    assert_true(pread(s->out_fd, text, sizeof(text) - 1, 0) >= 0);
    assert_string_equal(text, expected);
    close(s->out_fd);
}

static void it_reads_its_input_and_sees_its_environment(void **state)
{
    static const char *const more[] = {"FIRN_TEST=word", NULL};
    struct script s;
    struct error err;

    prepare(&s, "cat; echo $FIRN_TEST; echo error >&2", "{}\n");
    s.args.environment = more;
    assert_int_equal(child_run(&s.args, "it", NULL, FOR_EVER_MS, &err), 0);
    expect_output(&s, "{}\nword\nerror\n");
}

static void it_inherits_nothing_but_what_is_named(void **state)
{
    int leaked = fcntl(0, F_DUPFD, 70); /* as if somebody had left it to us */
    int kept = memfd_create("kept", MFD_CLOEXEC);
    char words[128];
    struct script s;
    struct error err;

    snprintf(words, sizeof(words),
             "[ -e /proc/self/fd/%d ] && echo kept; cat; "
             "ls /proc/self/fd | wc -l",
             kept);
    prepare(&s, words, NULL);
    s.args.keep_fd = kept;
    assert_int_equal(child_run(&s.args, "it", NULL, FOR_EVER_MS, &err), 0);
    /* 0, 1, 2, the kept one, and what `ls` opens itself. */
    expect_output(&s, "kept\n5\n");
    close(leaked);
    close(kept);
}

static void how_it_ended_is_told(void **state)
{
    struct script s;
    struct error err;

    prepare(&s, "exit 7", NULL);
    assert_int_equal(child_run(&s.args, "hook 'x'", NULL, FOR_EVER_MS, &err),
                     ERR_UNSUPPORTED);
    assert_string_equal(err.message, "hook 'x' failed with status 7");
    prepare(&s, "kill -9 $$", NULL);
    assert_int_equal(child_run(&s.args, "hook 'x'", NULL, FOR_EVER_MS, &err),
                     ERR_UNSUPPORTED);
    assert_string_equal(err.message, "hook 'x' was killed by signal 9");
}

static void a_program_that_is_not_there_is_named(void **state)
{
    static const char *const argv[] = {"/nowhere/x", NULL};
    struct script s;
    struct child c;
    struct error err;

    prepare(&s, "", NULL);
    s.args.argv = argv;
    assert_int_equal(child_start(&s.args, &c, &err), ERR_UNSUPPORTED);
    assert_string_equal(
        err.message, "'/nowhere/x' does not start: No such file or directory");
    assert_int_equal(c.pid, 0);
    child_kill(&c);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* reaped as well */
}

/* It and what it started: whoever still holds the pipe still lives. */
static void beyond_its_limit_its_whole_group_is_killed(void **state)
{
    int alive[2];
    struct script s;
    struct error err;
    char byte;

    assert_int_equal(pipe2(alive, O_CLOEXEC), 0);
    prepare(&s, "trap '' TERM; sleep 1000 & sleep 1000", NULL);
    s.args.keep_fd = alive[1];
    assert_int_equal(child_run(&s.args, "hook 'x'", NULL, 200, &err),
                     ERR_TIMEOUT);
    assert_string_equal(err.message,
                        "hook 'x' did not end within 200 ms and was killed");
    close(alive[1]);
    assert_int_equal(read(alive[0], &byte, 1), 0);
    close(alive[0]);
    close(s.out_fd);
}

static void a_pulled_stopper_ends_it(void **state)
{
    struct stopper stop;
    struct script s;
    struct error err;

    assert_int_equal(stopper_init(&stop, &err), 0);
    stopper_pull(&stop, ERR_INTERRUPTED);
    prepare(&s, "sleep 1000", NULL);
    assert_int_equal(child_run(&s.args, "it", &stop, FOR_EVER_MS, &err),
                     ERR_INTERRUPTED);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    stopper_release(&stop);
    close(s.out_fd);
}

static void signals_are_as_usual_in_it(void **state)
{
    struct sigaction old;
    struct script s;
    struct error err;

    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, &old);
    prepare(&s, "kill -PIPE $$; echo survived", NULL);
    assert_int_equal(child_run(&s.args, "it", NULL, FOR_EVER_MS, &err),
                     ERR_UNSUPPORTED);
    assert_string_equal(err.message, "it was killed by signal 13");
    expect_output(&s, "");
    sigaction(SIGPIPE, &old, NULL);
}

/* The parent is a child of ours, killed without a chance to clean up. */
static void it_dies_with_its_parent(void **state)
{
    int alive[2];
    char byte;
    pid_t parent;

    assert_int_equal(pipe2(alive, O_CLOEXEC), 0);
    parent = fork();
    if (parent == 0) {
        struct script s;
        struct child c;
        struct error err;

        prepare(&s, "exec sleep 1000", NULL);
        s.args.keep_fd = alive[1];
        if (child_start(&s.args, &c, &err) < 0)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    close(alive[1]);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    assert_int_equal(read(alive[0], &byte, 1), 0);
    close(alive[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_reads_its_input_and_sees_its_environment),
        cmocka_unit_test(it_inherits_nothing_but_what_is_named),
        cmocka_unit_test(how_it_ended_is_told),
        cmocka_unit_test(a_program_that_is_not_there_is_named),
        cmocka_unit_test(beyond_its_limit_its_whole_group_is_killed),
        cmocka_unit_test(a_pulled_stopper_ends_it),
        cmocka_unit_test(signals_are_as_usual_in_it),
        cmocka_unit_test(it_dies_with_its_parent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include <poll.h>
#include <signal.h>

#include "restore/qemu_process.h"
#include "tests/fakes/temp_folder.h"

struct fixture {
    struct temp_folder t;
    char log_path[200];
    int log_fd;
    struct qemu_process p;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->t);
    snprintf(f->log_path, sizeof(f->log_path), "%s/log", f->t.path);
    f->log_fd = open(f->log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    qemu_process_kill(&f->p);
    qemu_process_release(&f->p);
    close(f->log_fd);
    temp_folder_release(&f->t);
    free(f);
    return 0;
}

/* `sh -c script`, in `cwd`. */
static int start(struct fixture *f, const char *script, const char *cwd,
                 struct error *err)
{
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)script, NULL};

    return qemu_process_start(
        &(struct qemu_process_args){
            .argv = argv,
            .cwd = cwd,
            .log_path = f->log_path,
            .log_fd = f->log_fd,
        },
        &f->p, err);
}

static void a_log_that_cannot_be_opened_is_told_as_such(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    snprintf(f->log_path, sizeof(f->log_path), "%s/none/log", f->t.path);
    assert_int_equal(start(f, "exit 0", NULL, &err), ERR_IO);
    assert_non_null(strstr(err.message, "QEMU's output"));
}

static void await_end(struct fixture *f)
{
    while (!qemu_process_ended(&f->p))
        poll(NULL, 0, 1);
}

static void the_last_words_are_in_the_error(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    assert_ok(start(f, "echo from out; echo bad option >&2; exit 3", NULL,
                    &err),
              &err);
    await_end(f);

    assert_error(qemu_process_error(&f->p, &err), &err, ERR_PEER,
                 "status 3: from out; bad option");
}

static void an_end_by_signal_is_told(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    assert_ok(start(f, "kill -SEGV $$", NULL, &err), &err);
    await_end(f);

    assert_error(qemu_process_error(&f->p, &err), &err, ERR_PEER,
                 "signal 11: it said nothing");
}

static void it_runs_in_the_folder_named(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    assert_ok(start(f, "pwd; exit 1", "/usr", &err), &err);
    await_end(f);

    assert_error(qemu_process_error(&f->p, &err), &err, ERR_PEER, ": /usr");
}

static void it_hears_nothing_and_has_a_session_of_its_own(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    assert_ok(start(f, "read x; echo \"$? $(ps -o sid= -p $$ | tr -d ' ') $$\"",
                    NULL, &err),
              &err);
    await_end(f);
    assert_int_equal(qemu_process_error(&f->p, &err), ERR_PEER);
    /* End of file at once; session and process are the same. */
    {
        char wanted[64];

        snprintf(wanted, sizeof(wanted), ": 1 %d %d", (int)f->p.pid,
                 (int)f->p.pid);
        if (access("/bin/ps", X_OK) == 0)
            assert_message(&err, wanted);
    }
}

static void our_descriptors_stay_with_us(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    int leaked = dup(f->log_fd); /* not close-on-exec */
    char script[64];

    snprintf(script, sizeof(script), "test -e /proc/$$/fd/%d; exit $?", leaked);
    assert_ok(start(f, script, NULL, &err), &err);
    await_end(f);
    close(leaked);

    assert_error(qemu_process_error(&f->p, &err), &err, ERR_PEER, "status 1");
}

static void a_program_that_is_not_there_is_named(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    char *argv[] = {(char *)"/no/such/qemu", NULL};

    assert_error(
        qemu_process_start(&(struct qemu_process_args){.argv = argv,
                                                       .log_path = f->log_path,
                                                       .log_fd = f->log_fd},
                           &f->p, &err),
        &err, ERR_PEER, "cannot start '/no/such/qemu': No such file");
    assert_int_equal(f->p.pid, 0);
}

static void a_folder_that_is_not_there_is_named(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    assert_error(start(f, "exit", "/no/such/folder", &err), &err, ERR_PEER,
                 "in folder '/no/such/folder'");
}

static void a_killed_process_is_gone_and_reaped(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    pid_t pid;

    assert_ok(start(f, "trap '' TERM INT; while :; do sleep 100; done", NULL,
                    &err),
              &err);
    pid = f->p.pid;
    assert_false(qemu_process_ended(&f->p));
    qemu_process_kill(&f->p);

    assert_true(qemu_process_ended(&f->p));
    assert_int_equal(kill(pid, 0), -1);
    qemu_process_kill(&f->p);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_last_words_are_in_the_error),
        T(an_end_by_signal_is_told),
        T(it_runs_in_the_folder_named),
        T(it_hears_nothing_and_has_a_session_of_its_own),
        T(our_descriptors_stay_with_us),
        T(a_program_that_is_not_there_is_named),
        T(a_folder_that_is_not_there_is_named),
        T(a_log_that_cannot_be_opened_is_told_as_such),
        T(a_killed_process_is_gone_and_reaped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

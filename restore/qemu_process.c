/*
 * qemu_process.c - fork, a log, exec; and why it ended.
 *
 * What goes wrong between fork() and exec() comes back through a pipe that a
 * successful exec closes, so that a missing program is told as such and not as
 * a QEMU that ended at once. All signals and their mask are reset: a keeper
 * ignores some, and ignored signals survive an exec.
 */
#include "restore/qemu_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "restore/runtime_folder.h"

/* What the child tells when it does not get as far as QEMU. */
struct exec_failure {
    int sys_errno;
    char step; /* 'o' output, 'd' directory, 'x' exec */
};

static void reset_signals(void)
{
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static char set_up_child(const struct qemu_process_args *args)
{
    int in = open("/dev/null", O_RDONLY);
    int out =
        open(args->log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);

    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 ||
        dup2(out, 2) < 0)
        return 'o';
    if (args->cwd && chdir(args->cwd) < 0)
        return 'd';
    return 0;
}

static _Noreturn void run_child(const struct qemu_process_args *args,
                                int report)
{
    struct exec_failure why = {0};

    setsid();
    reset_signals();
    why.step = set_up_child(args);
    if (!why.step) {
        /* Everything else of ours is close-on-exec; so is the report. */
        close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
        execvp(args->argv[0], args->argv);
        why.step = 'x';
    }
    why.sys_errno = errno;
    if (write(report, &why, sizeof(why)) < 0) {
        /* The parent then sees a process that ended by itself. */
    }
    _exit(127);
}

static int tell_failure(const struct qemu_process_args *args,
                        const struct exec_failure *why, struct error *err)
{
    errno = why->sys_errno;
    if (why->step == 'o')
        return fail_errno(err, ERR_IO, "cannot set up QEMU's output");
    if (why->step == 'd')
        return fail_errno(err, ERR_PEER, "cannot start QEMU in folder '%s'",
                          args->cwd);
    return fail_errno(err, ERR_PEER, "cannot start '%s'", args->argv[0]);
}

int qemu_process_start(const struct qemu_process_args *args,
                       struct qemu_process *ret, struct error *err)
{
    cleanup_free char *log_path = strdup(args->log_path);
    cleanup_close int report = -1;
    struct exec_failure why;
    int fds[2];
    pid_t pid;
    ssize_t n;

    if (!log_path)
        return fail_nomem(err);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return fail_errno(err, ERR_IO, "cannot make a pipe");
    report = fds[0];
    pid = fork();
    if (pid == 0)
        run_child(args, fds[1]);
    close(fds[1]);
    if (pid < 0)
        return fail_errno(err, ERR_IO, "cannot start a process");
    do {
        n = read(report, &why, sizeof(why));
    } while (n < 0 && errno == EINTR);
    if (n == sizeof(why)) {
        waitpid(pid, NULL, 0);
        return tell_failure(args, &why, err);
    }
    *ret = (struct qemu_process){.pid = pid, .log_path = steal_ptr(&log_path)};
    return 0;
}

static void reap(struct qemu_process *p, int flags)
{
    pid_t got;

    if (p->pid == 0 || p->ended)
        return;
    do {
        got = waitpid(p->pid, &p->status, flags);
    } while (got < 0 && errno == EINTR);
    p->ended = got != 0;
}

bool qemu_process_ended(struct qemu_process *p)
{
    reap(p, WNOHANG);
    return p->ended;
}

void qemu_process_kill(struct qemu_process *p)
{
    if (p->pid == 0 || qemu_process_ended(p))
        return;
    kill(p->pid, SIGKILL);
    reap(p, 0);
}

int qemu_process_error(const struct qemu_process *p, struct error *err)
{
    cleanup_free char *tail = runtime_log_tail(p->log_path, 300);
    const char *said = tail && tail[0] ? tail : "it said nothing";

    if (WIFSIGNALED(p->status))
        return fail(err, ERR_PEER, "QEMU was ended by signal %d: %s",
                    WTERMSIG(p->status), said);
    return fail(err, ERR_PEER, "QEMU ended with status %d: %s",
                WEXITSTATUS(p->status), said);
}

void qemu_process_release(struct qemu_process *p)
{
    free(p->log_path);
    *p = (struct qemu_process){0};
}

/*
 * child.c - fork and exec by hand: posix_spawn() knows no PR_SET_PDEATHSIG.
 *
 * Between fork() and exec the child of a process with threads may only do
 * what a signal handler may: everything is made ready before. That exec failed
 * comes back through a pipe that a successful exec closes.
 */
#include "core/host/child.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "core/base/clock.h"
#include "core/base/path.h"

extern char **environ;

/* Ours and `more`; the strings are borrowed, the array is new. */
static int join_environment(const char *const *more, char ***ret,
                            struct error *err)
{
    size_t ours = 0, n = 0;

    while (environ && environ[ours])
        ours++;
    while (more && more[n])
        n++;
    *ret = calloc(n + ours + 1, sizeof(**ret));
    if (!*ret)
        return fail_nomem(err);
    /* Ours behind: the first of two of one name is the one that counts. */
    for (size_t i = 0; i < n; i++)
        (*ret)[i] = (char *)more[i];
    for (size_t i = 0; i < ours; i++)
        (*ret)[n + i] = environ[i];
    return 0;
}

/* A file, not a pipe: nobody has to feed it, whoever reads it or not. */
static int open_input(const struct child_args *args, int *ret_fd,
                      struct error *err)
{
    cleanup_close int fd = -1;

    fd = args->input ? memfd_create("input", MFD_CLOEXEC)
                     : open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(err, ERR_IO, "cannot make a child's input");
    if (args->input &&
        path_write_at(fd, args->input, args->input_len, 0, err) < 0)
        return err->code;
    *ret_fd = steal_fd(&fd);
    return 0;
}

struct plan {
    const struct child_args *args;
    const char *program;
    char *const *environment;
    int input_fd;
    int failure_fd;
    pid_t parent;
};

/* Descriptors move out of the way of 0, 1 and 2 first. Ours close by
 * themselves; those that somebody left open to us need Linux 5.11. */
static int place_files(const struct plan *p)
{
    int in = fcntl(p->input_fd, F_DUPFD_CLOEXEC, 3);
    int out = fcntl(p->args->out_fd, F_DUPFD_CLOEXEC, 3);
    int messages = fcntl(p->args->err_fd, F_DUPFD_CLOEXEC, 3);

    if (in < 0 || out < 0 || messages < 0 || dup2(in, 0) < 0 ||
        dup2(out, 1) < 0 || dup2(messages, 2) < 0)
        return -1;
    close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC);
    return p->args->keep_fd < 0 ? 0 : fcntl(p->args->keep_fd, F_SETFD, 0);
}

static void default_signals(void)
{
    sigset_t none;

    for (int number = 1; number < NSIG; number++) {
        if (number != SIGKILL && number != SIGSTOP)
            signal(number, SIG_DFL);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void become(const struct plan *p)
{
    int why;

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    default_signals();
    /* The parent may have died before it asked to be told. */
    if (getppid() == p->parent && place_files(p) == 0)
        execve(p->program, (char *const *)p->args->argv, p->environment);
    why = errno;
    if (write(p->failure_fd, &why, sizeof(why)) < 0) {
        /* The parent is gone. */
    }
    _exit(127);
}

static int adopt(pid_t pid, int failure_fd, const char *path,
                 struct child *ret, struct error *err)
{
    struct child c = {.pid = pid, .fd = pidfd_open(pid, 0)};
    int why = errno;
    ssize_t n = 0;

    /* The same as in the child: whoever comes first. */
    setpgid(pid, pid);
    if (c.fd >= 0) {
        do
            n = read(failure_fd, &why, sizeof(why));
        while (n < 0 && errno == EINTR);
    }
    if (c.fd >= 0 && n == 0) {
        *ret = c;
        return 0;
    }
    child_kill(&c);
    errno = why;
    return fail_errno(err, ERR_UNSUPPORTED, "'%s' does not start", path);
}

static int start(struct plan *p, struct child *ret, struct error *err)
{
    int failure[2];
    pid_t pid;
    int rc;

    if (pipe2(failure, O_CLOEXEC) < 0)
        return fail_errno(err, ERR_IO, "pipe failed");
    p->failure_fd = failure[1];
    p->parent = getpid();
    pid = fork();
    if (pid == 0)
        become(p);
    close(failure[1]);
    if (pid < 0)
        rc = fail_errno(err, ERR_IO, "fork failed");
    else
        rc = adopt(pid, failure[0], p->program, ret, err);
    close(failure[0]);
    return rc;
}

int child_start(const struct child_args *args, struct child *ret,
                struct error *err)
{
    cleanup_close int input_fd = -1;
    cleanup_free char **environment = NULL;
    struct plan plan = {.args = args,
                        .program = args->program ? args->program
                                                 : args->argv[0]};
    int rc = join_environment(args->environment, &environment, err);

    *ret = CHILD_NONE;
    if (rc == 0)
        rc = open_input(args, &input_fd, err);
    if (rc < 0)
        return rc;
    plan.environment = environment;
    plan.input_fd = input_fd;
    return start(&plan, ret, err);
}

void child_signal(const struct child *c, int number)
{
    if (c->pid > 0)
        kill(c->pid, number);
}

/* Blocks; who needs a limit waits for the pidfd before. */
static void reap(struct child *c, int *ret_status)
{
    while (waitpid(c->pid, ret_status, 0) < 0 && errno == EINTR)
        ;
    if (c->fd >= 0)
        close(c->fd);
    *c = CHILD_NONE;
}

int child_wait(struct child *c, struct stopper *stop, uint64_t deadline_ns,
               int *ret_status, struct error *err)
{
    struct stopper calm = {.fd = -1};
    int rc = stopper_wait(stop ? stop : &calm, c->fd, POLLIN, deadline_ns, err);

    *ret_status = 0;
    if (rc == 0)
        reap(c, ret_status);
    return rc;
}

void child_kill(struct child *c)
{
    int status;

    if (c->pid <= 0)
        return;
    kill(-c->pid, SIGKILL);
    kill(c->pid, SIGKILL);
    reap(c, &status);
}

static int judge(int status, const char *what, struct error *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status))
        return fail(err, ERR_UNSUPPORTED, "%s failed with status %d", what,
                    WEXITSTATUS(status));
    return fail(err, ERR_UNSUPPORTED, "%s was killed by signal %d", what,
                WTERMSIG(status));
}

int child_run(const struct child_args *args, const char *what,
              struct stopper *stop, uint64_t limit_ms, struct error *err)
{
    uint64_t deadline_ns = clock_monotonic_ns() + limit_ms * NS_PER_MS;
    struct child c;
    int status;
    int rc = child_start(args, &c, err);

    if (rc < 0)
        return error_wrap(err, "%s", what);
    rc = child_wait(&c, stop, deadline_ns, &status, err);
    if (rc == 0)
        return judge(status, what, err);
    child_kill(&c);
    if (rc == ERR_TIMEOUT)
        return fail(err, ERR_TIMEOUT,
                    "%s did not end within %" PRIu64 " ms and was killed",
                    what, limit_ms);
    return rc;
}

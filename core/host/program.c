/*
 * program.c - a child with a pipe on its stdout and nothing else of ours: no
 * descriptor, no blocked or ignored signal. It is killed once its first line is
 * here, whatever else it had to say.
 */
#include "core/host/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/path.h"

#define ANSWER_NS (5 * NS_PER_SEC)

extern char **environ;

int program_find(const char *name, char **ret, struct error *err)
{
    const char *path = getenv("PATH");

    for (const char *p = path ? path : "/usr/bin:/bin"; *p;) {
        size_t len = strcspn(p, ":");
        cleanup_free char *folder = strndup(p, len);
        cleanup_free char *file = NULL;

        if (!folder)
            return fail_nomem(err);
        if (path_join(folder, name, &file, err) < 0)
            return err->code;
        if (len > 0 && access(file, X_OK) == 0) {
            *ret = steal_ptr(&file);
            return 0;
        }
        p += len + (p[len] == ':');
    }
    return fail(err, ERR_NOTFOUND, "'%s' is not in PATH", name);
}

/* Started with stdout to `out`, the rest to nowhere, all signals as usual. */
static int start(const char *path, const char *arg, int out, pid_t *ret,
                 struct error *err)
{
    char *const argv[] = {(char *)path, (char *)arg, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t signals;
    int rc;

    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&files, out, 1);
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY,
                                              0);
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes, &signals);
    sigaddset(&signals, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &signals);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (rc == 0)
        rc = posix_spawn(ret, path, &files, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    if (rc == 0)
        return 0;
    errno = rc;
    return fail_errno(err, ERR_UNSUPPORTED, "'%s' does not start", path);
}

static int read_line(int fd, struct stopper *stop, char *ret, size_t size,
                     struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + ANSWER_NS;
    size_t used = 0;

    ret[0] = '\0';
    while (used + 1 < size && !strchr(ret, '\n')) {
        ssize_t n;
        int rc = stopper_wait(stop, fd, POLLIN, deadline, err);

        if (rc < 0)
            return rc;
        n = read(fd, ret + used, size - 1 - used);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return fail_errno(err, ERR_IO, "cannot read from a pipe");
        if (n == 0)
            break;
        used += n > 0 ? (size_t)n : 0;
        ret[used] = '\0';
    }
    ret[strcspn(ret, "\n")] = '\0';
    return ret[0] ? 0 : fail(err, ERR_UNSUPPORTED, "it prints nothing");
}

int program_first_line(const char *path, const char *arg, struct stopper *stop,
                       char *ret, size_t size, struct error *err)
{
    int pipes[2];
    pid_t pid;
    int rc;

    if (pipe2(pipes, O_CLOEXEC) < 0)
        return fail_errno(err, ERR_IO, "pipe failed");
    rc = start(path, arg, pipes[1], &pid, err);
    close(pipes[1]);
    if (rc == 0) {
        rc = read_line(pipes[0], stop, ret, size, err);
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(pipes[0]);
    return rc < 0 ? error_wrap(err, "'%s %s'", path, arg) : 0;
}

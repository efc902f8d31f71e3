/*
 * pager_process.c - starting a pager, and telling a hang from a wait.
 *
 * The pager is this program again, by /proc/self/exe, so that an upgrade in the
 * middle of a restore does not mix versions; it inherits exactly two
 * descriptors. It reports every now and then while it works. Silence alone
 * proves nothing: if QEMU does not read, the pager stands at a full socket and
 * is well. So silence counts only while the copy of its socket could be written
 * to.
 */
#include "restore/pager_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "core/base/clock.h"
#include "core/base/log.h"

/* Asked later than this, the asker itself was held up. */
#define LOOK_LIMIT_NS (3 * NS_PER_SEC)

static void pass_on(int fd, char ret_text[static 16])
{
    fcntl(fd, F_SETFD, 0);
    snprintf(ret_text, 16, "%d", fd);
}

static _Noreturn void exec_pager(int link, const struct connection *c,
                                 const char *snapshot)
{
    char link_text[16];
    char main_text[16];
    char urgent_text[16] = "-";
    const char *areas = log_debug_areas();
    char *argv[9] = {(char *)"firn"};
    size_t n = 1;
    sigset_t none;

    if (areas) {
        argv[n++] = (char *)"--debug";
        argv[n++] = (char *)areas;
    }
    argv[n++] = (char *)"pager";
    argv[n++] = link_text;
    argv[n++] = main_text;
    argv[n++] = urgent_text;
    argv[n] = (char *)snapshot;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGTERM, SIG_DFL);
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    pass_on(link, link_text);
    pass_on(c->main, main_text);
    if (c->urgent >= 0)
        pass_on(c->urgent, urgent_text);
    execv("/proc/self/exe", argv);
    _exit(127);
}

int pager_process_start(struct pager_process *p, const struct connection *c,
                        const json_t *feed, struct error *err)
{
    cleanup_link struct link ours = LINK_INIT;
    cleanup_link struct link theirs = LINK_INIT;
    cleanup_close int copy = fcntl(c->main, F_DUPFD_CLOEXEC, 3);
    int rc = link_pair(&ours, &theirs, err);
    pid_t pid;

    if (rc < 0)
        return rc;
    if (copy < 0)
        return fail_errno(err, ERR_IO, "cannot copy the pager's socket");
    rc = link_send(&ours, json_incref((json_t *)feed), err);
    if (rc < 0)
        return rc;
    pid = fork();
    if (pid == 0)
        exec_pager(theirs.fd, c, json_path_str(feed, "snapshot", "?"));
    if (pid < 0)
        return fail_errno(err, ERR_IO, "cannot start the pager");
    *p = (struct pager_process){
        .pid = pid,
        .link = ours,
        .socket = steal_fd(&copy),
        .heard_ns = clock_monotonic_ns(),
        .looked_ns = clock_monotonic_ns(),
    };
    ours = LINK_INIT;
    return 0;
}

void pager_process_heard(struct pager_process *p, uint64_t now_ns)
{
    p->heard_ns = now_ns;
}

bool pager_process_hangs(struct pager_process *p, uint64_t now_ns,
                         uint64_t limit_ns)
{
    struct pollfd polled = {.fd = p->socket, .events = POLLOUT};
    bool late = now_ns - p->looked_ns > LOOK_LIMIT_NS;

    p->looked_ns = now_ns;
    if (p->pid == 0)
        return false;
    /* Full: QEMU does not read, and a pager that writes is silent. */
    if (late || poll(&polled, 1, 0) == 0)
        p->heard_ns = now_ns;
    return now_ns - p->heard_ns > limit_ns;
}

static void let_go(struct pager_process *p)
{
    p->pid = 0;
    link_release(&p->link);
    if (p->socket >= 0)
        close(steal_fd(&p->socket));
}

void pager_process_reap(struct pager_process *p)
{
    if (p->pid > 0)
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    let_go(p);
}

void pager_process_kill(struct pager_process *p)
{
    if (p->pid > 0)
        kill(p->pid, SIGKILL);
    pager_process_reap(p);
}

void pager_process_release(struct pager_process *p)
{
    let_go(p);
}

#include "restore/pager_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

static _Noreturn void exec_pager(int link, int socket, const char *snapshot)
{
    char link_text[16];
    char socket_text[16];
    char *argv[] = {
        (char *)"firn", (char *)"pager",  link_text,
        socket_text,    (char *)snapshot, NULL,
    };
    sigset_t none;

    snprintf(link_text, sizeof(link_text), "%d", link);
    snprintf(socket_text, sizeof(socket_text), "%d", socket);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGTERM, SIG_DFL);
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    fcntl(link, F_SETFD, 0);
    fcntl(socket, F_SETFD, 0);
    execv("/proc/self/exe", argv);
    _exit(127);
}

int pager_process_start(struct pager_process *p, int socket, const json_t *feed,
                        struct error *err)
{
    cleanup_link struct link ours = LINK_INIT;
    cleanup_link struct link theirs = LINK_INIT;
    int rc = link_pair(&ours, &theirs, err);
    pid_t pid;

    if (rc < 0)
        return rc;
    rc = link_send(&ours, json_incref((json_t *)feed), err);
    if (rc < 0)
        return rc;
    pid = fork();
    if (pid == 0)
        exec_pager(theirs.fd, socket, json_path_str(feed, "snapshot", "?"));
    if (pid < 0)
        return fail_errno(err, ERR_IO, "cannot start the pager");
    p->pid = pid;
    p->link = ours;
    ours = LINK_INIT;
    return 0;
}

void pager_process_reap(struct pager_process *p)
{
    if (p->pid > 0)
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    p->pid = 0;
    link_release(&p->link);
}

void pager_process_kill(struct pager_process *p)
{
    if (p->pid > 0)
        kill(p->pid, SIGKILL);
    pager_process_reap(p);
}

void pager_process_release(struct pager_process *p)
{
    p->pid = 0;
    link_release(&p->link);
}

/*
 * run_job.c - a loop over poll(2): whoever has printed something or has ended
 * is looked after, then whoever may begin begins.
 */
#include "cli/run/run_job.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cli/run/run_child.h"
#include "core/base/clock.h"
#include "core/host/lock_file.h"

#define LOCK_POLL_MS 100

/* Beside a task: what belongs to this process alone. */
struct place {
    struct run_task *task;
    struct run_child child;
    struct lock_file lock;
    uint64_t kill_ns; /* SIGTERM was sent; when SIGKILL follows; 0: neither */
    bool told;        /* to args->done */
};

struct job {
    const struct run_job_args *args;
    struct place *places;
    uint64_t wait_until_ns; /* for locks */
    struct error end;       /* why nothing new begins; code 0: it may */
};

/* Is anybody there? Only a socket that is not, or that nobody listens on,
 * means that the VM does not run: whatever else is wrong is for the capture to
 * tell. */
static bool vm_runs(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cleanup_close int fd =
        socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || strlen(socket_path) >= sizeof(address.sun_path))
        return true;
    memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
    return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ||
           (errno != ENOENT && errno != ECONNREFUSED);
}

static void fail_not_running(struct run_task *t)
{
    struct error why;

    fail(&why, ERR_PEER, "the VM does not run: nobody listens on '%s'",
         t->vm->socket);
    run_task_fail(t, &why);
}

/* Locks. */

/* By the socket: two names for one VM are still one VM. */
static int lock_path(const struct job *j, const struct run_task *t,
                     char **ret, struct error *err)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (const char *p = t->vm->socket; *p; p++)
        hash = (hash ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    if (asprintf(ret, "%s/vm-%016llx.lock", j->args->lock_folder,
                 (unsigned long long)hash) < 0)
        return fail_nomem(err);
    return 0;
}

/* Moves the task on when it has the lock, or when it waited long enough. */
static void try_lock(struct job *j, struct place *p)
{
    cleanup_free char *path = NULL;
    struct error why;
    int rc = lock_path(j, p->task, &path, &why);

    if (rc == 0 && !p->task->dry_run)
        rc = lock_file_take(path, &p->lock, &why);
    if (rc == 0)
        run_task_advance(p->task);
    else if (rc != ERR_LOCKED || clock_monotonic_ns() >= j->wait_until_ns)
        run_task_fail(p->task, &why);
}

/* Steps. */

static bool has_command(const struct run_task *t)
{
    return t->state >= RUN_LOOKING && t->state <= RUN_CHECKING;
}

static uint64_t left_ms(const struct job *j)
{
    uint64_t now = clock_monotonic_ns();

    if (!j->args->deadline_ns)
        return UINT64_MAX;
    return j->args->deadline_ns > now
               ? (j->args->deadline_ns - now) / NS_PER_MS
               : 0;
}

static void start_command(struct job *j, struct place *p)
{
    const struct run_words_args args = {
        .program = j->args->program,
        .verbose = j->args->verbose,
        .left_ms = left_ms(j),
        .prune_for_ms = j->args->prune_for_ms,
        .check_for_ms = j->args->check_for_ms,
    };
    struct run_words words = {0};
    struct error why;
    int rc = run_words_make(p->task, &args, &words, &why);

    if (rc == 0)
        rc = run_child_start(&p->child, &words, p->lock.fd, &why);
    run_words_release(&words);
    if (rc < 0)
        run_task_fail(p->task, &why);
}

/* A repository's turn comes when all VMs of it are done; with none that was
 * due, there is nothing to do. */
static bool may_begin(const struct job *j, struct run_task *t)
{
    bool any_due = false;

    for (size_t i = 0; !t->vm && i < j->args->n_tasks; i++) {
        const struct run_task *other = &j->args->tasks[i];

        if (!other->vm || strcmp(other->repository, t->repository) != 0)
            continue;
        if (other->state != RUN_DONE)
            return false;
        any_due |= other->due;
    }
    if (!t->vm && !any_due)
        t->prunes = t->checks = false;
    return true;
}

static void begin_task(struct job *j, struct run_task *t)
{
    if (!may_begin(j, t))
        return;
    if (!t->vm || t->dry_run || vm_runs(t->vm->socket))
        run_task_advance(t);
    else if (t->vm->required)
        fail_not_running(t);
    else
        run_task_skip(t, RUN_NOT_RUNNING);
}

static void settle(struct job *j, struct place *p)
{
    if (p->task->state != RUN_DONE || p->told)
        return;
    lock_file_release(&p->lock);
    p->told = true;
    j->args->done(j->args->arg, p->task);
}

static unsigned count_running(const struct job *j)
{
    unsigned n = 0;

    for (size_t i = 0; i < j->args->n_tasks; i++)
        n += run_child_runs(&j->places[i].child);
    return n;
}

/* What a repository does not get done now, it gets done the next time. */
static void give_up(const struct job *j, struct run_task *t)
{
    if (t->state == RUN_DONE)
        return;
    if (t->vm)
        run_task_fail(t, &j->end);
    else
        run_task_skip(t, RUN_NOT_DUE);
}

/* All that can go on without waiting for anything. */
static void go_on(struct job *j)
{
    for (size_t i = 0; i < j->args->n_tasks; i++) {
        struct place *p = &j->places[i];
        struct run_task *t = p->task;

        if (run_child_runs(&p->child))
            continue;
        if (j->end.code)
            give_up(j, t);
        if (t->state == RUN_WAITING && count_running(j) < j->args->jobs)
            begin_task(j, t);
        if (t->state == RUN_LOCKING)
            try_lock(j, p);
        while (has_command(t) && !run_child_runs(&p->child) &&
               count_running(j) < j->args->jobs)
            start_command(j, p);
        settle(j, p);
    }
}

/* Ending. */

static void end_all(struct job *j, const struct error *why)
{
    uint64_t kill_ns = clock_monotonic_ns() + RUN_GRACE_MS * NS_PER_MS;

    error_copy(&j->end, why);
    for (size_t i = 0; i < j->args->n_tasks; i++) {
        struct place *p = &j->places[i];

        if (!run_child_runs(&p->child))
            continue;
        if (p->task->vm && !p->task->why.code)
            error_copy(&p->task->why, why);
        child_signal(&p->child.child, SIGTERM);
        p->kill_ns = kill_ns;
    }
}

static void look_at_limits(struct job *j)
{
    uint64_t now = clock_monotonic_ns();
    struct error why;

    if (!j->end.code && stopper_pulled(j->args->stop)) {
        stopper_error(j->args->stop, &why);
        end_all(j, &why);
    }
    if (!j->end.code && j->args->deadline_ns && now >= j->args->deadline_ns) {
        fail(&why, ERR_TIMEOUT, "the time limit of the run is over");
        end_all(j, &why);
    }
    for (size_t i = 0; i < j->args->n_tasks; i++) {
        struct place *p = &j->places[i];

        if (run_child_runs(&p->child) && p->kill_ns && now >= p->kill_ns)
            kill(-p->child.child.pid, SIGKILL);
    }
}

/* Waiting. */

static bool any_in(const struct job *j, enum run_state state)
{
    for (size_t i = 0; i < j->args->n_tasks; i++) {
        if (j->args->tasks[i].state == state)
            return true;
    }
    return false;
}

static int wait_limit_ms(const struct job *j)
{
    uint64_t next_ns = j->end.code ? 0 : j->args->deadline_ns;
    int limit;

    for (size_t i = 0; i < j->args->n_tasks; i++) {
        const struct place *p = &j->places[i];

        if (run_child_runs(&p->child) && p->kill_ns &&
            (!next_ns || p->kill_ns < next_ns))
            next_ns = p->kill_ns;
    }
    limit = clock_poll_ms(next_ns);
    if (any_in(j, RUN_LOCKING))
        limit = limit < 0 ? LOCK_POLL_MS : MIN(limit, LOCK_POLL_MS);
    return limit;
}

static int look_after(struct place *p, const struct pollfd *polled,
                      struct error *err)
{
    int rc = 0;

    if (!run_child_runs(&p->child))
        return 0;
    if (polled[0].revents)
        rc = run_child_read(&p->child, p->task, err);
    if (rc == 0 && polled[1].revents) {
        rc = run_child_finish(&p->child, p->task, err);
        p->kill_ns = 0;
    }
    return rc;
}

static int wait_and_look(struct job *j, struct pollfd *polled,
                         struct error *err)
{
    size_t n = j->args->n_tasks;
    int rc = 0;

    for (size_t i = 0; i < n; i++) {
        polled[2 * i] = (struct pollfd){.fd = j->places[i].child.out_fd,
                                        .events = POLLIN};
        polled[2 * i + 1] = (struct pollfd){.fd = j->places[i].child.child.fd,
                                            .events = POLLIN};
    }
    /* Once pulled it would be readable for ever. */
    polled[2 * n] = (struct pollfd){
        .fd = j->end.code ? -1 : stopper_fd(j->args->stop), .events = POLLIN};
    if (poll(polled, 2 * n + 1, wait_limit_ms(j)) < 0) {
        if (errno != EINTR)
            return fail_errno(err, ERR_IO, "poll failed");
        return 0;
    }
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = look_after(&j->places[i], &polled[2 * i], err);
    return rc;
}

static bool all_done(const struct job *j)
{
    for (size_t i = 0; i < j->args->n_tasks; i++) {
        if (j->args->tasks[i].state != RUN_DONE)
            return false;
    }
    return true;
}

static int loop(struct job *j, struct pollfd *polled, struct error *err)
{
    int rc = 0;

    while (rc == 0) {
        look_at_limits(j);
        go_on(j);
        /* One pass may have freed what an earlier task waits for. */
        if (count_running(j) == 0 && !any_in(j, RUN_LOCKING)) {
            if (all_done(j))
                break;
            continue;
        }
        rc = wait_and_look(j, polled, err);
    }
    return rc;
}

int run_job(const struct run_job_args *args, struct error *err)
{
    struct job j = {
        .args = args,
        .places = calloc(args->n_tasks + 1, sizeof(*j.places)),
        .wait_until_ns = clock_monotonic_ns() + args->wait_ms * NS_PER_MS,
    };
    cleanup_free struct pollfd *polled =
        calloc(2 * args->n_tasks + 1, sizeof(*polled));
    int rc = j.places && polled ? 0 : fail_nomem(err);

    for (size_t i = 0; j.places && i < args->n_tasks; i++) {
        j.places[i] = (struct place){.task = &args->tasks[i],
                                     .child = RUN_CHILD_NONE,
                                     .lock = LOCK_FILE_NONE};
    }
    if (rc == 0)
        rc = loop(&j, polled, err);
    for (size_t i = 0; j.places && i < args->n_tasks; i++) {
        run_child_release(&j.places[i].child);
        lock_file_release(&j.places[i].lock);
    }
    free(j.places);
    return rc;
}

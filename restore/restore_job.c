/*
 * The processes of a restore, and their threads:
 *
 *   front    the command itself: one thread. Forks the keeper before any
 *            thread exists, prints what it hears, passes SIGINT and SIGTERM on
 *            until the VM runs. May die at any time: before the VM runs the
 *            keeper then ends QEMU, afterwards nobody misses it.
 *   keeper   one thread. A session of its own; owns the lease, the state file,
 *            QEMU (its child) and the negotiated out-of-band monitor; starts
 *            pagers. Ends when the last page is placed, or with QEMU.
 *   pager    exec'd; two threads. The main thread owns the snapshot's reader,
 *            the page queue and the writing side of the socket; "return path"
 *            owns the reading side and leaves requests in an inbox under the
 *            one lock. Ends with SHUT, with the socket, or killed: the keeper
 *            starts another.
 *
 *   front ⇄ keeper ⇄ pager: JSON lines over socketpairs (link.h)
 *
 *   front → keeper  {"type":"resume","snapshot"}  from one that comes later,
 *                                                 to the keeper's door
 *   keeper → front  {"type":"note","text"}
 *                   {"type":"running","elapsed_ms","read_bytes","image_bytes",
 *                    "qemu_pid","qmp"}
 *                   {"type":"resident", ...}  figures of pager.c, elapsed_ms
 *                   {"type":"done"} or {"type":"error",...}: the last line
 */
#include "restore/restore_job.h"

#include <signal.h>
#include <sys/wait.h>

#include "core/base/channel.h"
#include "core/base/clock.h"
#include "restore/keeper.h"
#include "restore/owed_vm.h"
#include "restore/runtime_folder.h"

/* QEMU is killed and the lease removed within this time, or never. */
#define ABORT_LIMIT_NS (15 * NS_PER_SEC)

struct front {
    const struct restore_args *args;
    struct link keeper;
    pid_t pid;
    bool running;
    bool over; /* the last line was read */
};

static void give_note(const struct front *f, const char *text)
{
    if (f->args->note)
        f->args->note(f->args->arg, text);
}

static uint64_t number(const json_t *m, const char *key)
{
    return (uint64_t)json_path_int(m, key, 0);
}

static void take_running(struct front *f, const json_t *m)
{
    struct restore_event_running e = {
        .elapsed_ms = number(m, "elapsed_ms"),
        .read_bytes = number(m, "read_bytes"),
        .image_bytes = number(m, "image_bytes"),
        .qemu_pid = (pid_t)number(m, "qemu_pid"),
    };

    f->running = true;
    if (f->args->running)
        f->args->running(f->args->arg, &e);
}

static void take_resident(struct front *f, const json_t *m)
{
    struct restore_event_resident e = {
        .elapsed_ms = number(m, "elapsed_ms"),
        .faults = number(m, "faults"),
        .fault_p50_us = number(m, "fault_p50_us"),
        .fault_p99_us = number(m, "fault_p99_us"),
        .prefetched_pages = number(m, "prefetched_pages"),
        .read_bytes = number(m, "read_bytes"),
        .report = m,
    };

    if (f->args->resident)
        f->args->resident(f->args->arg, &e);
}

static int take_message(struct front *f, const json_t *m, struct error *err)
{
    if (link_is(m, "note"))
        give_note(f, json_path_str(m, "text", ""));
    else if (link_is(m, "running"))
        take_running(f, m);
    else if (link_is(m, "resident"))
        take_resident(f, m);
    f->over = link_is(m, "done") || link_is(m, "error");
    return link_is(m, "error") ? link_error_of(m, err) : 0;
}

static int keeper_died(struct front *f, struct error *err)
{
    int status = 0;

    if (f->pid > 0 && waitpid(f->pid, &status, 0) == f->pid &&
        WIFSIGNALED(status))
        return fail(err, ERR_IO, "the keeper was ended by signal %d",
                    WTERMSIG(status));
    return fail(err, ERR_IO, "the keeper ended without a word");
}

/* Messages until the last one, or (with `until_running`) until the VM runs. */
static int listen_to_keeper(struct front *f, struct stopper *stop,
                            uint64_t deadline_ns, bool until_running,
                            struct error *err)
{
    while (!f->over && !(until_running && f->running)) {
        cleanup_json json_t *m = NULL;
        int rc = link_wait(&f->keeper, stop, deadline_ns, &m, err);

        if (rc == 0)
            rc = m ? take_message(f, m, err) : keeper_died(f, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The keeper ends QEMU, unless the VM began to run at this very moment. */
static int abort_restore(struct front *f, const struct error *why,
                         struct error *err)
{
    uint64_t deadline_ns = clock_monotonic_ns() + ABORT_LIMIT_NS;
    struct error said = ERROR_INIT;
    struct stopper never;
    int rc;

    kill(f->pid, why->code == ERR_INTERRUPTED ? SIGINT : SIGTERM);
    rc = stopper_init(&never, err);
    if (rc < 0)
        return rc;
    rc = listen_to_keeper(f, &never, deadline_ns, true, &said);
    stopper_release(&never);
    if (rc == ERR_TIMEOUT)
        give_note(f, "the keeper did not end in time; it may still be at it");
    else if (rc < 0 && said.code != why->code)
        give_note(f, said.message);
    return error_copy(err, why);
}

static int run_front(struct front *f, struct error *err)
{
    struct error why = ERROR_INIT;
    int rc = listen_to_keeper(f, f->args->stop, 0, f->args->detach, &why);

    if (rc == 0)
        return 0;
    if (!stopper_pulled(f->args->stop) || f->over)
        return error_copy(err, &why);
    if (!f->running && !f->args->resume)
        abort_restore(f, &why, err);
    if (f->running || f->args->resume)
        give_note(f, "the VM runs; its pages go on being brought in the "
                     "background");
    return error_copy(err, &why);
}

static _Noreturn void become_keeper(const struct restore_args *args,
                                    uint64_t begun_ns, pid_t front_pid,
                                    struct link *front)
{
    keeper_main(args, begun_ns, front_pid, front);
    _exit(0);
}

/* A signal that the front passes on must not reach a keeper that has the
 * front's handlers still: they stay blocked until it has its own. */
static pid_t fork_keeper(void)
{
    sigset_t set;
    sigset_t old;
    pid_t pid;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, &old);
    pid = fork();
    if (pid != 0)
        sigprocmask(SIG_SETMASK, &old, NULL);
    return pid;
}

/* A keeper of its own, forked. */
static int start_keeper(struct front *f, struct error *err)
{
    cleanup_link struct link theirs = LINK_INIT;
    uint64_t begun_ns = clock_monotonic_ns();
    pid_t front_pid = getpid();
    int rc = link_pair(&f->keeper, &theirs, err);

    if (rc < 0)
        return rc;
    f->pid = fork_keeper();
    if (f->pid == 0) {
        link_release(&f->keeper);
        become_keeper(f->args, begun_ns, front_pid, &theirs);
    }
    return f->pid < 0 ? fail_errno(err, ERR_IO, "cannot start the keeper") : 0;
}

/* The keeper that is there still: nobody but it may have a monitor by which
 * QEMU can be told anything, so it is asked instead of replaced. */
static int visit_keeper(struct front *f, const char *door, struct error *err)
{
    int rc = channel_connect(door, &f->keeper.fd, err);

    if (rc == 0)
        rc = link_send(&f->keeper,
                       json_pack("{s:s, s:s}", "type", "resume", "snapshot",
                                 f->args->id),
                       err);
    return rc;
}

static int resume(struct front *f, struct error *err)
{
    cleanup_owed_vm struct owed_vm vm = {0};
    cleanup_free char *folder = NULL;
    struct owed_vm_query query = {
        .repository_id = repository_id(f->args->repository),
        .snapshot = f->args->id,
        .qmp_path = f->args->qmp_path,
    };
    int rc = runtime_folder_open(&folder, err);

    query.folder = folder;
    if (rc == 0)
        rc = owed_vm_find(&query, &vm, err);
    if (rc < 0)
        return rc;
    if (owed_vm_process(&vm, "keeper") > 0)
        return visit_keeper(f, json_path_str(vm.state, "door", ""), err);
    return start_keeper(f, err);
}

int restore_job_run(const struct restore_args *args, struct error *err)
{
    struct front f = {.args = args, .keeper = LINK_INIT};
    int rc = args->resume ? resume(&f, err) : start_keeper(&f, err);

    if (rc == 0)
        rc = run_front(&f, err);
    link_release(&f.keeper);
    return rc;
}

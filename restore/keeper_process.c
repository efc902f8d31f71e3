/*
 * What every keeper does, whether it comes first or later: it becomes a process
 * that nothing of the front's concerns, opens what it keeps, and writes down
 * what it is about before it begins.
 */
#include "restore/keeper_inside.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "restore/fd_store.h"
#include "restore/runtime_folder.h"

#define LOG_AREA "keeper"
#include "core/base/log.h"

/* To the front. */

void keeper_tell(struct keeper *k, json_t *message)
{
    struct error ignored = ERROR_INIT;

    if (link_send(k->front, message, &ignored) < 0)
        log_debug("the front was not told: %s", ignored.message);
}

void keeper_note(struct keeper *k, const char *text)
{
    keeper_tell(k, json_pack("{s:s, s:o}", "type", "note", "text",
                             json_text(text)));
}

/* A process of its own. */

static int take_folder(struct keeper *k, struct error *err)
{
    int rc = runtime_folder_open(&k->folder, err);

    if (rc < 0)
        return rc;
    runtime_folder_sweep(k->folder);
    rc = runtime_folder_name(k->folder, k->args->id, "log", &k->log_path, err);
    if (rc == 0)
        rc = runtime_log_open(k->log_path, &k->log_fd, err);
    if (rc == 0)
        rc = runtime_folder_name(k->folder, k->args->id, "firn.log",
                                 &k->own_log_path, err);
    if (rc == 0)
        rc = runtime_log_open(k->own_log_path, &k->own_log_fd, err);
    return rc;
}

/* Away from the front's terminal and files: who waits for the end of its
 * output must not wait for us. */
static int detach(struct keeper *k, struct error *err)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
        dup2(k->own_log_fd, 2) < 0)
        return fail_errno(err, ERR_IO, "cannot leave the terminal");
    close(null);
    return 0;
}

/* What a service manager kept for us lies lowest, and stays. */
static void close_inherited(const struct link *front)
{
    int first = 3 + fd_store_count();

    if (front->fd > first)
        close_range((unsigned)first, (unsigned)front->fd - 1, 0);
    close_range((unsigned)front->fd + 1, ~0u, 0);
}

/* Signals pull the stopper, any number of them: who is impatient ends the
 * front with the second one, whose end is one more signal for us. What must be
 * taken back is taken back all the same. */
static int watch_signals(struct keeper *k, struct error *err)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t none;
    int rc;

    signal(SIGTERM, SIG_DFL); /* watched even if it was ignored */
    rc = stopper_watch_signals(&k->stop, err);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(numbers); i++) {
        struct sigaction act;

        if (sigaction(numbers[i], NULL, &act) < 0)
            return fail_errno(err, ERR_IO, "sigaction failed");
        act.sa_flags &= ~SA_RESETHAND;
        if (sigaction(numbers[i], &act, NULL) < 0)
            return fail_errno(err, ERR_IO, "sigaction failed");
    }
    /* The front blocked them before the fork. */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return rc;
}

/* Their lines would mix with whatever the terminal shows later. */
static void note_log(struct keeper *k)
{
    char text[PATH_MAX + 64];

    snprintf(text, sizeof(text), "what keeper and pager have to tell is in %s",
             k->own_log_path);
    keeper_note(k, text);
}

int keeper_begin(struct keeper *k, struct error *err)
{
    int rc;

    setsid();
    prctl(PR_SET_NAME, "firn-keeper");
    close_inherited(k->front);
    rc = stopper_init(&k->stop, err);
    if (rc == 0)
        rc = watch_signals(k, err);
    if (rc < 0)
        return rc;
    /* Until the VM runs, the front's end is ours. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != k->front_pid)
        return fail(err, ERR_TERMINATED, "the front is gone");
    k->repository_path = realpath(repository_path(k->args->repository), NULL);
    if (!k->repository_path)
        return fail_errno(err, ERR_NOREPO, "cannot find '%s'",
                          repository_path(k->args->repository));
    rc = take_folder(k, err);
    if (rc == 0 && log_debug_areas())
        note_log(k);
    return rc < 0 ? rc : detach(k, err);
}

/* The snapshot. */

int keeper_open_snapshot(struct keeper *k, struct error *err)
{
    int rc = repository_open(k->repository_path, &k->repository, err);

    if (rc == 0)
        rc = lease_acquire(k->repository, "restore", k->args->id, &k->lease,
                           err);
    if (rc == 0)
        rc = snapshot_reader_open(k->repository, k->args->id, &k->reader, err);
    if (rc == 0)
        k->facts = snapshot_reader_facts(k->reader);
    return rc;
}

bool keeper_was_paused(const struct keeper *k)
{
    const char *state = snapshot_reader_summary(k->reader)->run_state;

    return state[0] && strcmp(state, "running") != 0;
}

int keeper_stock_up(struct keeper *k, struct error *err)
{
    k->recovery.qmp = k->target.qmp;
    k->recovery.blocks = snapshot_reader_blocks(k->reader);
    k->recovery.folder = k->folder;
    k->recovery.snapshot = k->args->id;
    k->recovery.stop = &k->stop;
    return recovery_restock(&k->recovery, err);
}

/* What is on disk, and who may come to the door. */

static int open_door(struct keeper *k, struct error *err)
{
    int rc = runtime_folder_name(k->folder, k->args->id, "keeper.sock",
                                 &k->door_path, err);

    return rc < 0 ? rc : channel_listen(k->door_path, 4, &k->door, err);
}

/* If the keeper and the pager die while QEMU's main loop waits for a page, only
 * who has this connection can still tell QEMU anything. */
static void store_monitor(struct keeper *k)
{
    char name[FD_STORE_NAME_LEN];
    struct error why = ERROR_INIT;

    fd_store_name(k->target.pid, name);
    if (fd_store_put(name, qmp_session_fd(k->target.qmp), &why) < 0)
        keeper_note(k, why.message);
}

int keeper_settle(struct keeper *k, json_t *state, struct error *err)
{
    cleanup_free char *path = NULL;
    cleanup_json json_t *owned = state;
    struct owed_vm vm = {0};
    int rc = open_door(k, err);

    if (rc == 0)
        rc = runtime_folder_name(k->folder, k->args->id, "json", &path, err);
    if (rc < 0)
        return rc;
    rc = owed_vm_begin(&vm, path, steal_ptr(&owned), err);
    if (rc == 0 &&
        json_object_set_new(vm.state, "door", json_string(k->door_path)) < 0)
        rc = fail_nomem(err);
    if (rc == 0)
        rc = owed_vm_set_process(&vm, "qemu", k->target.pid, err);
    if (rc == 0)
        rc = owed_vm_set_process(&vm, "keeper", getpid(), err);
    if (rc == 0)
        rc = owed_vm_write(&vm, err);
    if (rc < 0) {
        owed_vm_release(&vm);
        return rc;
    }
    k->vm = vm;
    store_monitor(k);
    return 0;
}

/* Without it, only `--resume` after the death of all would know less. */
static void on_pager_started(void *arg, pid_t pid)
{
    struct keeper *k = arg;
    struct error why = ERROR_INIT;

    if (owed_vm_set_process(&k->vm, "pager", pid, &why) < 0 ||
        owed_vm_write(&k->vm, &why) < 0)
        log_debug("%s", why.message);
}

/* The assignment is what a later keeper reads. */
static void on_went(void *arg)
{
    struct keeper *k = arg;
    json_t *feed = json_object_get(k->vm.state, "feed");
    struct error why = ERROR_INIT;

    json_object_set_new(feed, "head_start_ms", json_integer(0));
    if (owed_vm_write(&k->vm, &why) < 0)
        log_debug("%s", why.message);
}

int keeper_feed(struct keeper *k, json_t *assignment, bool *ret_ran,
                struct error *err)
{
    bool head_start = json_path_int(assignment, "head_start_ms", 0) > 0;
    struct feeding_args args = {
        .job = k->args,
        .target = &k->target,
        .front = k->front,
        .door = k->door,
        .lease = k->lease,
        .begun_ns = k->begun_ns,
        .connection = connection_steal(&k->connection),
        .feed = assignment,
        .paused = keeper_was_paused(k) && (k->target.ours || k->args->eager),
        .head_start = head_start && !k->args->resume,
        .held = head_start && k->args->resume,
        .recovery = &k->recovery,
        .pager_started = on_pager_started,
        .went = on_went,
        .arg = k,
    };

    return feeding_run(&args, ret_ran, err);
}

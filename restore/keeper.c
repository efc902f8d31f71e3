/*
 * In this order, so that each refusal comes before the step that would be hard
 * to take back:
 *
 *   session and signals of its own          no more bound to a terminal
 *   repository, lease, snapshot             damaged or gone: found here
 *   the original VM, the disks              compared before QEMU opens them
 *   QEMU: started or found, its monitor     with out-of-band execution
 *   machine compared, capabilities set      nothing was fed yet
 *   spare descriptors for later pagers      the monitor takes them now only
 *   migrate-incoming, connection            once in QEMU's life
 *   state file, pager, vigil                feeding.c
 *
 * The keeper has no second thread and keeps nothing of the snapshot but its
 * block list and facts, so that it does not die of what pagers may die of.
 */
#include "restore/keeper.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "core/base/clock.h"
#include "core/host/process.h"
#include "core/qmp/vm_facts.h"
#include "restore/feeding.h"
#include "restore/preflight.h"
#include "restore/qemu_command.h"
#include "restore/runtime_folder.h"
#include "restore/target.h"
#include "storage/lease.h"
#include "storage/snapshot_reader.h"

#define LOG_AREA "keeper"
#include "core/base/log.h"

struct keeper {
    const struct restore_args *args;
    uint64_t begun_ns;
    pid_t front_pid;
    struct link *front;
    struct stopper stop;
    char *repository_path; /* absolute */
    char *folder;          /* of runtime files */
    char *log_path;        /* of QEMU */
    int log_fd;
    char *own_log_path; /* ours and the pagers': empty unless one crashes */
    int own_log_fd;
    char *state_path; /* NULL until it is written */
    struct repository *repository;
    struct lease *lease;
    struct snapshot_reader *reader;
    const json_t *facts; /* the reader's */
    struct preflight_lists lists;
    struct target target;
    json_t *target_facts;
    bool preloads_ram; /* memory of the target may hold something */
    int socket;
    int spares[FEEDING_SPARES];
};

/* To the front. */

static void tell(struct keeper *k, json_t *message)
{
    struct error ignored = ERROR_INIT;

    if (link_send(k->front, message, &ignored) < 0)
        log_debug("the front was not told: %s", ignored.message);
}

static void note(struct keeper *k, const char *text)
{
    tell(k, json_pack("{s:s, s:o}", "type", "note", "text", json_text(text)));
}

static void tell_notes(struct keeper *k, json_t *list, size_t from)
{
    for (size_t i = from; i < json_array_size(list); i++)
        note(k, json_string_value(json_array_get(list, i)));
    json_array_clear(list);
}

/* The differences decide; the first becomes the error, the others notes. */
static int judge(struct keeper *k, struct error *err)
{
    int rc = preflight_verdict(&k->lists, err);

    tell_notes(k, k->lists.notes, 0);
    tell_notes(k, k->lists.differences, 1);
    return rc;
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

static void close_inherited(const struct link *front)
{
    if (front->fd > 3)
        close_range(3, (unsigned)front->fd - 1, 0);
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

static int begin(struct keeper *k, struct error *err)
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
    return rc < 0 ? rc : detach(k, err);
}

/* The snapshot. */

static int open_snapshot(struct keeper *k, struct error *err)
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

static bool was_paused(const struct keeper *k)
{
    const char *state = snapshot_reader_summary(k->reader)->run_state;

    return state[0] && strcmp(state, "running") != 0;
}

static int check_world(struct keeper *k, struct error *err)
{
    int rc = preflight_original(k->facts, err);

    if (rc == 0)
        rc = preflight_disks(k->facts, &k->lists, err);
    if (rc < 0)
        return rc;
    if (k->args->disks_changed_ok) {
        tell_notes(k, k->lists.differences, 0);
    } else if (json_array_size(k->lists.differences) > 0) {
        judge(k, err);
        return error_hint(err,
                          "memory of then on disks of now destroys file "
                          "systems; --disks-changed-ok if you know better");
    }
    return 0;
}

/* QEMU. */

static int start_qemu(struct keeper *k, struct error *err)
{
    cleanup_qemu_command struct qemu_command command = {0};
    cleanup_free char *qmp_path = NULL;
    struct qemu_command_args args = {
        .recorded = json_path(k->facts, "process.argv"),
        .given = k->args->command,
        .paused = was_paused(k),
    };
    int rc =
        runtime_folder_name(k->folder, k->args->id, "qmp.sock", &qmp_path, err);

    args.qmp_path = qmp_path;
    if (rc == 0)
        rc = qemu_command_build(&args, &command, err);
    if (rc < 0)
        return rc;
    k->preloads_ram = command.preloads_ram;
    return target_start(
        &k->target,
        &(struct target_start_args){
            .argv = command.argv,
            .cwd = k->args->command
                       ? NULL
                       : json_path_str(k->facts, "process.cwd", NULL),
            .qmp_path = qmp_path,
            .log_path = k->log_path,
            .log_fd = k->log_fd,
        },
        err);
}

static int find_qemu(struct keeper *k, struct error *err)
{
    int rc = target_attach(&k->target, k->args->qmp_path, err);

    k->preloads_ram = true; /* who knows */
    if (rc == 0 && was_paused(k) && !k->args->eager)
        note(k, "the snapshot is of a paused VM; unless this QEMU was started "
                "with -S, it will run");
    return rc;
}

static int check_machine(struct keeper *k, struct error *err)
{
    int rc = vm_facts_query(k->target.qmp, NULL, &k->target_facts, err);

    if (rc == 0)
        rc = preflight_machine(k->facts, snapshot_reader_blocks(k->reader),
                               k->target_facts, &k->lists, err);
    if (rc == 0)
        rc = judge(k, err);
    if (rc == 0 && !k->args->eager)
        rc = target_check_backends(&k->target, k->target_facts, err);
    return rc;
}

/* The monitor takes descriptors only while its main loop lives, so all that
 * later pagers will need are given to it before anything is fed. */
static int deposit_spares(struct keeper *k, struct error *err)
{
    for (unsigned i = 0; i < FEEDING_SPARES; i++) {
        cleanup_close int theirs = -1;
        char name[32];
        int fds[2];
        int rc;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
            return fail_errno(err, ERR_IO, "cannot make a pair of sockets");
        k->spares[i] = fds[0];
        theirs = fds[1];
        snprintf(name, sizeof(name), "firn-recover-%u", i);
        rc = qmp_send_fd(k->target.qmp, name, theirs, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int connect_target(struct keeper *k, struct error *err)
{
    cleanup_free char *path = NULL;
    int rc = target_set_capabilities(&k->target, !k->args->eager, err);

    if (rc == 0 && !k->args->eager)
        rc = deposit_spares(k, err);
    if (rc == 0)
        rc = runtime_folder_name(k->folder, k->args->id, "in.sock", &path, err);
    if (rc == 0)
        rc = target_connect(&k->target, path, &k->socket, err);
    if (rc == 0 && k->target.pid > 0)
        rc = lease_add_process(k->lease, k->target.pid, err);
    return rc;
}

/* Feeding. */

static int write_state(struct keeper *k, struct error *err)
{
    cleanup_free char *path = NULL;
    cleanup_json json_t *state =
        json_pack("{s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:I}", "state", 1,
                  "snapshot", k->args->id, "repository", k->repository_path,
                  "qmp", k->target.qmp_path, "qemu_pid",
                  (json_int_t)k->target.pid, "qemu_start_ticks",
                  (json_int_t)k->target.start_ticks, "keeper_pid",
                  (json_int_t)getpid(), "uuid",
                  json_path_str(k->target_facts, "uuid", ""), "ram_section_id",
                  (json_int_t)snapshot_reader_ram_section_id(k->reader));
    int rc = runtime_folder_name(k->folder, k->args->id, "json", &path, err);

    if (rc < 0)
        return rc;
    if (!state)
        return fail_nomem(err);
    rc = runtime_state_write(path, state, err);
    if (rc == 0)
        k->state_path = steal_ptr(&path);
    return rc;
}

/* Main memory, freshly made: the one block that is known to be zero. */
static const char *zeroed_block(const struct keeper *k)
{
    const struct ramblock_list *blocks = snapshot_reader_blocks(k->reader);
    uint32_t i = ramblock_list_find(blocks, "pc.ram");

    if (k->preloads_ram || i == RAMBLOCK_NOT_FOUND)
        return NULL;
    return blocks->blocks[i].idstr;
}

static int make_assignment(struct keeper *k, json_t **ret, struct error *err)
{
    const struct ramblock_list *blocks = snapshot_reader_blocks(k->reader);
    const char *zeroed = zeroed_block(k);
    cleanup_json json_t *pages = json_object();
    cleanup_json json_t *feed =
        json_pack("{s:s, s:s, s:s, s:b, s:b, s:O}", "type", "feed",
                  "repository", k->repository_path, "snapshot", k->args->id,
                  "eager", (int)k->args->eager, "resume", 0, "host_pages",
                  pages);

    if (!feed)
        return fail_nomem(err);
    for (uint32_t i = 0; i < blocks->n; i++) {
        const char *idstr = blocks->blocks[i].idstr;
        uint64_t bytes = preflight_host_page(k->target_facts, idstr);

        if (json_object_set_new(pages, idstr, json_integer((json_int_t)bytes)) <
            0)
            return fail_nomem(err);
    }
    if (zeroed &&
        json_object_set_new(feed, "zeroed_block", json_string(zeroed)) < 0)
        return fail_nomem(err);
    *ret = steal_ptr(&feed);
    return 0;
}

static int feed(struct keeper *k, bool *ret_ran, struct error *err)
{
    cleanup_json json_t *assignment = NULL;
    struct feeding_args args = {
        .job = k->args,
        .target = &k->target,
        .front = k->front,
        .lease = k->lease,
        .begun_ns = k->begun_ns,
        .blocks = snapshot_reader_blocks(k->reader),
        .paused = was_paused(k) && (k->target.ours || k->args->eager),
    };
    int rc = make_assignment(k, &assignment, err);

    if (rc == 0)
        rc = write_state(k, err);
    if (rc < 0)
        return rc;
    args.feed = assignment;
    args.socket = steal_fd(&k->socket);
    memcpy(args.spares, k->spares, sizeof(args.spares));
    rc = feeding_run(&args, ret_ran, err);
    memcpy(k->spares, args.spares, sizeof(args.spares));
    return rc;
}

/* The whole. */

static int run(struct keeper *k, bool *ret_ran, struct error *err)
{
    int rc = begin(k, err);

    if (rc == 0)
        rc = open_snapshot(k, err);
    if (rc == 0)
        rc = check_world(k, err);
    if (rc == 0)
        rc = k->args->qmp_path ? find_qemu(k, err) : start_qemu(k, err);
    if (rc == 0)
        rc = check_machine(k, err);
    if (rc < 0)
        return rc;
    if (k->args->dry_run) {
        /* A QEMU of somebody else is only asked. */
        if (k->target.ours && !k->args->eager)
            rc = target_set_capabilities(&k->target, true, err);
        return rc;
    }
    rc = connect_target(k, err);
    return rc < 0 ? rc : feed(k, ret_ran, err);
}

static void release(struct keeper *k)
{
    for (unsigned i = 0; i < FEEDING_SPARES; i++) {
        if (k->spares[i] >= 0)
            close(k->spares[i]);
    }
    if (k->socket >= 0)
        close(k->socket);
    if (k->state_path)
        unlink(k->state_path);
    json_decref(k->target_facts);
    json_decref(k->lists.differences);
    json_decref(k->lists.notes);
    target_release(&k->target);
    snapshot_reader_close(k->reader);
    lease_release(k->lease);
    repository_close(k->repository);
    free(k->repository_path);
    free(k->folder);
    free(k->log_path);
    free(k->own_log_path);
    free(k->state_path);
    if (k->stop.fd >= 0)
        stopper_release(&k->stop);
}

/* A VM that runs without all its pages still uses the repository: its lease
 * lives as long as QEMU, and the state file says where it came from. */
static void leave_traces(struct keeper *k)
{
    lease_forget(steal_ptr(&k->lease));
    free(steal_ptr(&k->state_path));
}

static bool is_empty(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_size == 0;
}

static void end(struct keeper *k, int rc, bool ran)
{
    /* A QEMU of somebody else is left alone, fed or not. */
    if (k->target.ours && ((rc < 0 && !ran) || k->args->dry_run))
        target_kill(&k->target);
    if (k->log_path && !(ran && k->target.ours))
        unlink(k->log_path);
    if (k->own_log_path && is_empty(k->own_log_fd))
        unlink(k->own_log_path);
    if (rc < 0 && ran && k->target.pid > 0 &&
        process_alive(k->target.pid, k->target.start_ticks))
        leave_traces(k);
}

void keeper_main(const struct restore_args *args, uint64_t begun_ns,
                 pid_t front_pid, struct link *front)
{
    struct error err = ERROR_INIT;
    struct keeper k = {
        .args = args,
        .begun_ns = begun_ns,
        .front_pid = front_pid,
        .front = front,
        .stop = {.fd = -1},
        .log_fd = -1,
        .own_log_fd = -1,
        .socket = -1,
        .lists = {.differences = json_array(), .notes = json_array()},
    };
    bool ran = false;
    int rc;

    for (unsigned i = 0; i < FEEDING_SPARES; i++)
        k.spares[i] = -1;
    k.target.stop = &k.stop;
    rc = k.lists.differences && k.lists.notes ? run(&k, &ran, &err)
                                              : fail_nomem(&err);
    end(&k, rc, ran);
    release(&k);
    /* The last line, and nothing is left to be done behind it. */
    tell(&k, rc < 0 ? link_error_message(&err)
                    : json_pack("{s:s}", "type", "done"));
}

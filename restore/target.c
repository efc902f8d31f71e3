/*
 * target.c - QEMU before, during and after its memory comes.
 *
 * Pid and start time are learned when the monitor answers, so that a pid that
 * was given to another process later is not taken for QEMU. While QEMU starts,
 * the monitor is tried every millisecond, for that wait is part of every
 * restore; its end is noticed by pidfd, so that a wrong option is told at once.
 * A QEMU of ours is killed if need be; one that was found is told to quit.
 */
#include "restore/target.h"

#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/vfs.h>

#include "core/base/clock.h"
#include "core/host/process.h"
#include "restore/runtime_folder.h"

#define LOG_AREA "target"
#include "core/base/log.h"

#define PREEMPT_QEMU_MAJOR 10

#define START_LIMIT_NS (30 * NS_PER_SEC)
#define START_PAUSE_NS (1 * NS_PER_MS) /* QEMU needs 30 ms to its monitor */
#define QUIT_LIMIT_NS  (2 * NS_PER_SEC)

/* Starting. */

static void learn_pid(struct target *t, pid_t pid)
{
    struct error ignored = ERROR_INIT;

    t->pid = pid;
    if (process_start_time(pid, &t->start_ticks, &ignored) < 0)
        t->pid = 0;
}

static int open_monitor(struct target *t, const char *path, struct error *err)
{
    struct qmp_open_args args = {
        .path = path,
        .stop = t->stop,
        .oob = true,
    };
    int rc = qmp_session_open(&args, &t->qmp, err);

    if (rc < 0)
        return rc;
    if (!t->qmp_path)
        t->qmp_path = realpath(path, NULL);
    return t->qmp_path ? 0 : fail_nomem(err);
}

/* Sleeps for a moment, or until the process ends. */
static void pause_for(const struct qemu_process *p, uint64_t ns)
{
    int fd = pidfd_open(p->pid, 0);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    struct timespec t = {
        .tv_sec = (time_t)(ns / NS_PER_SEC),
        .tv_nsec = (long)(ns % NS_PER_SEC),
    };

    if (ppoll(&polled, 1, &t, NULL) < 0)
        log_debug("ppoll: errno %d", errno);
    if (fd >= 0)
        close(fd);
}

static int await_monitor(struct target *t, const char *path, struct error *err)
{
    uint64_t deadline_ns = clock_monotonic_ns() + START_LIMIT_NS;

    for (;;) {
        struct error why = ERROR_INIT;

        if (stopper_pulled(t->stop))
            return stopper_error(t->stop, err);
        if (open_monitor(t, path, &why) == 0)
            return 0;
        if (qemu_process_ended(&t->process))
            return qemu_process_error(&t->process, err);
        if (clock_monotonic_ns() >= deadline_ns ||
            (why.sys_errno != ENOENT && why.sys_errno != ECONNREFUSED))
            return error_copy(err, &why);
        pause_for(&t->process, START_PAUSE_NS);
    }
}

int target_start(struct target *t, const struct target_start_args *args,
                 struct error *err)
{
    struct qemu_process_args process = {
        .argv = args->argv,
        .cwd = args->cwd,
        .log_path = args->log_path,
        .log_fd = args->log_fd,
    };
    int rc = qemu_process_start(&process, &t->process, err);

    if (rc < 0)
        return rc;
    t->ours = true;
    t->qmp_path = strdup(args->qmp_path);
    learn_pid(t, t->process.pid);
    return await_monitor(t, args->qmp_path, err);
}

int target_run_state(struct target *t, char **ret, struct error *err)
{
    cleanup_json json_t *answer = NULL;
    int rc = qmp_execute(t->qmp, "query-status", NULL, &answer, err);

    if (rc < 0)
        return rc;
    *ret = strdup(json_path_str(answer, "status", ""));
    return *ret ? 0 : fail_nomem(err);
}

int target_attach(struct target *t, const char *qmp_path, struct error *err)
{
    cleanup_free char *state = NULL;
    int rc = open_monitor(t, qmp_path, err);

    if (rc < 0)
        return rc;
    learn_pid(t, qmp_session_peer_pid(t->qmp));
    rc = target_run_state(t, &state, err);
    if (rc < 0)
        return rc;
    if (strcmp(state, "inmigrate") == 0)
        return 0;
    fail(err, ERR_INCOMPATIBLE,
         "the VM at '%s' does not wait for a snapshot, it is '%s'", qmp_path,
         state);
    return error_hint(err, "start QEMU with -incoming defer");
}

int target_adopt(struct target *t, const char *qmp_path, pid_t pid,
                 struct error *err)
{
    learn_pid(t, pid);
    return open_monitor(t, qmp_path, err);
}

int target_inherit(struct target *t, const char *qmp_path, pid_t pid, int fd,
                   struct error *err)
{
    struct qmp_open_args args = {.path = qmp_path, .stop = t->stop};
    int rc = qmp_session_adopt(&args, fd, &t->qmp, err);

    if (rc < 0)
        return rc;
    learn_pid(t, pid);
    t->qmp_path = strdup(qmp_path);
    return t->qmp_path ? 0 : fail_nomem(err);
}

/* Capabilities. */

/* blocktime only counts, for whoever asked QEMU for it. */
static bool wanted_state(const struct target_capabilities *wanted,
                         const char *capability, bool as_found)
{
    if (strcmp(capability, "postcopy-ram") == 0)
        return wanted->postcopy;
    if (strcmp(capability, "postcopy-preempt") == 0)
        return wanted->preempt;
    if (strcmp(capability, "postcopy-blocktime") == 0)
        return as_found || wanted->blocktime;
    return strcmp(capability, "events") == 0;
}

/* QEMU 7.2 gives its reason on standard error only. */
static int postcopy_refused(struct target *t, struct error *err)
{
    cleanup_free char *said =
        t->ours ? runtime_log_tail(t->process.log_path, 200) : NULL;

    if (!strstr(err->message, "ostcopy"))
        return err->code;
    fail(err, ERR_UNSUPPORTED, "QEMU refuses a lazy restore: %s%s%s",
         qmp_error_desc(t->qmp), said && said[0] ? "; " : "", said ? said : "");
    return error_hint(err,
                      "it may need the right to use userfaultfd: sysctl -w "
                      "vm.unprivileged_userfaultfd=1, or (QEMU 10) access to "
                      "/dev/userfaultfd for its user; or restore with --eager");
}

int target_set_capabilities(struct target *t,
                            const struct target_capabilities *wanted,
                            struct error *err)
{
    cleanup_json json_t *known = NULL;
    cleanup_json json_t *states = json_array();
    const json_t *item;
    size_t i;
    int rc =
        qmp_execute(t->qmp, "query-migrate-capabilities", NULL, &known, err);

    if (rc < 0)
        return rc;
    json_array_foreach(known, i, item)
    {
        const char *name = json_path_str(item, "capability", "");

        json_array_append_new(
            states,
            json_pack("{s:s, s:b}", "capability", name, "state",
                      (int)wanted_state(wanted, name,
                                        json_path_bool(item, "state", false))));
    }
    rc = qmp_execute(t->qmp, "migrate-set-capabilities",
                     json_pack("{s:O}", "capabilities", states), NULL, err);
    return rc == ERR_UNSUPPORTED && wanted->postcopy ? postcopy_refused(t, err)
                                                     : rc;
}

/*
 * QEMU 7.2 dies of a recovery that breaks between the two connections, and
 * before 9.1 the devices are loaded, and may wait for a page, although nobody
 * has accepted the connection it comes through. QMP tells neither.
 */
int target_check_preempt(struct target *t, struct error *err)
{
    int major = 0;
    int minor = 0;
    int micro = 0;

    qmp_session_version(t->qmp, &major, &minor, &micro);
    if (major >= PREEMPT_QEMU_MAJOR)
        return 0;
    fail(err, ERR_UNSUPPORTED,
         "--preempt needs QEMU %d; in QEMU %d.%d.%d a VM may be lost by it",
         PREEMPT_QEMU_MAJOR, major, minor, micro);
    return error_hint(err, "restore without --preempt");
}

/* Backends. */

static int check_backend_file(const char *id, const char *path,
                              struct error *err)
{
    struct statfs fs;

    if (statfs(path, &fs) < 0) {
        log_debug("statfs '%s': errno %d", path, errno);
        return 0;
    }
    if (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC ||
        fs.f_type == RAMFS_MAGIC)
        return 0;
    fail(err, ERR_UNSUPPORTED,
         "memory '%s' lies in the file '%s' on a disk; a lazy restore needs "
         "anonymous memory, tmpfs or hugetlbfs",
         id, path);
    return error_hint(err, "restore it with --eager");
}

int target_check_backends(struct target *t, const json_t *facts,
                          struct error *err)
{
    const json_t *backends = json_path(facts, "memory.backends");
    const json_t *backend;
    size_t i;

    json_array_foreach((json_t *)backends, i, backend)
    {
        const char *id = json_path_str(backend, "id", "");
        cleanup_json json_t *path = NULL;
        struct error none = ERROR_INIT;
        char object[300];
        int rc;

        snprintf(object, sizeof(object), "/objects/%s", id);
        rc = qmp_execute(t->qmp, "qom-get",
                         json_pack("{s:s, s:s}", "path", object, "property",
                                   "mem-path"),
                         &path, &none);
        /* Refused: this backend is no file. */
        if (rc == ERR_UNSUPPORTED)
            continue;
        if (rc < 0)
            return error_copy(err, &none);
        rc = check_backend_file(id, json_string_value(path), err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int target_connect(struct target *t, const char *path, bool preempt,
                   struct connection *ret, struct error *err)
{
    cleanup_buf struct buf uri = BUF_INIT;
    int rc = buf_printf(&uri, err, "unix:%s", path);

    if (rc == 0)
        rc = qmp_execute(t->qmp, "migrate-incoming",
                         json_pack("{s:s}", "uri", buf_str(&uri)), NULL, err);
    if (rc < 0)
        return rc;
    rc = connection_open(path, preempt, ret, err);
    /* Nobody else is to find it; QEMU does not mind. */
    unlink(path);
    return rc;
}

int target_migration_state(struct target *t, char **ret, struct error *err)
{
    cleanup_json json_t *answer = NULL;
    int rc = qmp_execute(t->qmp, "query-migrate", NULL, &answer, err);

    if (rc < 0)
        return rc;
    *ret = strdup(json_path_str(answer, "status", ""));
    return *ret ? 0 : fail_nomem(err);
}

int target_postcopy_figures(struct target *t, json_t **ret, struct error *err)
{
    static const char prefix[] = "postcopy-";
    cleanup_json json_t *answer = NULL;
    cleanup_json json_t *figures = json_object();
    const char *name;
    json_t *value;
    int rc = qmp_execute(t->qmp, "query-migrate", NULL, &answer, err);

    if (rc < 0)
        return rc;
    json_object_foreach(answer, name, value)
    {
        if (strncmp(name, prefix, sizeof(prefix) - 1) == 0)
            json_object_set(figures, name, value);
    }
    *ret = steal_ptr(&figures);
    return *ret ? 0 : fail_nomem(err);
}

/* Ending. */

bool target_wait_end(struct target *t, uint64_t limit_ns)
{
    uint64_t deadline_ns = clock_monotonic_ns() + limit_ns;

    while (t->ours && !qemu_process_ended(&t->process)) {
        uint64_t now = clock_monotonic_ns();

        if (now >= deadline_ns)
            return false;
        pause_for(&t->process, deadline_ns - now);
    }
    return t->ours;
}

int target_explain(struct target *t, struct error *err)
{
    if (!t->ours || !t->process.ended)
        return err->code;
    return qemu_process_error(&t->process, err);
}

/* The one who listens at the socket need not be QEMU itself: a manager may
 * have made it and passed it on. */
static bool is_qemu(pid_t pid)
{
    cleanup_json json_t *argv = NULL;
    struct error ignored = ERROR_INIT;
    const char *program;

    if (process_command_line(pid, &argv, &ignored) < 0)
        return false;
    program = json_string_value(json_array_get(argv, 0));
    return program && strstr(program, "qemu");
}

/* A QEMU of somebody else is asked to quit; if its main loop waits for a page
 * that never comes, it cannot hear that. */
static void quit_foreign(struct target *t)
{
    struct error ignored = ERROR_INIT;
    uint64_t deadline_ns = clock_monotonic_ns() + QUIT_LIMIT_NS;
    struct pollfd polled = {.events = POLLIN};
    int pidfd = t->pid > 0 ? pidfd_open(t->pid, 0) : -1;

    if (pidfd < 0 || !process_alive(t->pid, t->start_ticks))
        goto out;
    if (qmp_execute(t->qmp, "quit", NULL, NULL, &ignored) < 0)
        log_debug("quit: %s", ignored.message);
    polled.fd = pidfd;
    if (poll(&polled, 1, clock_poll_ms(deadline_ns)) == 0 && is_qemu(t->pid))
        pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
out:
    if (pidfd >= 0)
        close(pidfd);
}

void target_kill(struct target *t)
{
    if (t->ours) {
        qemu_process_kill(&t->process);
        /* Killed, it could not remove it itself. */
        if (t->qmp_path)
            unlink(t->qmp_path);
    } else if (t->qmp) {
        quit_foreign(t);
    }
}

void target_release(struct target *t)
{
    qmp_session_close(t->qmp);
    qemu_process_release(&t->process);
    free(t->qmp_path);
    *t = (struct target){0};
}

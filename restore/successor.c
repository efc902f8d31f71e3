/*
 * A keeper that comes later: the VM runs, pages are owed to it, and whoever
 * brought them is gone.
 *
 *   state file         this VM, this snapshot, this repository; or nothing
 *   monitor            the one that a service manager kept, else negotiated
 *                      anew: QEMU can do that only while its main loop does not
 *                      wait for a page
 *   state of things    `completed`: nothing is left to be done
 *   spares             while the monitor answers
 *   the last pager     ended, if it still is there: it has no keeper, may hang
 *                      or wait beside damage that was repaired
 *   new state, vigil   which begins with a pager that is missing
 */
#include <signal.h>

#include "core/base/clock.h"
#include "restore/fd_store.h"
#include "restore/keeper_inside.h"

#define LOG_AREA "keeper"
#include "core/base/log.h"

#define STATE_LIMIT_MS 2000 /* of a main loop that may wait for a page */

static int find_vm(struct keeper *k, struct owed_vm *ret, struct error *err)
{
    struct owed_vm_query query = {
        .folder = k->folder,
        .repository_id = repository_id(k->repository),
        .snapshot = k->args->id,
        .qmp_path = k->args->qmp_path,
    };
    pid_t keeper;
    int rc = owed_vm_find(&query, ret, err);

    if (rc < 0)
        return rc;
    keeper = owed_vm_process(ret, "keeper");
    if (keeper)
        return fail(err, ERR_LOCKED, "process %d keeps the VM already",
                    (int)keeper);
    return 0;
}

/* Its main loop may wait: then it answers out of band only. */
static int inherit_monitor(struct keeper *k, const char *path, pid_t qemu,
                           int fd, struct error *err)
{
    k->inherited = true;
    return target_inherit(&k->target, path, qemu, fd, err);
}

static int open_monitor(struct keeper *k, const struct owed_vm *vm,
                        struct error *err)
{
    const char *path = k->args->qmp_path ? k->args->qmp_path
                                         : json_path_str(vm->state, "qmp", "");
    pid_t qemu = owed_vm_process(vm, "qemu");
    char name[FD_STORE_NAME_LEN];
    int kept;
    int rc;

    fd_store_name(qemu, name);
    kept = fd_store_take(name);
    if (kept >= 0)
        return inherit_monitor(k, path, qemu, kept, err);
    rc = target_adopt(&k->target, path, qemu, err);
    if (rc == ERR_PEER && k->target.pid > 0)
        error_hint(err, "QEMU may be waiting for a page in its main loop, "
                        "where no new monitor can be negotiated; or another "
                        "client holds this monitor");
    if (rc == 0 && !qmp_session_has_oob(k->target.qmp))
        rc = fail(err, ERR_UNSUPPORTED,
                  "the monitor at '%s' takes no out-of-band commands", path);
    return rc;
}

/* 1: a pager is needed; 0: there is nothing to be done. */
static int look_at_migration(struct keeper *k, struct error *err)
{
    static const char *const owed[] = {"postcopy-active", "postcopy-paused",
                                       "postcopy-recover",
                                       "postcopy-recover-setup"};
    cleanup_free char *state = NULL;
    struct error why = ERROR_INIT;
    unsigned before = qmp_session_set_timeout(k->target.qmp, STATE_LIMIT_MS);
    int rc = target_migration_state(&k->target, &state, &why);

    qmp_session_set_timeout(k->target.qmp, before);
    if (rc == ERR_PEER && k->inherited && qmp_session_owed(k->target.qmp) > 0) {
        keeper_note(k, "QEMU's main loop waits for a page; it is told out of "
                       "band where that comes from");
        return 1;
    }
    if (rc < 0)
        return error_copy(err, &why);
    if (strcmp(state, "completed") == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(owed); i++) {
        if (strcmp(state, owed[i]) == 0)
            return 1;
    }
    return fail(err, ERR_INCOMPATIBLE,
                "the VM waits for no pages: its migration is '%s'", state);
}

static void end_last_pager(const struct owed_vm *vm)
{
    pid_t pid = owed_vm_process(vm, "pager");

    if (pid > 0 && kill(pid, SIGKILL) < 0)
        log_debug("pager %d: errno %d", (int)pid, errno);
}

/* A main loop that waits takes no descriptors: then a socket will do. */
static int stock_up(struct keeper *k, struct error *err)
{
    struct error why = ERROR_INIT;
    int rc = keeper_stock_up(k, &why);

    if (rc == ERR_PEER && k->inherited && qmp_session_owed(k->target.qmp) > 0)
        return 0;
    return rc < 0 ? error_copy(err, &why) : 0;
}

static int take_over(struct keeper *k, struct owed_vm *vm, bool *ret_ran,
                     struct error *err)
{
    cleanup_json json_t *assignment =
        json_incref((json_t *)json_path(vm->state, "feed"));
    int rc = lease_add_process(k->lease, k->target.pid, err);

    k->recovery.preempt = json_path_bool(assignment, "preempt", false);
    if (rc == 0)
        rc = stock_up(k, err);
    if (rc == 0)
        rc = keeper_settle(k, json_deep_copy(vm->state), err);
    if (rc < 0)
        return rc;
    *ret_ran = true;
    /* From here on the new state is the one. */
    unlink(vm->path);
    end_last_pager(vm);
    return keeper_feed(k, assignment, ret_ran, err);
}

static int acknowledge_end(struct keeper *k, const struct owed_vm *vm,
                           struct error *err)
{
    int rc = 0;

    end_last_pager(vm);
    unlink(vm->path);
    keeper_note(k, "the VM has all its pages already");
    /* Its keeper ended during the head start. */
    if (json_path_int(vm->state, "feed.head_start_ms", 0) > 0)
        rc = qmp_execute(k->target.qmp, "cont", NULL, NULL, err);
    if (rc < 0)
        return rc;
    return target_set_capabilities(&k->target,
                                   &(struct target_capabilities){0}, err);
}

int keeper_succeed(struct keeper *k, bool *ret_ran, struct error *err)
{
    cleanup_owed_vm struct owed_vm vm = {0};
    int rc = find_vm(k, &vm, err);

    if (rc == 0 && !json_is_object(json_path(vm.state, "feed")))
        rc = fail(err, ERR_FORMAT, "the state file '%s' is not understood",
                  vm.path);
    if (rc == 0)
        rc = open_monitor(k, &vm, err);
    if (rc == 0)
        rc = look_at_migration(k, err);
    if (rc < 0)
        return rc;
    return rc == 0 ? acknowledge_end(k, &vm, err)
                   : take_over(k, &vm, ret_ran, err);
}

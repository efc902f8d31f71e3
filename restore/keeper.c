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
 *   state file, door, pager, vigil          keeper_process.c, feeding.c
 *
 * A keeper that comes later, to a VM that runs, does less: successor.c.
 *
 * The keeper has no second thread and keeps nothing of the snapshot but its
 * block list and facts, so that it does not die of what pagers may die of.
 */
#include "restore/keeper_inside.h"

#include <sys/stat.h>

#include "core/host/process.h"
#include "core/qmp/vm_facts.h"
#include "restore/fd_store.h"
#include "restore/machine/claims.h"
#include "restore/machine/generation_id.h"
#include "restore/machine/plugged_memory.h"
#include "restore/machine/qemu_command.h"
#include "restore/runtime_folder.h"
#include "storage/hints.h"

#define LOG_AREA "keeper"
#include "core/base/log.h"

/* By itself: until all hints are there, so long at most; a look tells when they
 * are far too many. They come in the order of touch, so the guest meets the rest
 * halfway. */
#define HEAD_START_MS      500u
#define HEAD_START_LOOK_MS 100u

/* Notes and differences. */

static void tell_notes(struct keeper *k, json_t *list, size_t from)
{
    for (size_t i = from; i < json_array_size(list); i++)
        keeper_note(k, json_string_value(json_array_get(list, i)));
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

/* The world. */

static int read_map(struct keeper *k, struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < k->args->n_map; i++)
        rc = command_map_add(&k->map, k->args->map[i], err);
    return rc;
}

static int check_world(struct keeper *k, struct error *err)
{
    int rc = read_map(k, err);

    if (rc == 0)
        rc = preflight_original(k->facts, k->map.n > 0 || k->args->new_identity,
                                &k->map, err);
    if (rc == 0)
        rc = preflight_disks(k->facts, &k->map, &k->lists, err);
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

/* A new GUID, where there is a device that shows it. */
static void note_identity(struct keeper *k, const struct qemu_command *command,
                          const char *guid)
{
    char text[200];

    if (command->has_generation_id)
        snprintf(text, sizeof(text), "the VM's generation id is %s", guid);
    else
        snprintf(text, sizeof(text),
                 "the VM has no vmgenid device: its guest cannot see that it "
                 "is a copy, and goes on with the same random numbers");
    keeper_note(k, text);
}

/* Sockets and disks that another VM has: QEMU would not start, or steal. */
static int check_claims(struct keeper *k, const struct qemu_command *command,
                        struct error *err)
{
    int rc = claims_check(command->argv, k->facts, &k->map,
                          k->lists.differences, err);

    if (rc == 0)
        rc = judge(k, err);
    if (rc == ERR_INCOMPATIBLE)
        error_hint(err, "for a second VM, --map OLD=NEW gives it sockets and "
                        "disks of its own");
    return rc;
}

static bool has_hints(const struct keeper *k)
{
    cleanup(hints) struct hints h = {0};
    struct error why = ERROR_INIT;

    if (!k->args->prefetch)
        return false;
    if (hints_load(k->repository, k->args->id, &h, &why) < 0)
        log_debug("%s", why.message);
    for (size_t i = 0; i < h.n; i++) {
        if (hint_is_wanted(&h, i))
            return true;
    }
    return false;
}

/* QEMU waits with -S while hints are sent, unless that is for us to end. */
static uint64_t choose_head_start(const struct keeper *k)
{
    if (k->args->eager || keeper_was_paused(k))
        return 0;
    if (k->args->head_start_ms != RESTORE_HEAD_START_AUTO)
        return k->args->head_start_ms;
    return has_hints(k) ? HEAD_START_MS : 0;
}

static int build_command(struct keeper *k, const char *qmp_path,
                         struct qemu_command *ret, struct error *err)
{
    cleanup_json json_t *plugged = NULL;
    char guid[GENERATION_ID_LEN + 1];
    struct qemu_command_args args = {
        .recorded = json_path(k->facts, "process.argv"),
        .given = k->args->command,
        .paused = keeper_was_paused(k) || k->head_start_ms > 0,
        .qmp_path = qmp_path,
        .map = &k->map,
    };
    int rc = k->args->new_identity ? generation_id_new(guid, err) : 0;

    if (rc < 0)
        return rc;
    if (k->args->new_identity)
        args.generation_id = guid;
    /* A given command line says itself what it has. */
    if (!k->args->command) {
        rc = plugged_memory_arguments(k->facts, k->lists.notes, &plugged, err);
        if (rc < 0)
            return rc;
        args.more = plugged;
    }
    rc = qemu_command_build(&args, ret, err);
    if (rc == 0 && k->args->new_identity)
        note_identity(k, ret, guid);
    return rc < 0 ? rc : check_claims(k, ret, err);
}

static int start_qemu(struct keeper *k, struct error *err)
{
    cleanup_qemu_command struct qemu_command command = {0};
    cleanup_free char *qmp_path = NULL;
    int rc =
        runtime_folder_name(k->folder, k->args->id, "qmp.sock", &qmp_path, err);

    k->head_start_ms = choose_head_start(k);
    if (rc == 0)
        rc = build_command(k, qmp_path, &command, err);
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
    if (rc == 0 && keeper_was_paused(k) && !k->args->eager)
        keeper_note(
            k, "the snapshot is of a paused VM; unless this QEMU was started "
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

static int set_capabilities(struct keeper *k, struct error *err)
{
    struct target_capabilities wanted = {
        .postcopy = !k->args->eager,
        .preempt = k->args->preempt,
        .blocktime = k->args->blocktime,
    };
    int rc = k->args->preempt ? target_check_preempt(&k->target, err) : 0;

    return rc < 0 ? rc : target_set_capabilities(&k->target, &wanted, err);
}

static int connect_target(struct keeper *k, struct error *err)
{
    cleanup_free char *path = NULL;
    int rc = set_capabilities(k, err);

    k->recovery.preempt = k->args->preempt;
    if (rc == 0 && !k->args->eager)
        rc = keeper_stock_up(k, err);
    if (rc == 0)
        rc = runtime_folder_name(k->folder, k->args->id, "in.sock", &path, err);
    if (rc == 0)
        rc = target_connect(&k->target, path, k->args->preempt,
                            &k->connection, err);
    if (rc == 0 && k->target.pid > 0)
        rc = lease_add_process(k->lease, k->target.pid, err);
    return rc;
}

/* Feeding. */

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
        json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:I, s:I, s:I, s:O}",
                  "type", "feed", "repository", k->repository_path, "snapshot",
                  k->args->id, "eager", (int)k->args->eager, "resume", 0,
                  "prefetch", (int)k->args->prefetch, "fill",
                  (int)k->args->fill, "preempt", (int)k->args->preempt,
                  "blocktime", (int)k->args->blocktime, "max_bandwidth",
                  (json_int_t)k->args->max_bandwidth, "settle_ms",
                  (json_int_t)k->args->settle_ms, "head_start_ms",
                  (json_int_t)k->head_start_ms, "host_pages", pages);

    if (!feed)
        return fail_nomem(err);
    if (k->args->head_start_ms == RESTORE_HEAD_START_AUTO)
        json_object_set_new(feed, "head_start_look_ms",
                            json_integer(HEAD_START_LOOK_MS));
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

static json_t *describe_vm(const struct keeper *k)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "snapshot",
                     k->args->id, "repository", k->repository_path,
                     "repository_id", repository_id(k->repository), "qmp",
                     k->target.qmp_path, "uuid",
                     json_path_str(k->target_facts, "uuid", ""), "name",
                     json_path_str(k->target_facts, "name", ""),
                     "ram_section_id",
                     (json_int_t)snapshot_reader_ram_section_id(k->reader));
}

static int feed(struct keeper *k, bool *ret_ran, struct error *err)
{
    cleanup_json json_t *assignment = NULL;
    cleanup_json json_t *state = NULL;
    int rc = make_assignment(k, &assignment, err);

    if (rc < 0)
        return rc;
    state = describe_vm(k);
    if (!state || json_object_set(state, "feed", assignment) < 0)
        return fail_nomem(err);
    rc = keeper_settle(k, steal_ptr(&state), err);
    return rc < 0 ? rc : keeper_feed(k, assignment, ret_ran, err);
}

/* The whole. */

static int run(struct keeper *k, bool *ret_ran, struct error *err)
{
    int rc = keeper_begin(k, err);

    if (rc == 0)
        rc = keeper_open_snapshot(k, err);
    if (rc == 0 && k->args->resume)
        return keeper_succeed(k, ret_ran, err);
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
            rc = set_capabilities(k, err);
        return rc;
    }
    rc = connect_target(k, err);
    return rc < 0 ? rc : feed(k, ret_ran, err);
}

static void release(struct keeper *k)
{
    recovery_release(&k->recovery);
    connection_close(&k->connection);
    if (k->vm.path)
        unlink(k->vm.path);
    owed_vm_release(&k->vm);
    if (k->door >= 0)
        close(k->door);
    if (k->door_path)
        unlink(k->door_path);
    free(k->door_path);
    command_map_release(&k->map);
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
    if (k->stop.fd >= 0)
        stopper_release(&k->stop);
}

/* A VM that runs without all its pages still uses the repository: its lease
 * lives as long as QEMU, and the state file says where it came from. */
static void leave_traces(struct keeper *k)
{
    lease_forget(steal_ptr(&k->lease));
    free(steal_ptr(&k->vm.path));
}

static void forget_monitor(const struct keeper *k)
{
    char name[FD_STORE_NAME_LEN];

    fd_store_name(k->target.pid, name);
    fd_store_remove(name);
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
    else if (k->vm.path)
        forget_monitor(k);
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
        .door = -1,
        .connection = CONNECTION_NONE,
        .lists = {.differences = json_array(), .notes = json_array()},
    };
    bool ran = false;
    int rc;

    recovery_init(&k.recovery);
    k.target.stop = &k.stop;
    rc = k.lists.differences && k.lists.notes ? run(&k, &ran, &err)
                                              : fail_nomem(&err);
    end(&k, rc, ran);
    release(&k);
    /* The last line, and nothing is left to be done behind it. */
    keeper_tell(&k, rc < 0 ? link_error_message(&err)
                           : json_pack("{s:s}", "type", "done"));
}

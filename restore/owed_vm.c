/*
 * owed_vm.c - state files: who lives, who feeds whom, of what.
 *
 * A file is believed only as far as it can be checked: pids count with their
 * start times and within one boot, the VM's with its monitor. So a file that
 * was left behind names nobody, and a pid that was given to another process is
 * no keeper of ours.
 */
#include "restore/owed_vm.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>

#include "core/base/channel.h"
#include "core/base/path.h"
#include "core/host/process.h"
#include "restore/runtime_folder.h"

#define STATE_MAX_BYTES (1u << 20)
#define STATE_VERSION   2

/* One state. */

int owed_vm_begin(struct owed_vm *vm, const char *path, json_t *state,
                  struct error *err)
{
    char boot[BOOT_ID_LEN + 1];
    int rc = state ? process_boot_id(boot, err) : fail_nomem(err);

    vm->state = state;
    vm->path = strdup(path);
    if (rc < 0)
        return rc;
    if (!vm->path ||
        json_object_set_new(state, "state", json_integer(STATE_VERSION)) < 0 ||
        json_object_set_new(state, "boot_id", json_string(boot)) < 0)
        return fail_nomem(err);
    return 0;
}

int owed_vm_set_process(struct owed_vm *vm, const char *role, pid_t pid,
                        struct error *err)
{
    struct error ignored = ERROR_INIT;
    uint64_t ticks = 0;
    char key[40];

    /* One that has ended already is none. */
    if (process_start_time(pid, &ticks, &ignored) < 0)
        pid = 0;
    snprintf(key, sizeof(key), "%s_pid", role);
    if (json_object_set_new(vm->state, key, json_integer((json_int_t)pid)) < 0)
        return fail_nomem(err);
    snprintf(key, sizeof(key), "%s_start_ticks", role);
    if (json_object_set_new(vm->state, key, json_integer((json_int_t)ticks)) <
        0)
        return fail_nomem(err);
    return 0;
}

pid_t owed_vm_process(const struct owed_vm *vm, const char *role)
{
    struct error ignored = ERROR_INIT;
    char boot[BOOT_ID_LEN + 1];
    char key[40];
    int64_t pid;

    if (process_boot_id(boot, &ignored) < 0 ||
        strcmp(boot, json_path_str(vm->state, "boot_id", "")) != 0)
        return 0;
    snprintf(key, sizeof(key), "%s_pid", role);
    pid = json_path_int(vm->state, key, 0);
    snprintf(key, sizeof(key), "%s_start_ticks", role);
    if (pid <= 0 ||
        !process_alive((pid_t)pid, (uint64_t)json_path_int(vm->state, key, 0)))
        return 0;
    return (pid_t)pid;
}

int owed_vm_write(const struct owed_vm *vm, struct error *err)
{
    return runtime_state_write(vm->path, vm->state, err);
}

void owed_vm_release(struct owed_vm *vm)
{
    free(vm->path);
    json_decref(vm->state);
    *vm = (struct owed_vm){0};
}

/* All of them. */

static bool load(const char *folder, const char *name, struct owed_vm *ret)
{
    struct error ignored = ERROR_INIT;
    cleanup_owed_vm struct owed_vm vm = {0};
    cleanup_buf struct buf text = BUF_INIT;

    if (!strstr(name, ".json") ||
        path_join(folder, name, &vm.path, &ignored) < 0 ||
        path_read_file(AT_FDCWD, vm.path, STATE_MAX_BYTES, &text, &ignored) <
            0 ||
        json_parse(text.data, text.len, &vm.state, &ignored) < 0 ||
        json_path_int(vm.state, "state", 0) != STATE_VERSION ||
        owed_vm_process(&vm, "qemu") == 0)
        return false;
    *ret = vm;
    vm = (struct owed_vm){0};
    return true;
}

static bool is_same_file(const char *a, const char *b)
{
    cleanup_free char *real_a = realpath(a, NULL);
    cleanup_free char *real_b = realpath(b, NULL);

    return real_a && real_b && strcmp(real_a, real_b) == 0;
}

/* The process that listens there; asking costs QEMU a client that leaves. */
static pid_t listener_of(const char *qmp_path)
{
    struct error ignored = ERROR_INIT;
    struct channel_peer peer;
    cleanup_close int fd = -1;

    if (channel_connect(qmp_path, &fd, &ignored) < 0 ||
        channel_peer(fd, &peer, &ignored) < 0)
        return 0;
    return peer.pid;
}

static bool is_made_of(const struct owed_vm *vm, const struct owed_vm_query *q)
{
    return strcmp(json_path_str(vm->state, "snapshot", ""), q->snapshot) == 0 &&
           strcmp(json_path_str(vm->state, "repository_id", ""),
                  q->repository_id) == 0;
}

struct search {
    const struct owed_vm_query *query;
    pid_t listener; /* -1: not looked for yet */
    struct owed_vm found;
    unsigned n;
    char pids[200];
};

static bool is_wanted(struct search *s, const struct owed_vm *vm)
{
    if (!s->query->qmp_path)
        return is_made_of(vm, s->query);
    if (is_same_file(json_path_str(vm->state, "qmp", ""), s->query->qmp_path))
        return true;
    if (s->listener < 0)
        s->listener = listener_of(s->query->qmp_path);
    return owed_vm_process(vm, "qemu") == s->listener;
}

static void look_at(struct search *s, const char *name)
{
    cleanup_owed_vm struct owed_vm vm = {0};
    size_t len = strlen(s->pids);

    if (!load(s->query->folder, name, &vm) || !is_wanted(s, &vm))
        return;
    snprintf(s->pids + len, sizeof(s->pids) - len, "%s%d", s->n ? ", " : "",
             (int)owed_vm_process(&vm, "qemu"));
    s->n++;
    owed_vm_release(&s->found);
    s->found = vm;
    vm = (struct owed_vm){0};
}

static int look_at_all(struct search *s, struct error *err)
{
    DIR *dir = opendir(s->query->folder);
    struct dirent *entry;

    if (!dir)
        return fail_errno(err, ERR_IO, "cannot read the runtime folder '%s'",
                          s->query->folder);
    while ((entry = readdir(dir)))
        look_at(s, entry->d_name);
    closedir(dir);
    return 0;
}

static int none_found(const struct owed_vm_query *q, struct error *err)
{
    if (!q->qmp_path)
        return fail(err, ERR_NOTFOUND,
                    "no VM of snapshot '%s' waits for pages here", q->snapshot);
    fail(err, ERR_INCOMPATIBLE,
         "nothing in '%s' says that the VM at '%s' waits for pages of a "
         "snapshot",
         q->folder, q->qmp_path);
    return error_hint(err,
                      "pages of the wrong snapshot would corrupt it; the "
                      "runtime folder is that of the user who restored it");
}

static int check_origin(const struct owed_vm_query *q, const struct owed_vm *vm,
                        struct error *err)
{
    const char *snapshot = json_path_str(vm->state, "snapshot", "?");

    if (strcmp(snapshot, q->snapshot) != 0)
        return fail(err, ERR_INCOMPATIBLE,
                    "the VM at '%s' was made of snapshot '%s', not of '%s'",
                    q->qmp_path, snapshot, q->snapshot);
    if (!is_made_of(vm, q))
        return fail(err, ERR_INCOMPATIBLE,
                    "the VM at '%s' was made of a snapshot in another "
                    "repository, '%s'",
                    q->qmp_path, json_path_str(vm->state, "repository", "?"));
    return 0;
}

int owed_vm_find(const struct owed_vm_query *query, struct owed_vm *ret,
                 struct error *err)
{
    struct search s = {.query = query, .listener = -1};
    int rc = look_at_all(&s, err);

    if (rc == 0 && s.n == 0)
        rc = none_found(query, err);
    if (rc == 0 && s.n > 1) {
        fail(err, ERR_USAGE,
             "%u VMs of the snapshot wait for pages: "
             "processes %s",
             s.n, s.pids);
        rc = error_hint(err, "name one with --qmp SOCKET");
    }
    if (rc == 0 && query->qmp_path)
        rc = check_origin(query, &s.found, err);
    if (rc < 0) {
        owed_vm_release(&s.found);
        return rc;
    }
    *ret = s.found;
    return 0;
}

/*
 * Questions only: no capability is set and no command is sent that changes
 * anything, so that `doctor` may look at a VM that somebody else is migrating.
 */
#include "cli/doctor.h"
#include "core/qmp/qmp_message.h"
#include "core/qmp/qmp_session.h"
#include "snapshot/capture_mode.h"

/* What is asked of a VM, for the judgements that need more than one answer. */
struct vm {
    struct qmp_session *qmp;
    int major;
    int minor;
    bool kvm;
    char run_state[32];
    json_t *migration;    /* query-migrate */
    json_t *capabilities; /* array of query-migrate-capabilities */
    json_t *backends;     /* array of query-memdev */
};

/* A question that this QEMU does not answer gives NULL. */
static int ask(struct vm *vm, const char *command, json_t **ret,
               struct error *err)
{
    struct error why = ERROR_INIT;
    int rc = qmp_execute(vm->qmp, command, NULL, ret, &why);

    if (rc == ERR_UNSUPPORTED) {
        *ret = NULL;
        return 0;
    }
    return rc < 0 ? error_copy(err, &why) : 0;
}

static int query(struct vm *vm, struct error *err)
{
    cleanup_json json_t *status = NULL;
    cleanup_json json_t *kvm = NULL;
    int micro;
    int rc = ask(vm, "query-status", &status, err);

    if (rc == 0)
        rc = ask(vm, "query-kvm", &kvm, err);
    if (rc == 0)
        rc = ask(vm, "query-migrate", &vm->migration, err);
    if (rc == 0)
        rc = ask(vm, "query-migrate-capabilities", &vm->capabilities, err);
    if (rc == 0)
        rc = ask(vm, "query-memdev", &vm->backends, err);
    if (rc < 0)
        return rc;
    qmp_session_version(vm->qmp, &vm->major, &vm->minor, &micro);
    vm->kvm = json_path_bool(kvm, "enabled", false);
    snprintf(vm->run_state, sizeof(vm->run_state), "%s",
             json_path_str(status, "status", "unknown"));
    return 0;
}

static void judge_version(const struct vm *vm, struct host_finding *ret)
{
    int major, minor, micro;

    qmp_session_version(vm->qmp, &major, &minor, &micro);
    host_finding_set(ret, HOST_OK, "QEMU %d.%d.%d, pid %d, %s", major, minor,
                     micro, (int)qmp_session_peer_pid(vm->qmp),
                     vm->kvm ? "KVM" : "TCG (emulation)");
    if (major < 7 || (major == 7 && minor < 2)) {
        ret->status = HOST_WARNING;
        host_finding_remedy(ret, "firn is tested with QEMU 7.2 and later");
    }
}

/* Run states that somebody left behind, and the way out of each. */
static const struct {
    const char *state;
    const char *meaning;
    const char *remedy;
} leftovers[] = {
    {"postmigrate", "stopped behind a migration or a capture that has ended",
     "'cont' over QMP lets it run; QEMU refuses to migrate it before"},
    {"finish-migrate", "stopped for the last phase of a migration",
     "wait for its owner; if there is none: 'migrate_cancel', then 'cont'"},
    {"inmigrate", "waiting for an incoming migration",
     "'firn restore SNAP --qmp SOCKET' brings a snapshot into it"},
    {"internal-error", "stopped by an error of the emulator",
     "its state may be damaged: reset it before a capture"},
    {"io-error", "stopped by a failed disk access",
     "mend the disk, then 'cont'"},
    {"guest-panicked", "the guest has crashed", "reset it"},
};

static void judge_run_state(const struct vm *vm, struct host_finding *ret)
{
    host_finding_set(ret, HOST_OK, "%s", vm->run_state);
    for (size_t i = 0; i < ARRAY_LEN(leftovers); i++) {
        if (strcmp(leftovers[i].state, vm->run_state) != 0)
            continue;
        host_finding_set(ret, HOST_WARNING, "%s: %s", vm->run_state,
                         leftovers[i].meaning);
        host_finding_remedy(ret, "%s", leftovers[i].remedy);
    }
}

/* States of a migration that has an end ahead of it. */
static const struct {
    const char *status;
    const char *remedy;
} busy[] = {
    {"setup", "wait for it, or 'migrate_cancel'"},
    {"active", "wait for it, or 'migrate_cancel'"},
    {"device", "wait for it, or 'migrate_cancel'"},
    {"cancelling", "wait for it"},
    {"pre-switchover",
     "the VM stands still until its owner goes on; if there is none: "
     "'migrate_cancel', and it runs again"},
    {"wait-unplug", "wait for it, or 'migrate_cancel'"},
    {"postcopy-active", "its memory is still arriving: wait for it"},
    {"postcopy-paused",
     "its memory waits for a new sender: the pager of a lazy restore must be "
     "started again; never kill it to help it"},
    {"postcopy-recover", "its memory is arriving again: wait for it"},
};

static void judge_migration(const struct vm *vm, struct host_finding *ret)
{
    const char *status = json_path_str(vm->migration, "status", "none");
    const json_t *blocked = json_object_get(vm->migration, "blocked-reasons");

    host_finding_set(ret, HOST_OK, "none at work, nothing blocks one");
    for (size_t i = 0; i < ARRAY_LEN(busy); i++) {
        if (strcmp(busy[i].status, status) != 0)
            continue;
        host_finding_set(ret, HOST_WARNING, "a migration is at work: %s",
                         status);
        host_finding_remedy(ret, "%s", busy[i].remedy);
    }
    if (json_array_size(blocked) > 0) {
        const char *why = json_string_value(json_array_get(blocked, 0));

        host_finding_set(ret, HOST_MISSING,
                         "%zu thing%s of this VM cannot be captured: %s",
                         json_array_size(blocked),
                         json_array_size(blocked) == 1 ? "" : "s",
                         why ? why : "?");
        host_finding_remedy(ret, "remove the device that QEMU names, or give "
                                 "it a type that can migrate");
    }
}

static void judge_capabilities(const struct vm *vm, struct host_finding *ret)
{
    static const char *const wanted[] = {"events",       "return-path",
                                         "multifd",      "background-snapshot",
                                         "postcopy-ram", "postcopy-preempt"};
    char have[200] = "";
    char lack[200] = "";

    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        char *list =
            qmp_find_capability(vm->capabilities, wanted[i]) ? have : lack;
        size_t used = strlen(list);

        snprintf(list + used, sizeof(have) - used, "%s%s", used ? ", " : "",
                 wanted[i]);
    }
    host_finding_set(ret, lack[0] ? HOST_WARNING : HOST_OK, "%s%s%s",
                     have[0] ? have : "none", lack[0] ? "; without " : "",
                     lack);
    if (lack[0])
        host_finding_remedy(ret, "a newer QEMU knows them");
}

/* By the very rule of `snapshot --mode auto`. */
static void judge_mode(const struct vm *vm, struct host_finding *ret)
{
    const struct capture_vm facts = {
        .version = QEMU_VERSION(vm->major, vm->minor),
        .tcg = !vm->kvm,
        .running = strcmp(vm->run_state, "running") == 0,
        .can_background =
            qmp_find_capability(vm->capabilities, "background-snapshot"),
        .n_backends = json_array_size(vm->backends),
    };
    struct capture_choice choice;
    struct error why = ERROR_INIT;

    if (capture_mode_choose(SNAPSHOT_AUTO, &facts, &choice, &why) < 0) {
        host_finding_set(ret, HOST_WARNING, "no mode is right: %s",
                         why.message);
        host_finding_remedy(ret, "'stop' the VM for the capture, or use KVM");
    } else {
        host_finding_set(ret, HOST_OK, "auto takes mode %s: %s",
                         capture_mode_name(choice.mode), choice.reason);
    }
}

static int report_all(struct doctor *d, const struct vm *vm, struct error *err)
{
    static const struct {
        const char *check;
        void (*judge)(const struct vm *vm, struct host_finding *ret);
    } checks[] = {
        {"vm", judge_version},          {"run state", judge_run_state},
        {"migration", judge_migration}, {"capabilities", judge_capabilities},
        {"mode", judge_mode},
    };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(checks); i++) {
        struct host_finding finding;

        checks[i].judge(vm, &finding);
        rc = doctor_report(d, checks[i].check, &finding, err);
    }
    return rc;
}

int doctor_check_vm(struct doctor *d, const char *qmp_path, struct error *err)
{
    cleanup(qmp_session) struct qmp_session *qmp = NULL;
    struct qmp_open_args args = {.path = qmp_path, .stop = d->cli->stop};
    struct host_finding finding;
    struct error ignored;
    struct vm vm = {0};
    int rc = qmp_session_open(&args, &qmp, err);

    vm.qmp = qmp;
    if (rc == 0)
        rc = query(&vm, err);
    if (rc == 0) {
        rc = report_all(d, &vm, err);
    } else {
        host_finding_set(&finding, HOST_MISSING, "%s", err->message);
        host_finding_remedy(&finding, "%s", err->hint);
        if (doctor_report(d, "vm", &finding, &ignored) < 0)
            rc = error_copy(err, &ignored);
    }
    json_decref(vm.migration);
    json_decref(vm.capabilities);
    json_decref(vm.backends);
    return rc;
}

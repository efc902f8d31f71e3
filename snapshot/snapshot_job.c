/*
 * One capture after the other, in one process. The thread card:
 *
 *   main       this file, capture.c, qemu_source.c. Owns the QMP session and
 *              all decisions; waits on QMP, the user's stopper and the work's.
 *              Ends when the snapshot is committed or given up.
 *   receiver   stream_receiver.c. Owns the stream's socket (or reads the spool)
 *              and the decoder; takes empty packets, submits full ones. Ends
 *              with the stream, or when the work's stopper is pulled.
 *   channel N  multifd_receiver.c, one a multifd channel. Owns its socket;
 * reads packets right into empty ones of the writers and submits them. Ends
 * with its channel, or when the work's stopper is pulled. writer N
 * page_writer.c, one a lane, at most four. Takes packets from the work queue,
 * puts them through lane N of the snapshot writer, gives them back empty. Ends
 * when the queue is closed and empty, or cancelled.
 *
 * The order: connect, ask for facts, choose the mode; lease (snapshot writer)
 * before the first page; capture until the tail is proved; the VM goes on and
 * QEMU's settings are put back; the monitor is let go; commit. So the VM never
 * waits for the disk's fsync, and a failing commit costs the VM nothing.
 */
#include "snapshot/snapshot_job.h"

#include "core/base/clock.h"
#include "core/host/process.h"
#include "core/qmp/vm_facts.h"
#include "snapshot/capture.h"
#include "snapshot/channel_method.h"
#include "snapshot/host_facts.h"
#include "snapshot/plan.h"
#include "storage/hints.h"
#include "storage/snapshot_writer.h"
#include "storage/space.h"

#define LOG_AREA "snapshot"
#include "core/base/log.h"

struct job {
    struct snapshot_args args;
    uint64_t begun_ns; /* monotonic */
    uint64_t deadline_ns;
    struct qmp_session *qmp;
    struct qemu_source source;
    struct snapshot_writer *store;
    struct capture capture;
    json_t *facts;
    struct capture_choice choice;
    unsigned lanes;
    const char *vm; /* the name whose history is searched; in args or facts */
    uint64_t instant_ns;
    uint64_t qemu_faults;
    struct snapshot_summary summary;
};

static void say(const struct job *j, const char *text)
{
    if (j->args.note)
        j->args.note(j->args.arg, text);
}

static void tell_phase(const struct job *j, const char *phase)
{
    struct snapshot_progress p = {.phase = phase};

    if (j->args.progress)
        j->args.progress(j->args.arg, &p);
}

static int tell_moment(struct job *j, struct snapshot_event event,
                       struct error *err)
{
    if (!j->args.moment)
        return 0;
    event.vm = j->vm ? j->vm : j->args.name;
    event.vm_uuid = json_path_str(j->facts, "uuid", NULL);
    event.mode = j->vm ? capture_mode_name(j->choice.mode) : NULL;
    event.qemu_faults = j->qemu_faults;
    return j->args.moment(j->args.arg, &event, err);
}

/* Too late for an error to change anything. */
static void tell_late_moment(struct job *j, struct snapshot_event event)
{
    struct error ignored = ERROR_INIT;
    int rc = tell_moment(j, event, &ignored);

    (void)rc;
}

/* Looking. */

static int connect_qmp(struct job *j, struct error *err)
{
    struct qmp_open_args args = {.path = j->args.qmp_path,
                                 .stop = j->args.stop};
    int rc;

    tell_phase(j, "connecting");
    rc = qmp_session_open(&args, &j->qmp, err);
    if (rc < 0)
        return rc;
    qemu_source_init(&j->source, j->qmp, j->args.stop);
    j->source.note = j->args.note;
    j->source.arg = j->args.arg;
    return 0;
}

static int gather_facts(struct job *j, struct error *err)
{
    pid_t pid = qmp_session_peer_pid(j->qmp);
    struct error unknown = ERROR_INIT;
    cleanup_free char *cwd = NULL;
    json_t *process;
    int rc;

    if (process_cwd(pid, &cwd, &unknown) < 0)
        cwd = NULL;
    rc = vm_facts_query(j->qmp, cwd, &j->facts, err);
    if (rc == 0)
        rc = host_facts_process(pid, &process, err);
    if (rc == 0 && json_object_set_new(j->facts, "process", process) < 0)
        rc = fail_nomem(err);
    return rc;
}

/* A VM is its name and its uuid; with neither, snapshots of different VMs
 * could not be told apart. */
static int name_vm(struct job *j, struct error *err)
{
    const char *uuid = json_path_str(j->facts, "uuid", "");

    j->vm = j->args.name ? j->args.name : json_path_str(j->facts, "name", "");
    if (!j->vm[0])
        j->vm = uuid;
    if (j->vm[0])
        return 0;
    fail(err, ERR_USAGE, "the VM has neither a name nor a uuid");
    return error_hint(err, "give it one with --name");
}

static struct capture_vm capture_vm(const struct job *j)
{
    return (struct capture_vm){
        .version = j->source.version,
        .tcg =
            strcmp(json_path_str(j->facts, "accelerator", "tcg"), "kvm") != 0,
        .running = qemu_source_found_running(&j->source),
        .can_background = j->source.can_background,
        .n_backends = json_array_size(json_path(j->facts, "memory.backends")),
    };
}

/* The mode is chosen: say so where it is not what one would think. */
static int announce_mode(struct job *j, struct error *err)
{
    bool stream = j->choice.mode == SNAPSHOT_STREAM;
    char text[256];

    snprintf(text, sizeof(text), "mode %s: %s",
             capture_mode_name(j->choice.mode), j->choice.reason);
    if (j->choice.unusual)
        say(j, text);
    else
        log_info("%s", text);
    if (!stream && j->args.max_bandwidth_bytes_per_s)
        say(j, "QEMU itself knows no bandwidth limit in mode background: "
               "--max-bandwidth holds for our reading alone");
    if (json_object_set_new(j->facts, "disks_at",
                            json_string(stream ? "pause" : "before")) < 0)
        return fail_nomem(err);
    return 0;
}

static int choose_mode(struct job *j, struct error *err)
{
    const struct capture_vm vm = capture_vm(j);
    int rc = capture_mode_choose(j->args.mode, &vm, &j->choice, err);

    return rc < 0 ? rc : announce_mode(j, err);
}

static enum multifd_method choose_method(const struct job *j)
{
    switch (j->args.channel_method) {
    case SNAPSHOT_METHOD_AUTO:
        return channel_method_measured();
    case SNAPSHOT_METHOD_ZLIB:
        return MULTIFD_ZLIB;
    case SNAPSHOT_METHOD_ZSTD:
        return MULTIFD_ZSTD;
    case SNAPSHOT_METHOD_NONE:
        break;
    }
    return MULTIFD_NONE;
}

/* How the pages of a stream shall travel. */
static int choose_channels(struct job *j, struct error *err)
{
    struct capture *c = &j->capture;

    if (j->choice.mode != SNAPSHOT_STREAM) {
        if (j->args.channels)
            say(j, "mode background has no channels: --channels is ignored");
        return 0;
    }
    if (qemu_settings_has(&j->source.settings, "multifd")) {
        c->channels =
            j->args.channels ? j->args.channels : channel_count_default();
        c->method = choose_method(j);
        return 0;
    }
    if (j->args.channels == 0)
        return 0;
    fail(err, ERR_UNSUPPORTED, "this QEMU knows no multifd channels");
    return error_hint(err, "leave --channels out");
}

static int look(struct job *j, struct error *err)
{
    int rc = connect_qmp(j, err);

    if (rc == 0)
        rc = qemu_source_examine(&j->source, j->deadline_ns, err);
    if (rc == 0)
        rc = gather_facts(j, err);
    if (rc == 0)
        rc = name_vm(j, err);
    if (rc == 0)
        rc = choose_mode(j, err);
    return rc < 0 ? rc : choose_channels(j, err);
}

/* Capturing. */

static int open_store(struct job *j, struct error *err)
{
    struct snapshot_writer_args args = {
        .repository = j->args.repository,
        .vm = j->vm,
        .vm_uuid = json_path_str(j->facts, "uuid", ""),
        .level = j->args.level,
        .across_vms = j->args.across_vms,
        .lanes = j->lanes,
    };

    const char *slow;
    char note[256];
    int rc = snapshot_writer_new(&args, &j->store, err);

    slow = rc == 0 ? snapshot_writer_slow_io(j->store) : NULL;
    if (slow) {
        snprintf(note, sizeof(note),
                 "packs are written without io_uring: %.200s", slow);
        say(j, note);
    }
    return rc;
}

static int capture_once(struct job *j, struct error *err)
{
    const struct capture_vm vm = capture_vm(j);

    j->capture.source = &j->source;
    j->capture.store = j->store;
    j->capture.facts = j->facts;
    j->capture.lanes = j->lanes;
    j->capture.deadline_ns = j->deadline_ns;
    j->capture.needs_standstill = capture_mode_needs_standstill(&vm);
    return capture_run(&j->capture, j->choice.mode, err);
}

static void forget_capture(struct job *j)
{
    capture_release(&j->capture);
    snapshot_writer_free(j->store);
    j->store = NULL;
    capture_init(&j->capture, &j->args);
    qemu_source_renew(&j->source);
}

/* A stream did not converge, and the user left the mode to us. When background
 * is not possible, why the stream was given up is what counts. */
static int capture_again(struct job *j, struct error *err)
{
    const struct capture_vm vm = capture_vm(j);
    struct error why = ERROR_INIT;
    int rc = capture_mode_choose_again(&vm, &j->choice, &why);

    if (rc == 0)
        rc = announce_mode(j, &why);
    if (rc == 0) {
        forget_capture(j);
        rc = open_store(j, &why);
    }
    if (rc == 0)
        rc = capture_once(j, &why);
    if (rc == ERR_UNSUPPORTED && !j->source.started)
        return error_wrap(err, "%s; and so", why.message);
    return rc < 0 ? error_copy(err, &why) : 0;
}

static int capture(struct job *j, struct error *err)
{
    static const struct snapshot_event before_pause = {
        .moment = SNAPSHOT_BEFORE_PAUSE};
    pid_t pid = qmp_session_peer_pid(j->qmp);
    uint64_t faults = process_faults(pid);
    int rc = open_store(j, err);

    if (rc == 0)
        rc = tell_moment(j, before_pause, err);
    if (rc < 0)
        return rc;
    rc = capture_once(j, err);
    if (rc == ERR_BUDGET && j->args.mode == SNAPSHOT_AUTO)
        rc = capture_again(j, err);
    j->instant_ns = j->source.stop_ns ? j->source.stop_ns : clock_realtime_ns();
    /* A monitor serves one client: others may have it while we commit. */
    qmp_session_close(j->qmp);
    j->qmp = NULL;
    j->qemu_faults = process_faults(pid) - faults;
    if (rc == 0)
        tell_late_moment(j,
                         (struct snapshot_event){.moment = SNAPSHOT_RESUMED});
    return rc;
}

/* Committing. */

/* Pages that QEMU does not send although they are RAM: what a balloon gave
 * back with hints, and the unplugged part of a virtio-mem. */
static bool may_leave_pages_out(const json_t *facts)
{
    static const char *const devices[] = {"dev: virtio-mem",
                                          "dev: virtio-balloon"};
    const json_t *line;
    size_t i;

    json_array_foreach(json_object_get(facts, "devices"), i, line)
    {
        for (size_t d = 0; d < ARRAY_LEN(devices); d++) {
            const char *text = json_string_value(line);

            if (text && strncmp(text, devices[d], strlen(devices[d])) == 0)
                return true;
        }
    }
    return false;
}

/* Longer names than fit are cut: the whole ones are in config and facts. */
static void set_text(char *field, size_t size, const char *value)
{
    size_t len = strnlen(value, size - 1);

    memcpy(field, value, len);
    field[len] = '\0';
}

#define SET_TEXT(field, value) set_text((field), sizeof(field), (value))

static void summarize(struct job *j, const struct stream_decoder *d)
{
    struct snapshot_summary *s = &j->summary;

    s->time_ns = j->args.time_ns ? j->args.time_ns : j->instant_ns;
    s->downtime_ms =
        (qemu_source_downtime_ns(&j->source) + NS_PER_MS / 2) / NS_PER_MS;
    s->duration_ms = (clock_monotonic_ns() - j->begun_ns) / NS_PER_MS;
    s->rounds = MAX(j->source.rounds, 1u);
    s->channels = MAX(j->capture.channels, 1u);
    s->tags = j->args.tags;
    SET_TEXT(s->mode, capture_mode_name(j->choice.mode));
    SET_TEXT(s->run_state, stream_decoder_device_state(d)->run_state);
    SET_TEXT(s->machine, stream_decoder_config(d)->machine);
    SET_TEXT(s->qemu_version, json_path_str(j->facts, "qemu.version", ""));
}

/* How the capture went, for the facts and for the caller. */
static int report(struct job *j, struct error *err)
{
    const struct convergence *c = &j->capture.watch.convergence;
    json_t *capture = convergence_json(c);

    if (!capture || json_object_set_new(j->facts, "capture", capture) < 0)
        return fail_nomem(err);
    if (json_object_set_new(capture, "mode_reason",
                            json_string(j->choice.reason)) < 0 ||
        json_object_set_new(capture, "downtime_limit_ms",
                            json_integer((json_int_t)convergence_limit_ms(
                                j->args.max_downtime_ms, c->relaxed))) < 0)
        return fail_nomem(err);
    return 0;
}

static int commit(struct job *j, struct snapshot_summary *ret,
                  struct error *err)
{
    const struct stream_decoder *d =
        stream_receiver_decoder(j->capture.receiver);
    struct snapshot_record record = {
        .config = stream_decoder_config(d),
        .devices = stream_decoder_device_state(d),
        .ram_section_id = stream_decoder_ram_section_id(d),
        .facts = j->facts,
        .summary = &j->summary,
        .unseen_as_zero = may_leave_pages_out(j->facts),
        .verify = j->args.verify,
        .stop = j->args.stop,
    };
    int rc;

    assert(j->capture.migration.state == MIGRATION_COMPLETED);
    if (stopper_pulled(j->args.stop))
        return stopper_error(j->args.stop, err);
    tell_phase(j, j->args.verify ? "verifying, committing" : "committing");
    summarize(j, d);
    rc = report(j, err);
    if (rc < 0)
        return rc;
    return snapshot_writer_commit(j->store, &record, ret, err);
}

/* What a capture will store, without a sample of what the guest writes. */
static uint64_t guess_stored(const struct job *j)
{
    struct snapshot_summary *all = NULL;
    struct error ignored = ERROR_INIT;
    struct plan_history h = {.known = true};
    uint64_t touched = process_memory(qmp_session_peer_pid(j->qmp));
    size_t n = 0;

    if (repository_list(j->args.repository, NULL, NULL, &all, &n, &ignored) ==
        0)
        plan_history_of(all, n, j->vm, &h);
    for (size_t i = 0; i < n; i++)
        snapshot_summary_release(&all[i]);
    free(all);
    if (!h.known)
        return (uint64_t)((double)touched * h.share);
    return h.seen_twice ? h.new_bytes : 0;
}

/* It may be less in the end: so it is tried all the same, and given up in time
 * if it must be. */
static void estimate_room(struct job *j)
{
    struct error why = ERROR_INIT;
    char text[512];

    if (space_check(j->args.repository, j->args.reserve_bytes, guess_stored(j),
                    &why) != ERR_NOSPC)
        return;
    snprintf(text, sizeof(text), "there may be too little room: %.400s",
             why.message);
    say(j, text);
}

/* What the guest wrote first behind the captured instant, it will want first
 * behind a restore. Hints are a cache: without them a restore is slower. */
static void seed_hints(struct job *j, const char *id)
{
    const struct fault_order *faults = &j->capture.faults;
    const struct hints none = {0};
    cleanup(hints) struct hints hints = {0};
    struct error ignored = ERROR_INIT;
    int rc;

    if (faults->n == 0)
        return;
    rc = hints_merge(&none, faults->list, faults->n, &hints, &ignored);
    /* Writes tell less than a run: the first one replaces them. */
    hints.runs = 0;
    for (size_t i = 0; i < hints.n; i++)
        hints.list[i].seen = 0;
    if (rc == 0)
        rc = hints_store(j->args.repository, id, &hints, &ignored);
    if (rc < 0)
        log_warn("no prefetch hints for '%s': %s", id, ignored.message);
    else
        log_info("%zu pages that the guest wrote first are kept as hints",
                 hints.n);
}

static int run(struct job *j, struct snapshot_summary *ret, struct error *err)
{
    struct snapshot_summary stored = {0};
    int rc = space_check(j->args.repository, j->args.reserve_bytes, 0, err);

    if (rc == 0)
        rc = look(j, err);
    if (rc == 0)
        estimate_room(j);
    if (rc == 0)
        rc = capture(j, err);
    if (rc == 0)
        rc = commit(j, &stored, err);
    if (rc < 0)
        return rc;
    seed_hints(j, stored.id);
    stored.duration_ms = (clock_monotonic_ns() - j->begun_ns) / NS_PER_MS;
    stored.tags = json_incref(j->args.tags);
    *ret = stored;
    return 0;
}

static void release(struct job *j)
{
    capture_release(&j->capture);
    snapshot_writer_free(j->store);
    qemu_source_release(&j->source);
    qmp_session_close(j->qmp);
    json_decref(j->facts);
}

void snapshot_outcome_release(struct snapshot_outcome *o)
{
    json_decref(o->capture);
    o->capture = NULL;
}

int snapshot_job_run(const struct snapshot_args *args,
                     struct snapshot_summary *ret,
                     struct snapshot_outcome *ret_outcome, struct error *err)
{
    struct job j = {.args = *args, .begun_ns = clock_monotonic_ns()};
    int rc;

    if (!j.args.max_downtime_ms)
        j.args.max_downtime_ms = SNAPSHOT_DOWNTIME_MS;
    if (j.args.timeout_ms)
        j.deadline_ns = j.begun_ns + j.args.timeout_ms * NS_PER_MS;
    j.lanes = page_writer_default_lanes();
    capture_init(&j.capture, &j.args);

    rc = run(&j, ret, err);
    if (rc == ERR_NOSPC)
        space_explain(j.args.repository, err);
    if (rc == 0)
        *ret_outcome = (struct snapshot_outcome){
            .over_budget = ret->downtime_ms > j.args.max_downtime_ms,
            .capture = json_incref(json_object_get(j.facts, "capture")),
        };
    tell_late_moment(
        &j, (struct snapshot_event){.moment = rc == 0 ? SNAPSHOT_COMMITTED
                                                      : SNAPSHOT_FAILED,
                                    .summary = rc == 0 ? ret : NULL,
                                    .why = rc == 0 ? NULL : err});
    release(&j);
    return rc;
}

#include "tests/fakes/assert_error.h"

#include "snapshot/snapshot_job.h"
#include "tests/core/wire/stream_maker.h"
#include "tests/fakes/fake_qemu.h"
#include "tests/fakes/fake_store.h"
#include "tests/fakes/temp_folder.h"

struct fixture {
    struct temp_folder folder;
    struct repository *repository;
    struct stopper stop;
    struct buf stream;
    struct made_multifd multifd;
    struct fake_qemu qemu;
    struct fake_qemu_args q;   /* the fake's */
    struct snapshot_args args; /* ours */
    struct snapshot_summary summary;
    struct snapshot_outcome outcome;
    char notes[1024];
    unsigned n_progress;
    char moments[64];                /* "bprcf": as they came */
    enum snapshot_moment refused_at; /* when `refuses` */
    bool refuses;
    struct error err;
};

static void on_note(void *arg, const char *text)
{
    struct fixture *f = arg;
    size_t used = strlen(f->notes);

    snprintf(f->notes + used, sizeof(f->notes) - used, "%s\n", text);
}

static void on_progress(void *arg, const struct snapshot_progress *p)
{
    struct fixture *f = arg;

    f->n_progress++;
    assert_non_null(p->phase);
}

static int on_moment(void *arg, const struct snapshot_event *event,
                     struct error *err)
{
    struct fixture *f = arg;
    size_t used = strlen(f->moments);

    assert_int_equal(event->summary != NULL,
                     event->moment == SNAPSHOT_COMMITTED);
    assert_int_equal(event->why != NULL, event->moment == SNAPSHOT_FAILED);
    snprintf(f->moments + used, sizeof(f->moments) - used, "%c",
             "bprcf"[event->moment]);
    if (event->moment == SNAPSHOT_BEFORE_PAUSE)
        assert_true(event->vm && event->vm[0]);
    if (!f->refuses || event->moment != f->refused_at)
        return 0;
    return fail(err, ERR_UNSUPPORTED, "refused");
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char path[160];

    fake_store_reset();
    temp_folder_init(&f->folder);
    setenv("XDG_RUNTIME_DIR", f->folder.path, 1);
    snprintf(path, sizeof(path), "%s/repo", f->folder.path);
    assert_ok(repository_create(path, &f->err), &f->err);
    assert_ok(repository_open(path, &f->repository, &f->err), &f->err);
    assert_ok(stopper_init(&f->stop, &f->err), &f->err);
    f->q = (struct fake_qemu_args){
        .major = 10, .name = "vm", .stream = &f->stream, .pause_ms = 20};
    f->args = (struct snapshot_args){
        .repository = f->repository,
        .qmp_path = f->qemu.path,
        .stop = &f->stop,
        .note = on_note,
        .progress = on_progress,
        .moment = on_moment,
        .arg = f,
    };
    *state = f;
    return 0;
}

/* Nothing of ours stays in the runtime folder, beside the repository. */
static unsigned strays(struct fixture *f)
{
    DIR *dir = opendir(f->folder.path);
    struct dirent *entry;
    unsigned n = 0;

    while ((entry = readdir(dir)))
        n += strncmp(entry->d_name, "firn-", 5) == 0;
    closedir(dir);
    return n;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(fake_store.broken, "");
    assert_int_equal(fake_store.open, 0);
    fake_store_reset();
    snapshot_summary_release(&f->summary);
    snapshot_outcome_release(&f->outcome);
    repository_close(f->repository);
    stopper_release(&f->stop);
    buf_release(&f->stream);
    made_multifd_release(&f->multifd);
    fake_qemu_release(&f->qemu);
    unsetenv("XDG_RUNTIME_DIR");
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

/* The made stream's VM ran; here is one that was paused. The name of the run
 * state has its length before it and room behind. */
static void make_paused(struct buf *stream)
{
    static const char running[] = "\0\0\0\010running";
    static const char paused[] = "\0\0\0\007paused";
    uint8_t *at =
        memmem(stream->data, stream->len, running, sizeof(running) - 1);

    assert_non_null(at);
    memcpy(at, paused, sizeof(paused));
}

static int run(struct fixture *f)
{
    int rc;

    if (f->stream.len == 0)
        made_stream(&f->stream, (struct made_stream_args){.return_path = true});
    if (f->q.run_state && strcmp(f->q.run_state, "paused") == 0)
        make_paused(&f->stream);
    fake_qemu_start(&f->qemu, &f->q);
    rc = snapshot_job_run(&f->args, &f->summary, &f->outcome, &f->err);
    fake_qemu_stop(&f->qemu);
    /* A dead QEMU's settings are nobody's; the next run sweeps them. */
    if (f->q.trouble != FAKE_DIES)
        assert_int_equal(strays(f), 0);
    return rc;
}

/* QEMU's settings are what they were; nobody sent `cont` or cancelled. */
static void assert_put_back(struct fixture *f)
{
    assert_true(fake_qemu_capability(&f->qemu, "xbzrle"));
    assert_false(fake_qemu_capability(&f->qemu, "events"));
    assert_false(fake_qemu_capability(&f->qemu, "return-path"));
    assert_false(fake_qemu_capability(&f->qemu, "background-snapshot"));
    assert_int_equal(json_path_int(f->qemu.parameters, "max-bandwidth", 0),
                     134217728);
    assert_int_equal(json_path_int(f->qemu.parameters, "downtime-limit", 0),
                     300);
}

static void assert_state(struct fixture *f, const char *state)
{
    assert_string_equal(f->qemu.run_state, state);
    assert_put_back(f);
}

/* Streams with channels. */

static void make_channels(struct fixture *f, unsigned n,
                          enum multifd_method method, bool old)
{
    const struct made_multifd_args args = {
        .n_channels = n, .method = method, .old = old};

    made_multifd(&f->multifd, &args);
    f->q.multifd = &f->multifd;
    f->args.channels = n;
    f->args.channel_method = SNAPSHOT_METHOD_NONE;
}

/* The parameters as found, too. */
static void assert_channels_put_back(struct fixture *f)
{
    json_t *p = f->qemu.parameters;

    assert_state(f, "running");
    assert_false(fake_qemu_capability(&f->qemu, "multifd"));
    assert_int_equal(json_path_int(p, "multifd-channels", 0), 3);
    assert_string_equal(json_path_str(p, "multifd-compression", ""), "zlib");
    assert_int_equal(json_path_int(p, "multifd-zlib-level", 0), 7);
    assert_int_equal(json_path_int(p, "multifd-zstd-level", 0), 9);
}

static void assert_channels_stored(struct fixture *f)
{
    struct error err = ERROR_INIT;
    struct stream_decoder *d = NULL;
    struct listener l = {0};
    cleanup_buf struct buf plain = BUF_INIT;

    made_stream(&plain, (struct made_stream_args){.return_path = true});
    must(stream_decoder_new(&listener_ops, &l, &d, &err), &err);
    must(stream_decoder_feed(d, plain.data, plain.len, &err), &err);
    for (pgno_t p = 0; p < 40; p++)
        assert_memory_equal(fake_store_page(0, p),
                            l.content[0] + p * PAGE_BYTES, PAGE_BYTES);
    stream_decoder_free(d);
    listener_release(&l);
    assert_int_equal(fake_store.unseen, 0);
}

static void a_vm_is_captured_through_channels(void **state)
{
    for (unsigned i = 0; i < 4; i++) {
        struct fixture *f;

        setup(state);
        f = *state;
        make_channels(f, 1u << i, MULTIFD_NONE, i == 3);
        f->q.channels_first = i == 2;
        assert_ok(run(f), &f->err);

        assert_int_equal(f->summary.channels, 1u << i);
        assert_true(f->qemu.got_shut);
        assert_channels_stored(f);
        assert_channels_put_back(f);
        teardown(state);
    }
}

static void a_background_save_has_no_channels(void **state)
{
    struct fixture *f = *state;

    f->args.channels = 4;
    f->args.mode = SNAPSHOT_BACKGROUND;
    made_stream(&f->stream, (struct made_stream_args){.background = true});
    assert_ok(run(f), &f->err);
    assert_int_equal(f->summary.channels, 1);
    assert_non_null(strstr(f->notes, "--channels is ignored"));
    assert_false(fake_qemu_capability(&f->qemu, "multifd"));
}

/* A real one dies of it. */
static void settings_are_not_touched_while_qemu_tidies_up(void **state)
{
    struct fixture *f = *state;

    make_channels(f, 4, MULTIFD_NONE, false);
    f->q.untidy_asks = 3;
    assert_ok(run(f), &f->err);
    assert_false(f->qemu.hurt);
    assert_int_equal(f->qemu.args.untidy_asks, 0);
    assert_channels_put_back(f);
}

static void channels_may_be_compressed(void **state)
{
    struct fixture *f = *state;

    make_channels(f, 2, MULTIFD_ZSTD, false);
    f->args.channel_method = SNAPSHOT_METHOD_ZSTD;
    assert_ok(run(f), &f->err);
    assert_channels_stored(f);
    assert_channels_put_back(f);
}

static void a_missing_channel_leaves_the_vm_running(void **state)
{
    struct fixture *f = *state;

    make_channels(f, 4, MULTIFD_NONE, false);
    f->q.trouble = FAKE_CHANNEL_MISSING;
    f->args.timeout_ms = 300;
    assert_int_equal(run(f), ERR_TIMEOUT);
    assert_int_equal(fake_store.commits, 0);
    assert_channels_put_back(f);
}

static void a_cut_channel_leaves_the_vm_running(void **state)
{
    struct fixture *f = *state;
    int rc;

    make_channels(f, 4, MULTIFD_NONE, false);
    f->q.trouble = FAKE_CHANNEL_CUT;
    rc = run(f);
    /* Told by QEMU, if it has noticed by then, else by us. */
    assert_true(rc == ERR_UNSUPPORTED || rc == ERR_PROTOCOL);
    assert_message(&f->err, rc == ERR_PROTOCOL ? "multifd channel 0"
                                               : "QEMU gave the migration up");
    assert_int_equal(fake_store.commits, 0);
    assert_channels_put_back(f);
}

static void a_full_store_ends_channels_and_the_vm_runs_on(void **state)
{
    struct fixture *f = *state;

    make_channels(f, 4, MULTIFD_NONE, false);
    fake_store.fail_put_at = 2;
    fake_store.fail_put_code = ERR_NOSPC;
    assert_int_equal(run(f), ERR_NOSPC);
    assert_channels_put_back(f);
}

static void a_qemu_that_dies_with_its_channels_is_told_as_gone(void **state)
{
    struct fixture *f = *state;

    make_channels(f, 4, MULTIFD_NONE, false);
    f->q.trouble = FAKE_DIES;
    assert_int_equal(run(f), ERR_PEER);
    assert_int_equal(fake_store.commits, 0);
}

static void a_method_that_qemu_lacks_is_told_with_a_way_out(void **state)
{
    struct fixture *f = *state;

    make_channels(f, 2, MULTIFD_ZSTD, false);
    f->args.channel_method = SNAPSHOT_METHOD_ZSTD;
    f->q.refused_method = "zstd";
    assert_int_equal(run(f), ERR_UNSUPPORTED);
    assert_channels_put_back(f);
    assert_non_null(strstr(f->err.hint, "--multifd-compression none"));
}

static void
without_the_capability_channels_are_refused_or_left_out(void **state)
{
    struct fixture *f = *state;

    f->args.channels = 2;
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "knows no multifd");
    teardown(state);
    setup(state);
    f = *state;
    assert_ok(run(f), &f->err);
    assert_int_equal(f->summary.channels, 1);
}

/* Streams that go well. */

static void a_running_vm_is_captured_and_runs_on(void **state)
{
    struct fixture *f = *state;

    assert_ok(run(f), &f->err);

    assert_state(f, "running");
    assert_true(f->qemu.got_shut);
    assert_int_equal(f->qemu.n_cont, 0);
    assert_int_equal(f->qemu.n_cancel, 0);
    assert_int_equal(fake_store.commits, 1);
    assert_string_equal(fake_store.vm, "vm");
    assert_string_equal(f->summary.mode, "stream");
    assert_string_equal(f->summary.run_state, "running");
    assert_string_equal(f->summary.qemu_version, "10.0.0");
    assert_int_equal(f->summary.rounds, 2);
    assert_in_range(f->summary.downtime_ms, 20, 21);
    assert_false(f->outcome.over_budget);
    assert_true(f->n_progress > 0);
    assert_string_equal(f->notes, "");
}

static void its_moments_are_told_in_order(void **state)
{
    struct fixture *f = *state;

    assert_ok(run(f), &f->err);
    assert_string_equal(f->moments, "bprc");
}

static void a_refusal_before_the_pause_leaves_qemu_alone(void **state)
{
    struct fixture *f = *state;

    f->refuses = true;
    f->refused_at = SNAPSHOT_BEFORE_PAUSE;
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "refused");
    assert_string_equal(f->moments, "bf");
    assert_state(f, "running");
    assert_false(f->qemu.got_shut);
    assert_int_equal(fake_store.commits, 0);
}

static void a_refusal_in_the_pause_gives_up_and_the_vm_runs_on(void **state)
{
    struct fixture *f = *state;

    f->refuses = true;
    f->refused_at = SNAPSHOT_PAUSED;
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "refused");
    assert_string_equal(f->moments, "bpf");
    assert_state(f, "running");
    assert_int_equal(fake_store.commits, 0);
}

static void a_refusal_when_it_is_too_late_changes_nothing(void **state)
{
    struct fixture *f = *state;

    f->refuses = true;
    f->refused_at = SNAPSHOT_RESUMED;
    assert_ok(run(f), &f->err);
    assert_string_equal(f->moments, "bprc");
    assert_int_equal(fake_store.commits, 1);
}

static void how_it_went_is_recorded_and_told(void **state)
{
    struct fixture *f = *state;
    const json_t *told;

    assert_ok(run(f), &f->err);

    told = f->outcome.capture;
    assert_true(json_equal((json_t *)told,
                           json_object_get(fake_store.facts, "capture")));
    assert_non_null(strstr(json_path_str(told, "mode_reason", ""),
                           "slows the guest least"));
    assert_int_equal(json_path_int(told, "downtime_limit_ms", 0), 30);
    assert_true(json_array_size(json_object_get(told, "rounds")) >= 1);
}

static void the_guest_is_throttled_only_when_asked(void **state)
{
    struct fixture *f = *state;

    assert_ok(run(f), &f->err);
    assert_false(f->qemu.throttled);
}

static void auto_converge_lets_qemu_throttle(void **state)
{
    struct fixture *f = *state;

    f->args.auto_converge = true;
    assert_ok(run(f), &f->err);
    assert_true(f->qemu.throttled);
}

static void its_facts_are_recorded(void **state)
{
    struct fixture *f = *state;

    f->q.uuid = "6f1c1d4e-5a0b-4c57-9d7e-0a3c8f0b1a2d";
    assert_ok(run(f), &f->err);

    assert_string_equal(json_path_str(fake_store.facts, "machine", ""),
                        "pc-i440fx-10.0");
    assert_string_equal(json_path_str(fake_store.facts, "uuid", ""), f->q.uuid);
    assert_string_equal(json_path_str(fake_store.facts, "accelerator", ""),
                        "tcg");
    assert_string_equal(json_path_str(fake_store.facts, "disks_at", ""),
                        "pause");
    assert_int_equal(json_path_int(fake_store.facts, "process.pid", 0),
                     getpid());
    assert_true(json_array_size(json_path(fake_store.facts, "process.argv")) >
                0);
}

static void a_pause_longer_than_allowed_is_told(void **state)
{
    struct fixture *f = *state;

    f->q.pause_ms = 301;
    assert_ok(run(f), &f->err);

    assert_true(f->outcome.over_budget);
    assert_int_equal(fake_store.commits, 1);
}

static void a_pause_within_a_larger_budget_is_well(void **state)
{
    struct fixture *f = *state;

    f->q.pause_ms = 301;
    f->args.max_downtime_ms = 400;
    assert_ok(run(f), &f->err);

    assert_false(f->outcome.over_budget);
}

static void a_paused_vm_stays_paused(void **state)
{
    struct fixture *f = *state;

    f->q.run_state = "paused";
    assert_ok(run(f), &f->err);

    assert_state(f, "paused");
    assert_int_equal(f->qemu.n_cont, 0);
    assert_string_equal(f->summary.run_state, "paused");
    assert_int_equal(f->summary.downtime_ms, 0);
    assert_string_equal(f->notes, "");
}

static void a_paused_vm_of_7_2_is_told_to_read_postmigrate(void **state)
{
    struct fixture *f = *state;

    f->q.major = 7;
    f->q.minor = 2;
    f->q.run_state = "paused";
    assert_ok(run(f), &f->err);

    assert_state(f, "postmigrate");
    assert_int_equal(f->qemu.n_cont, 0);
    assert_non_null(strstr(f->notes, "'postmigrate'"));
}

static void a_vm_that_does_not_resume_is_started(void **state)
{
    struct fixture *f = *state;

    f->q.trouble = FAKE_STAYS_STOPPED;
    assert_ok(run(f), &f->err);

    assert_state(f, "running");
    assert_int_equal(f->qemu.n_cont, 1);
    assert_int_equal(fake_store.commits, 1);
}

static void a_vm_that_resumes_in_silence_is_left_alone(void **state)
{
    struct fixture *f = *state;

    f->q.trouble = FAKE_NO_RESUME_EVENT;
    assert_ok(run(f), &f->err);

    assert_state(f, "running");
    assert_int_equal(f->qemu.n_cont, 0);
}

static void a_vm_paused_by_somebody_meanwhile_stays_paused(void **state)
{
    struct fixture *f = *state;

    f->q.trouble = FAKE_STAYS_STOPPED;
    made_stream(&f->stream, (struct made_stream_args){.return_path = true});
    make_paused(&f->stream);
    assert_ok(run(f), &f->err);

    assert_int_equal(f->qemu.n_cont, 0);
}

static void a_paused_vm_of_old_tcg_started_meanwhile_is_not_kept(void **state)
{
    struct fixture *f = *state;

    f->q.major = 7;
    f->q.minor = 2;
    f->q.run_state = "prelaunch";
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "was started");

    assert_int_equal(fake_store.commits, 0);
}

/* Background. */

static void make_background(struct fixture *f)
{
    made_stream(&f->stream, (struct made_stream_args){.background = true});
}

static void a_running_vm_of_old_tcg_is_saved_in_background(void **state)
{
    struct fixture *f = *state;

    f->q.major = 7;
    f->q.minor = 2;
    make_background(f);
    assert_ok(run(f), &f->err);

    assert_state(f, "running");
    assert_true(fake_qemu_was_asked(&f->qemu, "getfd"));
    assert_string_equal(f->summary.mode, "background");
    assert_string_equal(json_path_str(fake_store.facts, "disks_at", ""),
                        "before");
    assert_non_null(strstr(f->notes, "mode background"));
    assert_int_equal(f->qemu.n_cancel, 0);
}

static void a_newer_qemu_takes_the_spool_from_a_set(void **state)
{
    struct fixture *f = *state;

    f->args.mode = SNAPSHOT_BACKGROUND;
    f->args.max_bandwidth_bytes_per_s = 100000000;
    make_background(f);
    assert_ok(run(f), &f->err);

    assert_state(f, "running");
    assert_true(fake_qemu_was_asked(&f->qemu, "add-fd"));
    assert_true(fake_qemu_was_asked(&f->qemu, "remove-fd"));
    assert_non_null(strstr(f->notes, "holds for our reading alone"));
}

static void a_background_save_that_must_not_be_cancelled_is_not(void **state)
{
    struct fixture *f = *state;

    f->q.major = 7;
    f->q.minor = 2;
    f->q.pull_at_half = &f->stop;
    f->q.pull_code = ERR_INTERRUPTED;
    make_background(f);
    assert_error(run(f), &f->err, ERR_INTERRUPTED, "interrupted");

    assert_state(f, "running");
    assert_int_equal(f->qemu.n_cancel, 0);
    assert_int_equal(f->qemu.sent, f->stream.len);
    assert_non_null(strstr(f->notes, "must finish"));
}

static void a_full_store_lets_an_old_background_save_end_too(void **state)
{
    struct fixture *f = *state;

    f->q.major = 7;
    f->q.minor = 2;
    fake_store.fail_put_at = 1;
    fake_store.fail_put_code = ERR_NOSPC;
    make_background(f);
    assert_error(run(f), &f->err, ERR_NOSPC, "the fake store fails");

    assert_state(f, "running");
    assert_int_equal(f->qemu.n_cancel, 0);
    assert_int_equal(f->qemu.sent, f->stream.len);
}

static void a_new_background_save_is_cancelled(void **state)
{
    struct fixture *f = *state;

    f->args.mode = SNAPSHOT_BACKGROUND;
    f->q.trouble = FAKE_STALLS;
    f->q.pull_at_half = &f->stop;
    f->q.pull_code = ERR_TERMINATED;
    make_background(f);
    assert_error(run(f), &f->err, ERR_TERMINATED, "signal");

    assert_state(f, "running");
    assert_int_equal(f->qemu.n_cancel, 1);
}

static void without_userfaultfd_the_way_out_is_named(void **state)
{
    struct fixture *f = *state;

    f->args.mode = SNAPSHOT_BACKGROUND;
    f->q.refused_command = "migrate-set-capabilities";
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "mode background is not");

    assert_non_null(strstr(f->err.hint, "userfaultfd"));
    assert_string_equal(f->qemu.run_state, "running");
}

/* Refusals before anything is changed. */

static void assert_untouched(struct fixture *f)
{
    assert_false(fake_qemu_was_asked(&f->qemu, "migrate"));
    assert_false(fake_qemu_was_asked(&f->qemu, "migrate-set-capabilities"));
    assert_int_equal(fake_store.commits, 0);
}

static void a_wrong_stream_is_refused_beforehand(void **state)
{
    struct fixture *f = *state;

    f->q.major = 7;
    f->q.minor = 2;
    f->args.mode = SNAPSHOT_STREAM;
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "silently wrong");

    assert_untouched(f);
}

static void a_vm_without_name_needs_one(void **state)
{
    struct fixture *f = *state;

    f->q.name = NULL;
    assert_error(run(f), &f->err, ERR_USAGE, "neither a name nor a uuid");

    assert_non_null(strstr(f->err.hint, "--name"));
    assert_untouched(f);
}

static void a_given_name_is_enough(void **state)
{
    struct fixture *f = *state;

    f->q.name = NULL;
    f->args.name = "given";
    assert_ok(run(f), &f->err);

    assert_string_equal(fake_store.vm, "given");
}

static void a_vm_known_by_uuid_alone_is_named_by_it(void **state)
{
    struct fixture *f = *state;

    f->q.name = NULL;
    f->q.uuid = "6f1c1d4e-5a0b-4c57-9d7e-0a3c8f0b1a2d";
    assert_ok(run(f), &f->err);

    assert_string_equal(fake_store.vm, f->q.uuid);
}

static void a_device_that_blocks_migration_is_named(void **state)
{
    struct fixture *f = *state;

    f->q.blocked_reason = "VirtFS mount is active";
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "VirtFS mount is active");

    assert_untouched(f);
}

static void tls_is_refused(void **state)
{
    struct fixture *f = *state;

    f->q.tls_creds = "tls0";
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "tls-creds");

    assert_untouched(f);
}

static void a_vm_left_by_a_migration_is_refused(void **state)
{
    struct fixture *f = *state;

    f->q.run_state = "postmigrate";
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "postmigrate");

    assert_untouched(f);
}

static void a_restore_that_goes_on_is_waited_for(void **state)
{
    struct fixture *f = *state;

    f->q.orphan_status = "postcopy-active";
    f->q.orphan_asks = 3;
    assert_ok(run(f), &f->err);

    assert_non_null(strstr(f->notes, "waiting until it has them"));
    assert_int_equal(fake_store.commits, 1);
}

static void a_restore_that_takes_too_long_is_not_disturbed(void **state)
{
    struct fixture *f = *state;

    f->q.orphan_status = "postcopy-active";
    f->q.orphan_asks = 1000000;
    f->args.timeout_ms = 1;
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "still lacks pages");

    assert_non_null(strstr(f->err.hint, "restore is complete"));
    assert_untouched(f);
}

/* What a killed run left. */

static void an_orphaned_stream_is_waited_for(void **state)
{
    struct fixture *f = *state;

    f->q.orphan_status = "active";
    f->q.orphan_asks = 3;
    assert_ok(run(f), &f->err);

    assert_string_equal(f->notes, "");
    assert_int_equal(fake_store.commits, 1);
}

static void an_orphaned_background_save_is_waited_for_with_a_word(void **state)
{
    struct fixture *f = *state;

    f->q.orphan_status = "active";
    f->q.orphan_asks = 3;
    f->q.orphan_background = true;
    assert_ok(run(f), &f->err);

    assert_non_null(strstr(f->notes, "a run that was killed"));
    assert_int_equal(fake_store.commits, 1);
}

static void waiting_for_an_orphan_ends_with_the_time_limit(void **state)
{
    struct fixture *f = *state;

    f->q.orphan_status = "active";
    f->q.orphan_asks = 1000000;
    f->q.orphan_background = true;
    f->args.timeout_ms = 50;
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "under way");

    assert_untouched(f);
}

/* Failures on the way. */

static void a_stop_cancels_and_the_vm_runs_on(void **state)
{
    struct fixture *f = *state;

    f->q.trouble = FAKE_STALLS;
    f->q.pull_at_half = &f->stop;
    f->q.pull_code = ERR_INTERRUPTED;
    assert_error(run(f), &f->err, ERR_INTERRUPTED, "interrupted");

    assert_state(f, "running");
    assert_int_equal(f->qemu.n_cont, 0);
    assert_int_equal(fake_store.commits, 0);
}

static void the_time_limit_cancels_and_the_vm_runs_on(void **state)
{
    struct fixture *f = *state;

    f->q.trouble = FAKE_STALLS;
    f->args.timeout_ms = 100;
    assert_error(run(f), &f->err, ERR_TIMEOUT, "time limit");

    assert_state(f, "running");
    assert_int_equal(fake_store.commits, 0);
}

static void a_stopped_capture_of_a_paused_vm_leaves_it_paused(void **state)
{
    struct fixture *f = *state;

    f->q.run_state = "paused";
    f->q.trouble = FAKE_STALLS;
    f->args.timeout_ms = 100;
    assert_error(run(f), &f->err, ERR_TIMEOUT, "time limit");

    assert_state(f, "paused");
    assert_int_equal(f->qemu.n_cont, 0);
}

static void a_full_store_ends_the_stream_and_the_vm_runs_on(void **state)
{
    struct fixture *f = *state;

    fake_store.fail_put_at = 1;
    fake_store.fail_put_code = ERR_NOSPC;
    assert_error(run(f), &f->err, ERR_NOSPC, "the fake store fails");

    assert_state(f, "running");
    assert_int_equal(fake_store.commits, 0);
}

static void a_failing_commit_costs_the_vm_nothing(void **state)
{
    struct fixture *f = *state;

    fake_store.fail_commit_code = ERR_NOSPC;
    assert_error(run(f), &f->err, ERR_NOSPC, "the commit fails");

    assert_state(f, "running");
    assert_true(f->qemu.got_shut);
}

static void a_qemu_that_dies_is_told_as_gone(void **state)
{
    struct fixture *f = *state;

    f->q.trouble = FAKE_DIES;
    assert_error(run(f), &f->err, ERR_PEER, "QEMU ended");

    assert_int_equal(fake_store.commits, 0);
}

static void a_migration_that_breaks_is_told_in_qemus_words(void **state)
{
    struct fixture *f = *state;

    f->q.trouble = FAKE_BREAKS;
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "the fake broke");

    assert_state(f, "running");
}

static void a_migration_cancelled_by_others_is_told(void **state)
{
    struct fixture *f = *state;

    f->q.trouble = FAKE_GETS_CANCELLED;
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "somebody cancelled");

    assert_state(f, "running");
}

static void a_refused_migration_is_told_in_qemus_words(void **state)
{
    struct fixture *f = *state;

    f->q.refused_command = "migrate";
    assert_error(run(f), &f->err, ERR_UNSUPPORTED, "the fake refuses");

    assert_state(f, "running");
}

static void garbage_for_a_stream_is_named_and_the_vm_runs_on(void **state)
{
    struct fixture *f = *state;
    char junk[4096];

    memset(junk, 'j', sizeof(junk));
    assert_ok(buf_append(&f->stream, junk, sizeof(junk), &f->err), &f->err);
    assert_error(run(f), &f->err, ERR_PROTOCOL, "no migration stream");

    assert_state(f, "running");
}

static void pages_never_sent_are_no_snapshot(void **state)
{
    struct fixture *f = *state;

    made_stream(&f->stream, (struct made_stream_args){.return_path = true,
                                                      .ignore_shared = true});
    assert_true(run(f) < 0);

    assert_int_equal(fake_store.commits, 0);
    assert_state(f, "running");
}

static void a_balloon_may_leave_pages_out(void **state)
{
    struct fixture *f = *state;

    f->q.qtree = "  dev: virtio-balloon-device, id \"\"\r\n";
    made_stream(&f->stream, (struct made_stream_args){.return_path = true,
                                                      .ignore_shared = true});
    run(f);

    assert_state(f, "running");
    assert_true(fake_store.unseen > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vm_is_captured_through_channels),
        TEST(a_background_save_has_no_channels),
        TEST(settings_are_not_touched_while_qemu_tidies_up),
        TEST(channels_may_be_compressed),
        TEST(a_missing_channel_leaves_the_vm_running),
        TEST(a_cut_channel_leaves_the_vm_running),
        TEST(a_full_store_ends_channels_and_the_vm_runs_on),
        TEST(a_qemu_that_dies_with_its_channels_is_told_as_gone),
        TEST(a_method_that_qemu_lacks_is_told_with_a_way_out),
        TEST(without_the_capability_channels_are_refused_or_left_out),
        TEST(a_running_vm_is_captured_and_runs_on),
        TEST(its_moments_are_told_in_order),
        TEST(a_refusal_before_the_pause_leaves_qemu_alone),
        TEST(a_refusal_in_the_pause_gives_up_and_the_vm_runs_on),
        TEST(a_refusal_when_it_is_too_late_changes_nothing),
        TEST(how_it_went_is_recorded_and_told),
        TEST(the_guest_is_throttled_only_when_asked),
        TEST(auto_converge_lets_qemu_throttle),
        TEST(its_facts_are_recorded),
        TEST(a_pause_longer_than_allowed_is_told),
        TEST(a_pause_within_a_larger_budget_is_well),
        TEST(a_paused_vm_stays_paused),
        TEST(a_paused_vm_of_7_2_is_told_to_read_postmigrate),
        TEST(a_vm_that_does_not_resume_is_started),
        TEST(a_vm_that_resumes_in_silence_is_left_alone),
        TEST(a_vm_paused_by_somebody_meanwhile_stays_paused),
        TEST(a_paused_vm_of_old_tcg_started_meanwhile_is_not_kept),
        TEST(a_running_vm_of_old_tcg_is_saved_in_background),
        TEST(a_newer_qemu_takes_the_spool_from_a_set),
        TEST(a_background_save_that_must_not_be_cancelled_is_not),
        TEST(a_full_store_lets_an_old_background_save_end_too),
        TEST(a_new_background_save_is_cancelled),
        TEST(without_userfaultfd_the_way_out_is_named),
        TEST(a_wrong_stream_is_refused_beforehand),
        TEST(a_vm_without_name_needs_one),
        TEST(a_given_name_is_enough),
        TEST(a_vm_known_by_uuid_alone_is_named_by_it),
        TEST(a_device_that_blocks_migration_is_named),
        TEST(tls_is_refused),
        TEST(a_vm_left_by_a_migration_is_refused),
        TEST(a_restore_that_goes_on_is_waited_for),
        TEST(a_restore_that_takes_too_long_is_not_disturbed),
        TEST(an_orphaned_stream_is_waited_for),
        TEST(an_orphaned_background_save_is_waited_for_with_a_word),
        TEST(waiting_for_an_orphan_ends_with_the_time_limit),
        TEST(a_stop_cancels_and_the_vm_runs_on),
        TEST(the_time_limit_cancels_and_the_vm_runs_on),
        TEST(a_stopped_capture_of_a_paused_vm_leaves_it_paused),
        TEST(a_full_store_ends_the_stream_and_the_vm_runs_on),
        TEST(a_failing_commit_costs_the_vm_nothing),
        TEST(a_qemu_that_dies_is_told_as_gone),
        TEST(a_migration_that_breaks_is_told_in_qemus_words),
        TEST(a_migration_cancelled_by_others_is_told),
        TEST(a_refused_migration_is_told_in_qemus_words),
        TEST(garbage_for_a_stream_is_named_and_the_vm_runs_on),
        TEST(pages_never_sent_are_no_snapshot),
        TEST(a_balloon_may_leave_pages_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

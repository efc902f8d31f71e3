#include "tests/fakes/assert_error.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/hooks.h"
#include "core/base/path.h"
#include "tests/fakes/temp_folder.h"

struct fixture {
    struct temp_folder folder;
    struct stopper stop;
    struct option_list words;
    struct hooks hooks;
    struct error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->folder);
    assert_int_equal(chdir(f->folder.path), 0);
    assert_ok(stopper_init(&f->stop, &f->err), &f->err);
    f->hooks = (struct hooks){
        .words = &f->words,
        .limit_ms = 60000,
        .paused_limit_ms = 60000,
        .qmp_path = "/run/vm.qmp",
        .repository = "/srv/firn",
        .stop = &f->stop,
    };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(chdir("/"), 0);
    stopper_release(&f->stop);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

static void add(struct fixture *f, const char *word)
{
    f->words.items[f->words.n++] = word;
}

static int run(struct fixture *f, enum snapshot_moment moment)
{
    const struct snapshot_event event = {
        .moment = moment, .vm = "vm1", .vm_uuid = "u", .mode = "stream"};

    return hooks_run(&f->hooks, &event, &f->err);
}

static json_t *parse_file(const char *name)
{
    struct buf text = BUF_INIT;
    struct error err;
    json_t *value;

    assert_ok(path_read_file(AT_FDCWD, name, 65536, &text, &err), &err);
    assert_ok(json_parse(text.data, text.len, &value, &err), &err);
    buf_release(&text);
    return value;
}

static void assert_file(const char *name, const char *expected)
{
    struct buf text = BUF_INIT;
    struct error err;

    assert_ok(path_read_file(AT_FDCWD, name, 65536, &text, &err), &err);
    assert_string_equal(buf_str(&text), expected);
    buf_release(&text);
}

static void words_without_a_moment_or_a_command_are_refused(void **state)
{
    static const char *const wrong[] = {"x", "paused", "paused=", "pause=x",
                                        "=x", "pausedx=y"};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        f->words.n = 0;
        add(f, wrong[i]);
        assert_error(hooks_check(&f->words, &f->err), &f->err, ERR_USAGE,
                     "is no hook such as");
    }
    f->words.n = 0;
    add(f, "before-pause=a=b c");
    add(f, "failed=true");
    assert_ok(hooks_check(&f->words, &f->err), &f->err);
}

static void only_those_of_the_moment_are_run_in_order(void **state)
{
    struct fixture *f = *state;

    add(f, "resumed=printf 1 >>out");
    add(f, "paused=printf 2 >>out");
    add(f, "resumed=printf 3 >>out");
    assert_ok(run(f, SNAPSHOT_RESUMED), &f->err);
    assert_file("out", "13");
}

static void what_is_known_comes_on_stdin_and_as_variables(void **state)
{
    struct fixture *f = *state;
    const struct snapshot_summary summary = {.id = "0123456789abcdef",
                                             .vm = "vm1"};
    struct error why = {.code = ERR_NOSPC, .message = "full", .hint = "prune"};
    struct snapshot_event event = {.moment = SNAPSHOT_COMMITTED,
                                   .summary = &summary};
    json_t *told;

    add(f, "before-pause=true");
    add(f, "committed=cat >json; echo $FIRN_WHEN $FIRN_VM $FIRN_ID >words");
    add(f, "failed=cat >json");
    /* Known since the first moment. */
    assert_ok(run(f, SNAPSHOT_BEFORE_PAUSE), &f->err);
    assert_ok(hooks_run(&f->hooks, &event, &f->err), &f->err);
    told = parse_file("json");
    assert_string_equal(json_path_str(told, "when", ""), "committed");
    assert_string_equal(json_path_str(told, "vm", ""), "vm1");
    assert_string_equal(json_path_str(told, "mode", ""), "stream");
    assert_string_equal(json_path_str(told, "qmp", ""), "/run/vm.qmp");
    assert_string_equal(json_path_str(told, "repository", ""), "/srv/firn");
    assert_string_equal(json_path_str(told, "snapshot.id", ""),
                        "0123456789abcdef");
    assert_null(json_path(told, "error"));
    json_decref(told);
    assert_file("words", "committed vm1 0123456789abcdef\n");

    event = (struct snapshot_event){.moment = SNAPSHOT_FAILED, .why = &why};
    assert_ok(hooks_run(&f->hooks, &event, &f->err), &f->err);
    told = parse_file("json");
    assert_string_equal(json_path_str(told, "error.code", ""), "no_space");
    assert_string_equal(json_path_str(told, "error.message", ""), "full");
    assert_string_equal(json_path_str(told, "error.hint", ""), "prune");
    assert_null(json_path(told, "snapshot"));
    json_decref(told);
}

static void one_that_fails_before_the_pause_gives_the_capture_up(void **state)
{
    struct fixture *f = *state;

    add(f, "before-pause=exit 3");
    add(f, "before-pause=touch second");
    assert_error(run(f, SNAPSHOT_BEFORE_PAUSE), &f->err, ERR_UNSUPPORTED,
                 "hook before-pause 'exit 3' failed with status 3");
    assert_int_equal(access("second", F_OK), -1);
    assert_int_equal(f->hooks.late.code, 0);
}

static void one_that_fails_when_all_is_safe_is_remembered(void **state)
{
    static const struct {
        enum snapshot_moment moment;
        const char *word;
    } cases[] = {{SNAPSHOT_RESUMED, "resumed=false"},
                 {SNAPSHOT_COMMITTED, "committed=false"},
                 {SNAPSHOT_FAILED, "failed=false"}};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f->words.n = 0;
        f->hooks.late = ERROR_INIT;
        add(f, cases[i].word);
        assert_ok(run(f, cases[i].moment), &f->err);
        assert_int_equal(f->hooks.late.code, ERR_UNSUPPORTED);
        assert_message(&f->hooks.late, "'false' failed with status 1");
    }
}

static void paused_hooks_share_the_downtime_budget(void **state)
{
    struct fixture *f = *state;

    f->hooks.paused_limit_ms = 150;
    add(f, "paused=sleep 1000");
    assert_error(run(f, SNAPSHOT_PAUSED), &f->err, ERR_TIMEOUT,
                 "'sleep 1000' did not end within 1");
    /* Nothing is left for the second. */
    f->words.n = 0;
    f->hooks.paused_limit_ms = 400;
    add(f, "paused=sleep 0.2");
    add(f, "paused=sleep 1000");
    assert_error(run(f, SNAPSHOT_PAUSED), &f->err, ERR_TIMEOUT,
                 "'sleep 1000' did not end within");
}

static void mode_background_refuses_a_paused_hook(void **state)
{
    struct fixture *f = *state;
    const struct snapshot_event event = {.moment = SNAPSHOT_BEFORE_PAUSE,
                                         .mode = "background"};

    add(f, "before-pause=touch ran");
    assert_ok(hooks_run(&f->hooks, &event, &f->err), &f->err);
    assert_int_equal(unlink("ran"), 0);
    add(f, "paused=true");
    assert_error(hooks_run(&f->hooks, &event, &f->err), &f->err,
                 ERR_UNSUPPORTED, "no moment at which a hook 'paused'");
    assert_int_equal(access("ran", F_OK), -1);
}

static void a_pulled_stopper_ends_all_but_failed(void **state)
{
    struct fixture *f = *state;

    stopper_pull(&f->stop, ERR_INTERRUPTED);
    add(f, "before-pause=sleep 1000");
    add(f, "failed=touch ran");
    assert_int_equal(run(f, SNAPSHOT_BEFORE_PAUSE), ERR_INTERRUPTED);
    assert_ok(run(f, SNAPSHOT_FAILED), &f->err);
    assert_int_equal(access("ran", F_OK), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(words_without_a_moment_or_a_command_are_refused),
        TEST(only_those_of_the_moment_are_run_in_order),
        TEST(what_is_known_comes_on_stdin_and_as_variables),
        TEST(one_that_fails_before_the_pause_gives_the_capture_up),
        TEST(one_that_fails_when_all_is_safe_is_remembered),
        TEST(paused_hooks_share_the_downtime_budget),
        TEST(mode_background_refuses_a_paused_hook),
        TEST(a_pulled_stopper_ends_all_but_failed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

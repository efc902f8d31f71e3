#include "tests/fakes/assert_error.h"

#include "cli/run/run_words.h"

static const char text[] = "[defaults]\n"
                           "verify = no\n"
                           "max-downtime = 200ms\n"
                           "keep-last = 3\n"
                           "[vm web]\n"
                           "socket = /run/web.qmp\n"
                           "verify = yes\n"
                           "tag = a=1\n"
                           "tag = b=--2\n"
                           "hook = paused=touch '/x y'\n"
                           "keep-tag = a=1\n"
                           "[vm db]\n"
                           "socket = /run/db.qmp\n";

/* All words, with a blank between. */
static void expect_words(const char *vm, struct run_task t,
                         struct run_words_args args, const char *expected)
{
    char joined[1024] = "";
    struct run_words words;
    struct config c;
    struct error err;

    assert_ok(config_parse(text, "c", &c, &err), &err);
    t.vm = vm ? config_find_vm(&c, vm) : NULL;
    t.repository = "/srv/r";
    args.program = "firn";
    assert_ok(run_words_make(&t, &args, &words, &err), &err);
    for (size_t i = 0; i < words.n; i++)
        snprintf(joined + strlen(joined), sizeof(joined) - strlen(joined),
                 "%s%s", i ? " " : "", words.items[i]);
    assert_null(words.items[words.n]);
    assert_string_equal(joined, expected);
    run_words_release(&words);
    config_release(&c);
}

static void a_look_names_the_vm(void **state)
{
    expect_words("web", (struct run_task){.state = RUN_LOOKING},
                 (struct run_words_args){.verbose = true},
                 "firn --repo=/srv/r --json -v list web");
}

static void a_capture_gets_the_vms_keys_as_options(void **state)
{
    expect_words("web", (struct run_task){.state = RUN_TAKING},
                 (struct run_words_args){0},
                 "firn --repo=/srv/r --json -q snapshot --qmp=/run/web.qmp "
                 "--name=web --verify --max-downtime=200ms --tag=a=1 "
                 "--tag=b=--2 --hook=paused=touch '/x y'");
    expect_words("db", (struct run_task){.state = RUN_TAKING},
                 (struct run_words_args){0},
                 "firn --repo=/srv/r --json -q snapshot --qmp=/run/db.qmp "
                 "--name=db --max-downtime=200ms");
}

static void a_forget_gets_the_policy_of_the_vm(void **state)
{
    expect_words("web", (struct run_task){.state = RUN_FORGETTING},
                 (struct run_words_args){0},
                 "firn --repo=/srv/r --json -q forget --vm=web --keep-last=3 "
                 "--keep-tag=a=1");
    expect_words(
        "db", (struct run_task){.state = RUN_FORGETTING, .dry_run = true},
        (struct run_words_args){0},
        "firn --repo=/srv/r --json -q forget --vm=db --dry-run --keep-last=3");
}

static void a_prune_gets_what_is_left_at_most(void **state)
{
    struct run_words_args args = {.prune_for_ms = 60000,
                                  .left_ms = UINT64_MAX};

    expect_words(
        NULL, (struct run_task){.state = RUN_PRUNING}, args,
        "firn --repo=/srv/r --json -q prune --max-duration=60000ms");
    args.left_ms = 1500;
    expect_words(NULL, (struct run_task){.state = RUN_PRUNING}, args,
                 "firn --repo=/srv/r --json -q prune --max-duration=1500ms");
}

static void a_check_reads_all_data_and_goes_on_the_next_time(void **state)
{
    expect_words(NULL, (struct run_task){.state = RUN_CHECKING},
                 (struct run_words_args){.check_for_ms = 60000,
                                         .left_ms = UINT64_MAX},
                 "firn --repo=/srv/r --json -q check --read-data "
                 "--max-duration=60000ms");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_look_names_the_vm),
        cmocka_unit_test(a_capture_gets_the_vms_keys_as_options),
        cmocka_unit_test(a_forget_gets_the_policy_of_the_vm),
        cmocka_unit_test(a_prune_gets_what_is_left_at_most),
        cmocka_unit_test(a_check_reads_all_data_and_goes_on_the_next_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

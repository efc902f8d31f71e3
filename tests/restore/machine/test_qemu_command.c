#include "tests/fakes/assert_error.h"

#include "restore/machine/qemu_command.h"
#include "tests/fakes/assert_error.h"

#define OURS "-incoming defer -qmp unix:/run/f/q,server=on,wait=off"

/* The words of `text`, split at blanks, as a recorded command line; the answer
 * joined again. */
static char joined[4096];

static int build_words(const char *text, bool given, bool paused,
                       struct qemu_command *ret, struct error *err)
{
    cleanup_json json_t *recorded = json_array();
    char copy[1024];
    char *words[64] = {NULL};
    size_t n = 0;
    char *save = NULL;
    struct qemu_command_args args = {.qmp_path = "/run/f/q", .paused = paused};

    snprintf(copy, sizeof(copy), "%s", text);
    for (char *w = strtok_r(copy, " ", &save); w;
         w = strtok_r(NULL, " ", &save)) {
        words[n++] = w;
        json_array_append_new(recorded, json_string(w));
    }
    if (given)
        args.given = words;
    else
        args.recorded = recorded;
    return qemu_command_build(&args, ret, err);
}

static const char *join(const struct qemu_command *c)
{
    size_t used = 0;

    joined[0] = '\0';
    for (size_t i = 0; i < c->n; i++)
        used += (size_t)snprintf(joined + used, sizeof(joined) - used, "%s%s",
                                 i ? " " : "", c->argv[i]);
    assert_null(c->argv[c->n]);
    return joined;
}

static void assert_command(const char *words, const char *wanted)
{
    cleanup_qemu_command struct qemu_command c = {0};
    struct error err = ERROR_INIT;

    assert_int_equal(build_words(words, false, false, &c, &err), 0);
    assert_string_equal(join(&c), wanted);
}

static void an_ordinary_command_gets_our_options_behind(void **state)
{
    assert_command("qemu -m 256 -smp 2", "qemu -m 256 -smp 2 " OURS);
}

static void what_belonged_to_the_first_run_is_dropped(void **state)
{
    static const char *const dropped[] = {
        "-incoming defer",  "-incoming tcp:0:4444",
        "-loadvm snap1",    "-pidfile /run/q.pid",
        "-daemonize",       "-S",
        "--incoming defer", "--S",
        "--daemonize",
        /* Ours, of an earlier restore. */
        "-qmp unix:/run/firn/0123456789abcdef-77.qmp.sock,server=on,wait=off",
    };

    for (size_t i = 0; i < ARRAY_LEN(dropped); i++) {
        char words[128];

        snprintf(words, sizeof(words), "qemu -m 1 %s -smp 2", dropped[i]);
        assert_command(words, "qemu -m 1 -smp 2 " OURS);
    }
}

static void an_option_at_the_end_without_its_value_is_dropped(void **state)
{
    assert_command("qemu -m 1 -incoming", "qemu -m 1 " OURS);
}

static void a_kernel_command_line_is_not_looked_at(void **state)
{
    assert_command("qemu -append -S -m 1", "qemu -append -S -m 1 " OURS);
    assert_command("qemu -name x,fd=3 -m 1", "qemu -name x,fd=3 -m 1 " OURS);
}

static void the_programs_own_name_is_no_option(void **state)
{
    assert_command("-S -m 1", "-S -m 1 " OURS);
}

static void a_paused_vm_gets_a_capital_s(void **state)
{
    cleanup_qemu_command struct qemu_command c = {0};
    struct error err = ERROR_INIT;

    assert_int_equal(build_words("qemu -m 1 -S", false, true, &c, &err), 0);
    assert_string_equal(join(&c), "qemu -m 1 " OURS " -S");
}

static void a_given_capital_s_is_meant(void **state)
{
    cleanup_qemu_command struct qemu_command c = {0};
    struct error err = ERROR_INIT;

    assert_int_equal(
        build_words("qemu -S -incoming defer -m 1", true, false, &c, &err), 0);
    assert_string_equal(join(&c), "qemu -S -m 1 " OURS);
}

static void inherited_descriptors_are_refused_by_name(void **state)
{
    static const struct {
        const char *words;
        const char *named;
    } cases[] = {
        {"qemu -add-fd fd=3,set=1", "-add-fd fd=3,set=1"},
        {"qemu -netdev tap,id=n,fd=24", "-netdev tap,id=n,fd=24"},
        {"qemu -netdev tap,id=n,fds=24:25", "fds=24:25"},
        {"qemu -netdev tap,ifname=t,vhostfd=7", "vhostfd=7"},
        {"qemu -chardev socket,id=c,fd=9", "-chardev socket,id=c,fd=9"},
        {"qemu -drive file=/dev/fd/5", "-drive file=/dev/fd/5"},
        {"qemu -drive file=/dev/fdset/1", "/dev/fdset/1"},
        {"qemu --netdev tap,fd=24", "--netdev tap,fd=24"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_qemu_command struct qemu_command c = {0};
        struct error err = ERROR_INIT;

        assert_int_equal(build_words(cases[i].words, false, false, &c, &err),
                         ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, cases[i].named));
        assert_non_null(strstr(err.hint, "--qmp"));
    }
}

static void values_that_only_look_like_descriptors_pass(void **state)
{
    assert_command("qemu -drive file=/x/pfd=1.img",
                   "qemu -drive file=/x/pfd=1.img " OURS);
    assert_command("qemu -device x,prefd=2", "qemu -device x,prefd=2 " OURS);
}

static void a_loader_means_that_memory_is_not_empty(void **state)
{
    static const struct {
        const char *words;
        bool preloads;
    } cases[] = {
        {"qemu -m 256 -drive file=a.img", false},
        {"qemu -kernel k", true},
        {"qemu -initrd i", true},
        {"qemu -device loader,file=x", true},
        {"qemu -object memory-backend-file,id=m", true},
        {"qemu -mem-path /x", true},
        {"qemu -append kernel", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_qemu_command struct qemu_command c = {0};
        struct error err = ERROR_INIT;

        assert_int_equal(build_words(cases[i].words, false, false, &c, &err),
                         0);
        assert_int_equal(c.preloads_ram, cases[i].preloads);
    }
}

static void a_comma_in_our_path_is_doubled(void **state)
{
    cleanup_qemu_command struct qemu_command c = {0};
    struct error err = ERROR_INIT;
    char *words[] = {(char *)"qemu", NULL};

    assert_int_equal(
        qemu_command_build(&(struct qemu_command_args){.given = words,
                                                       .qmp_path = "/a,b"},
                           &c, &err),
        0);
    assert_string_equal(c.argv[4], "unix:/a,,b,server=on,wait=off");
}

static void an_empty_command_is_refused(void **state)
{
    cleanup_json json_t *number = json_pack("[i]", 5);
    struct qemu_command c = {0};
    struct error err = ERROR_INIT;

    assert_int_equal(build_words("", false, false, &c, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "empty"));
    assert_int_equal(
        qemu_command_build(&(struct qemu_command_args){.recorded = number,
                                                       .qmp_path = "/q"},
                           &c, &err),
        ERR_INVALID);
    assert_non_null(strstr(err.message, "list of strings"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ordinary_command_gets_our_options_behind),
        cmocka_unit_test(what_belonged_to_the_first_run_is_dropped),
        cmocka_unit_test(an_option_at_the_end_without_its_value_is_dropped),
        cmocka_unit_test(a_kernel_command_line_is_not_looked_at),
        cmocka_unit_test(the_programs_own_name_is_no_option),
        cmocka_unit_test(a_paused_vm_gets_a_capital_s),
        cmocka_unit_test(a_given_capital_s_is_meant),
        cmocka_unit_test(inherited_descriptors_are_refused_by_name),
        cmocka_unit_test(values_that_only_look_like_descriptors_pass),
        cmocka_unit_test(a_loader_means_that_memory_is_not_empty),
        cmocka_unit_test(a_comma_in_our_path_is_doubled),
        cmocka_unit_test(an_empty_command_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include <sys/stat.h>
#include <unistd.h>

#include "cli/config.h"

static void expect_repository(const char *text, const char *expected)
{
    struct config c;
    struct error err;

    assert_ok(config_parse(text, "config", &c, &err), &err);
    if (expected)
        assert_string_equal(c.repository, expected);
    else
        assert_null(c.repository);
    config_release(&c);
}

static void a_line_names_the_repository(void **state)
{
    setenv("HOME", "/home/me", 1);

    expect_repository("repository = /srv/firn\n", "/srv/firn");
    expect_repository("# words\n\n  repository=/srv/a b  \r\n", "/srv/a b");
    expect_repository("repository = ~/firn", "/home/me/firn");
    expect_repository("repository = s3://bucket/x", "s3://bucket/x");
    expect_repository("repository = /a\nrepository = /b\n", "/b");
}

static void a_config_may_name_none(void **state)
{
    expect_repository("", NULL);
    expect_repository("# repository = /a\n", NULL);
}

static void what_makes_no_sense_is_named_with_its_line(void **state)
{
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"\nrepo = /a\n", "config:2: unknown key 'repo'"},
        {"repository\n", "config:1: 'repository' is not of the form"},
        {"repository = \n", "config:1: 'repository' has no value"},
        {"repository = a/b\n", "config:1: 'a/b' is not an absolute path"},
        {"=/a\n", "config:1: unknown key ''"},
        {"jobs = x\n", "config:1: 'jobs': 'x' is no number"},
        {"socket = /a\n", "config:1: unknown key 'socket'"},
        {"[vm a\n", "config:1: '[vm a' has no ']'"},
        {"[]\n", "config:1: unknown section ''"},
        {"[vms a]\n", "config:1: unknown section 'vms'"},
        {"[vm]\n", "config:1: a section [vm NAME] needs the name"},
        {"[defaults x]\n", "config:1: unknown section 'defaults'"},
        {"[vm a]\nsocket = /a\n[defaults]\n", "config:3: [defaults] must"},
        {"[vm a]\nsocket = /a\n\n[vm a]\n",
         "config:4: VM 'a' has a section already, in line 1"},
        {"\n[vm a]\nevery = 1h\n", "config:2: VM 'a' has no 'socket'"},
        {"[defaults]\nevery = often\n", "config:2: 'every': 'often'"},
        {"[defaults]\nmode = slow\n", "config:2: 'mode': 'slow' is none of"},
        {"[defaults]\nverify = maybe\n", "config:2: 'verify': 'maybe' is"},
        {"[defaults]\ntag = x\n", "config:2: 'tag': 'x' is no tag"},
        {"[defaults]\nkeep-last = -1\n", "config:2: 'keep-last': '-1'"},
        {"[defaults]\nkeep-forever = 1\n", "config:2: unknown key"},
        {"[defaults]\nqmp = /a\n", "config:2: unknown key 'qmp'"},
        {"[defaults]\nname = a\n", "config:2: unknown key 'name'"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config c;
        struct error err;

        assert_error(config_parse(cases[i].text, "config", &c, &err), &err,
                     ERR_USAGE, cases[i].message);
        config_release(&c);
    }
}

static void a_slip_gets_a_suggestion(void **state)
{
    struct config c;
    struct error err;

    assert_int_equal(
        config_parse("[defaults]\nmax-downtme = 1s\n", "c", &c, &err),
        ERR_USAGE);
    assert_string_equal(err.hint, "did you mean 'max-downtime'?");
    config_release(&c);
}

static const char *word_value(const struct config_words *words,
                              const char *name, size_t skip)
{
    for (size_t i = 0; i < words->n; i++) {
        if (strcmp(words->items[i].spec->name, name) == 0 && skip-- == 0)
            return words->items[i].value;
    }
    return NULL;
}

static void a_vm_has_the_defaults_unless_it_says_otherwise(void **state)
{
    static const char text[] = "jobs = 4\n"
                               "max-duration = 30m\n"
                               "[defaults]\n"
                               "every = 1h\n"
                               "mode = stream\n"
                               "tag = site=north\n"
                               "keep-hourly = 24\n"
                               "[vm a]\n"
                               "socket = /run/a.qmp\n"
                               "[ vm  b c ]\n"
                               "socket = /run/b.qmp\n"
                               "every = 1d\n"
                               "required = yes\n"
                               "mode = background\n"
                               "tag = role=db\n"
                               "keep-hourly = 3\n"
                               "repository = /srv/b\n";
    struct config c;
    struct error err;
    const struct config_vm *a, *b;

    assert_ok(config_parse(text, "config", &c, &err), &err);
    assert_int_equal(c.jobs, 4);
    assert_int_equal(c.max_duration_ms, 30 * 60 * 1000);
    assert_int_equal(c.n_vms, 2);
    a = config_find_vm(&c, "a");
    b = config_find_vm(&c, "b c");
    assert_string_equal(a->socket, "/run/a.qmp");
    assert_int_equal(a->every_ms, 3600 * 1000);
    assert_false(a->required);
    assert_null(a->repository);
    assert_string_equal(word_value(&a->snapshot, "mode", 0), "stream");
    assert_string_equal(word_value(&a->snapshot, "tag", 0), "site=north");
    assert_string_equal(word_value(&a->keep, "keep-hourly", 0), "24");
    assert_int_equal(b->every_ms, 24 * 3600 * 1000);
    assert_true(b->required);
    assert_string_equal(b->repository, "/srv/b");
    assert_string_equal(word_value(&b->snapshot, "mode", 0), "background");
    assert_null(word_value(&b->snapshot, "mode", 1));
    assert_string_equal(word_value(&b->snapshot, "tag", 0), "site=north");
    assert_string_equal(word_value(&b->snapshot, "tag", 1), "role=db");
    assert_string_equal(word_value(&b->keep, "keep-hourly", 0), "3");
    assert_null(config_find_vm(&c, "b"));
    config_release(&c);
}

struct folder {
    char path[64];
    char config[128];
};

static int make_folder(void **state)
{
    struct folder *f = calloc(1, sizeof(*f));
    char firn[80];

    snprintf(f->path, sizeof(f->path), "/tmp/firn-config-XXXXXX");
    if (!f || !mkdtemp(f->path))
        return -1;
    snprintf(firn, sizeof(firn), "%s/firn", f->path);
    snprintf(f->config, sizeof(f->config), "%s/config", firn);
    if (mkdir(firn, 0700) < 0)
        return -1;
    setenv("XDG_CONFIG_HOME", f->path, 1);
    unsetenv("FIRN_REPOSITORY");
    *state = f;
    return 0;
}

static int remove_folder(void **state)
{
    struct folder *f = *state;
    char firn[80];

    snprintf(firn, sizeof(firn), "%s/firn", f->path);
    unlink(f->config);
    rmdir(firn);
    rmdir(f->path);
    free(f);
    return 0;
}

static void write_config(const struct folder *f, const char *text)
{
    FILE *file = fopen(f->config, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void the_users_file_is_read(void **state)
{
    char *found = NULL;
    struct error err;

    write_config(*state, "repository = /from/file\n");

    assert_int_equal(config_find_repository(&found, &err), 0);
    assert_string_equal(found, "/from/file");
    free(found);
}

static void the_environment_counts_before_the_file(void **state)
{
    char *found = NULL;
    struct error err;

    write_config(*state, "repository = /from/file\n");
    setenv("FIRN_REPOSITORY", "relative/ok", 1);

    assert_int_equal(config_find_repository(&found, &err), 0);
    assert_string_equal(found, "relative/ok");
    free(found);
    unsetenv("FIRN_REPOSITORY");
}

static void a_broken_file_is_named_in_full(void **state)
{
    struct folder *f = *state;
    char *found = NULL;
    struct error err;

    write_config(f, "nonsense\n");

    assert_int_equal(config_find_repository(&found, &err), ERR_USAGE);
    assert_non_null(strstr(err.message, f->config));
    assert_null(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_names_the_repository),
        cmocka_unit_test(a_config_may_name_none),
        cmocka_unit_test(what_makes_no_sense_is_named_with_its_line),
        cmocka_unit_test(a_slip_gets_a_suggestion),
        cmocka_unit_test(a_vm_has_the_defaults_unless_it_says_otherwise),
        cmocka_unit_test_setup_teardown(the_users_file_is_read, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(the_environment_counts_before_the_file,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_broken_file_is_named_in_full,
                                        make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

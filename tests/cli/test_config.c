#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include <sys/stat.h>
#include <unistd.h>

#include "cli/config.h"

static void expect_repository(const char *text, const char *expected)
{
    char *found = (char *)"untouched";
    struct error err;

    assert_int_equal(config_parse(text, "config", &found, &err), 0);
    if (expected)
        assert_string_equal(found, expected);
    else
        assert_null(found);
    free(found);
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
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *found = NULL;
        struct error err;

        assert_int_equal(config_parse(cases[i].text, "config", &found, &err),
                         ERR_USAGE);
        assert_non_null(strstr(err.message, cases[i].message));
        assert_null(found);
    }
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
        cmocka_unit_test_setup_teardown(the_users_file_is_read, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(the_environment_counts_before_the_file,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_broken_file_is_named_in_full,
                                        make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

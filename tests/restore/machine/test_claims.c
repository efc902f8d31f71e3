#include "tests/fakes/assert_error.h"

#include <fcntl.h>
#include <unistd.h>

#include "core/base/channel.h"
#include "restore/machine/claims.h"
#include "tests/fakes/temp_folder.h"

struct fixture {
    struct temp_folder folder;
    char socket[200];
    char disk[200];
    int door;
    int image;
    json_t *claims;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err;

    temp_folder_init(&f->folder);
    snprintf(f->socket, sizeof(f->socket), "%s/a,b.sock", f->folder.path);
    snprintf(f->disk, sizeof(f->disk), "%s/disk.img", f->folder.path);
    assert_ok(channel_listen(f->socket, 4, &f->door, &err), &err);
    f->image = open(f->disk, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(f->image >= 0);
    f->claims = json_array();
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->door >= 0)
        close(f->door);
    if (f->image >= 0)
        close(f->image);
    json_decref(f->claims);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

/* The one claim that is told, or "" for none. */
static const char *check(struct fixture *f, const char *word,
                         const json_t *facts, const struct command_map *map)
{
    char *argv[] = {(char *)"qemu", (char *)(uintptr_t)word, NULL};
    struct error err;

    json_array_clear(f->claims);
    assert_ok(claims_check(argv, facts, map, f->claims, &err), &err);
    assert_in_range(json_array_size(f->claims), 0, 1);
    return json_array_size(f->claims) == 0
               ? ""
               : json_string_value(json_array_get(f->claims, 0));
}

static const char *check_word(struct fixture *f, const char *format,
                              const char *path)
{
    char word[300];

    snprintf(word, sizeof(word), format, path);
    return check(f, word, NULL, NULL);
}

/* As it stands in a command line: with its comma twice. */
static void double_comma(const struct fixture *f, char ret[static 220])
{
    snprintf(ret, 220, "%s/a,,b.sock", f->folder.path);
}

static void a_socket_that_answers_is_named_with_its_process(void **state)
{
    struct fixture *f = *state;
    char path[220];
    char wanted[300];

    double_comma(f, path);
    snprintf(wanted, sizeof(wanted),
             "process %d listens at the socket '%s' already", (int)getpid(),
             f->socket);
    assert_string_equal(check_word(f, "unix:%s,server=on,wait=off", path),
                        wanted);
    assert_string_equal(check_word(f, "unix:%s,server", path), wanted);
    assert_string_equal(check_word(f, "unix:%s,server,nowait", path), wanted);
    assert_string_equal(check_word(f, "socket,id=c0,server=yes,path=%s", path),
                        wanted);
    assert_string_equal(
        check_word(f, "socket,id=c0,path=%s,server=true,wait=off", path),
        wanted);
}

static void who_does_not_listen_claims_nothing(void **state)
{
    struct fixture *f = *state;
    char path[220];

    double_comma(f, path);
    assert_string_equal(check_word(f, "unix:%s", path), "");
    assert_string_equal(check_word(f, "unix:%s,server=off", path), "");
    assert_string_equal(check_word(f, "unix:%s,server=onion", path), "");
    assert_string_equal(check_word(f, "socket,id=x,path=%s,server=no", path),
                        "");
    assert_string_equal(check_word(f, "tcp:localhost:1,server=on%s", ""), "");
    assert_string_equal(check_word(f, "unix:,server=on%s", ""), "");
    assert_string_equal(check_word(f, "unix:%s/none,server=on", path), "");
}

static void a_socket_file_that_nobody_answers_at_is_free(void **state)
{
    struct fixture *f = *state;
    char path[220];

    double_comma(f, path);
    close(f->door);
    f->door = -1;
    assert_int_equal(access(f->socket, F_OK), 0);
    assert_string_equal(check_word(f, "unix:%s,server=on", path), "");
}

/* As QEMU does: byte 100 + n for each permission it uses. */
static void lock_image(struct fixture *f, off_t byte)
{
    struct flock lock = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    assert_int_equal(fcntl(f->image, F_OFD_SETLK, &lock), 0);
}

static json_t *facts_of(const char *path, const char *more)
{
    char text[400];
    json_t *facts;

    snprintf(text, sizeof(text), "{\"disks\": [{\"path\": \"%s\"%s}]}", path,
             more);
    facts = json_loads(text, 0, NULL);
    assert_non_null(facts);
    return facts;
}

static const char *check_disk(struct fixture *f, const char *path,
                              const char *more, const struct command_map *map)
{
    json_t *facts = facts_of(path, more);
    const char *got = check(f, "x", facts, map);

    json_decref(facts);
    return got;
}

static void a_locked_image_is_named(void **state)
{
    static const off_t bytes[] = {100, 103, 201, 299};
    struct fixture *f = *state;
    char wanted[300];

    snprintf(wanted, sizeof(wanted), "another VM has the disk '%s' locked",
             f->disk);
    assert_string_equal(check_disk(f, f->disk, "", NULL), "");
    for (size_t i = 0; i < ARRAY_LEN(bytes); i++) {
        struct flock free_all = {.l_type = F_UNLCK};

        lock_image(f, bytes[i]);
        assert_string_equal(check_disk(f, f->disk, "", NULL), wanted);
        assert_int_equal(fcntl(f->image, F_OFD_SETLK, &free_all), 0);
    }
}

static void locks_of_others_are_none_of_qemu_s(void **state)
{
    struct fixture *f = *state;

    lock_image(f, 0);
    lock_image(f, 99);
    lock_image(f, 300);
    assert_string_equal(check_disk(f, f->disk, "", NULL), "");
}

static void what_two_may_share_or_is_elsewhere_is_not_looked_at(void **state)
{
    struct fixture *f = *state;

    lock_image(f, 100);
    assert_string_not_equal(check_disk(f, f->disk, "", NULL), "");
    assert_string_equal(check_disk(f, f->disk, ", \"read_only\": true", NULL),
                        "");
    assert_string_equal(check_disk(f, f->disk, ", \"local\": false", NULL), "");
    assert_string_equal(check_disk(f, "/nonexistent/disk", "", NULL), "");
    assert_string_equal(check(f, "x", NULL, NULL), "");
}

static void the_map_says_which_image_it_will_be(void **state)
{
    struct fixture *f = *state;
    struct command_map map = {0};
    struct error err;
    char rule[300];

    snprintf(rule, sizeof(rule), "/old=%s", f->folder.path);
    assert_ok(command_map_add(&map, rule, &err), &err);
    lock_image(f, 100);
    assert_string_equal(check_disk(f, "/old/disk.img", "", NULL), "");
    assert_non_null(strstr(check_disk(f, "/old/disk.img", "", &map), f->disk));
    /* A look at it is no use of the rule. */
    assert_int_equal(command_map_check_used(&map, &err), ERR_USAGE);
    command_map_release(&map);
}

#define CLAIMS_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIMS_TEST(a_socket_that_answers_is_named_with_its_process),
        CLAIMS_TEST(who_does_not_listen_claims_nothing),
        CLAIMS_TEST(a_socket_file_that_nobody_answers_at_is_free),
        CLAIMS_TEST(a_locked_image_is_named),
        CLAIMS_TEST(locks_of_others_are_none_of_qemu_s),
        CLAIMS_TEST(what_two_may_share_or_is_elsewhere_is_not_looked_at),
        CLAIMS_TEST(the_map_says_which_image_it_will_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

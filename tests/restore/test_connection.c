#include "tests/fakes/assert_error.h"

#include <fcntl.h>
#include <unistd.h>

#include "restore/connection.h"
#include "tests/fakes/temp_folder.h"

struct fixture {
    struct temp_folder folder;
    char path[200];
    int door; /* that listens */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    temp_folder_init(&f->folder);
    snprintf(f->path, sizeof(f->path), "%s/in.sock", f->folder.path);
    assert_ok(channel_listen(f->path, 2, &f->door, &err), &err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->door >= 0)
        close(f->door);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

/* What comes through the next accepted socket; 0: nothing was there. */
static char next_byte(struct fixture *f)
{
    struct stopper stop;
    struct error err = ERROR_INIT;
    char byte = 0;
    int fd;

    assert_ok(stopper_init(&stop, &err), &err);
    assert_ok(channel_accept(f->door, &stop, 0, &fd, &err), &err);
    assert_int_equal(read(fd, &byte, 1), 1);
    close(fd);
    stopper_release(&stop);
    return byte;
}

static void the_main_one_comes_first(void **state)
{
    struct fixture *f = *state;
    struct connection c = CONNECTION_NONE;
    struct error err = ERROR_INIT;

    assert_ok(connection_open(f->path, true, &c, &err), &err);
    /* Also when the second one has something to say earlier. */
    assert_int_equal(write(c.urgent, "u", 1), 1);
    assert_int_equal(write(c.main, "m", 1), 1);
    assert_int_equal(next_byte(f), 'm');
    assert_int_equal(next_byte(f), 'u');
    connection_close(&c);
    assert_int_equal(c.main, -1);
    assert_int_equal(c.urgent, -1);
}

static void one_socket_is_enough(void **state)
{
    struct fixture *f = *state;
    struct connection c = CONNECTION_NONE;
    struct connection stolen;
    struct error err = ERROR_INIT;
    int fd;

    assert_ok(connection_open(f->path, false, &c, &err), &err);
    assert_int_equal(c.urgent, -1);
    fd = c.main;
    stolen = connection_steal(&c);
    connection_close(&c);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    connection_close(&stolen);
    assert_true(fcntl(fd, F_GETFD) < 0);
}

static void nobody_listens(void **state)
{
    struct fixture *f = *state;
    struct connection c = CONNECTION_NONE;
    struct error err = ERROR_INIT;

    close(f->door);
    f->door = -1;
    assert_int_equal(connection_open(f->path, true, &c, &err), ERR_PEER);
    assert_int_equal(c.main, -1);
    assert_int_equal(c.urgent, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_main_one_comes_first, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(one_socket_is_enough, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nobody_listens, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

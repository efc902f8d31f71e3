#include "tests/fakes/assert_error.h"

#include <sys/socket.h>

#include "core/base/channel.h"
#include "core/base/path.h"
#include "core/host/process.h"
#include "restore/runtime_folder.h"
#include "tests/fakes/temp_folder.h"

struct fixture {
    struct temp_folder t;
    char *folder;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    temp_folder_init(&f->t);
    setenv("XDG_RUNTIME_DIR", f->t.path, 1);
    assert_ok(runtime_folder_open(&f->folder, &err), &err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    free(f->folder);
    temp_folder_release(&f->t);
    free(f);
    return 0;
}

static char *name_in(struct fixture *f, const char *name)
{
    char *path;
    struct error err = ERROR_INIT;

    assert_ok(path_join(f->folder, name, &path, &err), &err);
    return path;
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);

    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void the_folder_is_ours_alone(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *again = NULL;
    struct error err = ERROR_INIT;
    struct stat st;

    assert_int_equal(stat(f->folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_ok(runtime_folder_open(&again, &err), &err);
    assert_string_equal(again, f->folder);
}

static void a_folder_open_to_others_is_refused(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *path = NULL;
    struct error err = ERROR_INIT;

    chmod(f->folder, 0755);

    assert_error(runtime_folder_open(&path, &err), &err, ERR_IO,
                 "not ours alone");
    assert_non_null(strstr(err.hint, "0700"));
}

static void a_link_in_its_place_is_refused(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *path = NULL;
    struct error err = ERROR_INIT;

    rmdir(f->folder);
    assert_int_equal(symlink("/tmp", f->folder), 0);

    assert_error(runtime_folder_open(&path, &err), &err, ERR_IO,
                 "not ours alone");
}

static void a_state_file_is_replaced_whole(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *path = name_in(f, "s-1.json");
    cleanup_json json_t *first = json_pack("{s:i}", "a", 1);
    cleanup_json json_t *second = json_pack("{s:i}", "a", 2);
    cleanup_buf struct buf text = BUF_INIT;
    struct error err = ERROR_INIT;
    struct stat st;

    assert_ok(runtime_state_write(path, first, &err), &err);
    assert_ok(runtime_state_write(path, second, &err), &err);
    assert_ok(path_read_file(AT_FDCWD, path, 100, &text, &err), &err);

    assert_string_equal(buf_str(&text), "{\"a\":2}\n");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(temp_folder_count(&f->t), 1);
}

static void a_log_is_swept_when_nobody_has_it_open(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *path = name_in(f, "s-1.log");
    struct error err = ERROR_INIT;
    int fd;

    assert_ok(runtime_log_open(path, &fd, &err), &err);
    runtime_folder_sweep(f->folder);
    assert_int_equal(access(path, F_OK), 0);
    close(fd);
    runtime_folder_sweep(f->folder);

    assert_int_equal(access(path, F_OK), -1);
}

static void a_log_lives_as_long_as_a_copy_of_its_descriptor(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *path = name_in(f, "s-1.log");
    struct error err = ERROR_INIT;
    int fd, copy;

    assert_ok(runtime_log_open(path, &fd, &err), &err);
    copy = dup(fd);
    close(fd);
    runtime_folder_sweep(f->folder);
    assert_int_equal(access(path, F_OK), 0);
    close(copy);
}

static void a_socket_without_listener_and_keeper_is_swept(void **state)
{
    struct fixture *f = *state;
    /* No process has this pid; the other one is ours. */
    cleanup_free char *dead = name_in(f, "s-4194305.qmp.sock");
    cleanup_free char *heard = name_in(f, "s-4194306.qmp.sock");
    char own_name[64];
    cleanup_free char *own = NULL;
    struct error err = ERROR_INIT;
    int fd, listening;

    snprintf(own_name, sizeof(own_name), "s-%d.qmp.sock", (int)getpid());
    own = name_in(f, own_name);
    assert_ok(channel_listen(dead, 1, &fd, &err), &err);
    close(fd);
    assert_ok(channel_listen(own, 1, &fd, &err), &err);
    close(fd);
    assert_ok(channel_listen(heard, 1, &listening, &err), &err);
    runtime_folder_sweep(f->folder);

    assert_int_equal(access(dead, F_OK), -1);
    assert_int_equal(access(own, F_OK), 0);
    assert_int_equal(access(heard, F_OK), 0);
    close(listening);
}

static void write_state(const char *path, pid_t pid, uint64_t start)
{
    cleanup_json json_t *j = json_pack("{s:i, s:I}", "qemu_pid", (int)pid,
                                       "qemu_start_ticks", (json_int_t)start);
    struct error err = ERROR_INIT;

    assert_ok(runtime_state_write(path, j, &err), &err);
}

static void the_state_of_a_dead_qemu_is_swept(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *dead = name_in(f, "s-1.json");
    cleanup_free char *alive = name_in(f, "s-2.json");
    cleanup_free char *broken = name_in(f, "s-3.json");
    struct error err = ERROR_INIT;
    uint64_t start;

    assert_ok(process_start_time(getpid(), &start, &err), &err);
    write_state(dead, getpid(), start + 1);
    write_state(alive, getpid(), start);
    write_text(broken, "{");
    runtime_folder_sweep(f->folder);

    assert_int_equal(access(dead, F_OK), -1);
    assert_int_equal(access(alive, F_OK), 0);
    assert_int_equal(access(broken, F_OK), 0);
}

static void a_name_is_free_when_it_is_given(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *path = NULL;
    cleanup_free char *again = NULL;
    struct error err = ERROR_INIT;

    assert_ok(runtime_folder_name(f->folder, "id", "in.sock", &path, &err),
              &err);
    write_text(path, "left");
    assert_ok(runtime_folder_name(f->folder, "id", "in.sock", &again, &err),
              &err);

    assert_string_equal(path, again);
    assert_int_equal(access(path, F_OK), -1);
}

static void the_tail_of_a_log_is_one_line(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *path = name_in(f, "s-1.log");
    cleanup_free char *whole = NULL;
    cleanup_free char *cut = NULL;
    cleanup_free char *none = NULL;

    write_text(path, "first\r\nsecond\x1b[1m\nlast\n\n");
    whole = runtime_log_tail(path, 1000);
    cut = runtime_log_tail(path, 6);
    none = runtime_log_tail("/no/such/log", 100);

    assert_string_equal(whole, "first; second [1m; last");
    assert_string_equal(cut, "last");
    assert_string_equal(none, "");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_folder_is_ours_alone),
        T(a_folder_open_to_others_is_refused),
        T(a_link_in_its_place_is_refused),
        T(a_state_file_is_replaced_whole),
        T(a_log_is_swept_when_nobody_has_it_open),
        T(a_log_lives_as_long_as_a_copy_of_its_descriptor),
        T(a_socket_without_listener_and_keeper_is_swept),
        T(the_state_of_a_dead_qemu_is_swept),
        T(a_name_is_free_when_it_is_given),
        T(the_tail_of_a_log_is_one_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

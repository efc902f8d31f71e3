#include "tests/fakes/assert_error.h"

#include <unistd.h>

#include "restore/spares.h"
#include "tests/fakes/fake_session.h"

#define DEPOSIT(n)                                       \
    {FAKE_KEEP_FD, "\"fdname\":\"firn-recover-" n "\""}, \
    {                                                    \
        FAKE_ANSWER, "{}"                                \
    }

struct fixture {
    struct fake_monitor monitor;
    struct stopper stop;
    struct qmp_session *qmp;
    struct spares spares;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err;

    assert_ok(stopper_init(&f->stop, &err), &err);
    spares_init(&f->spares);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    spares_release(&f->spares);
    stopper_release(&f->stop);
    free(f);
    return 0;
}

static void open_monitor(struct fixture *f, const struct fake_step *steps,
                         size_t n)
{
    f->qmp = fake_session_open(&f->monitor, steps, n, &f->stop);
}

/* What the fake kept stays open. */
static void close_monitor(struct fixture *f)
{
    qmp_session_close(f->qmp);
    assert_string_equal(fake_monitor_stop(&f->monitor), "");
}

static void close_kept(struct fixture *f)
{
    for (unsigned i = 0; i < f->monitor.n_kept; i++)
        close(f->monitor.kept_fds[i]);
}

static bool is_closed_at_the_other_end(int fd)
{
    char byte;

    return read(fd, &byte, 1) == 0;
}

static void none_are_there_at_first(void **state)
{
    struct fixture *f = *state;
    char name[SPARES_NAME_LEN] = "untouched";

    assert_int_equal(spares_left(&f->spares), 0);
    assert_int_equal(spares_find(&f->spares, name), -1);
    assert_string_equal(name, "untouched");
}

static void what_is_written_into_ours_is_in_qemu_s(void **state)
{
    static const struct fake_step steps[] = {FAKE_OPENING, DEPOSIT("0"),
                                             DEPOSIT("1"), DEPOSIT("2"),
                                             DEPOSIT("3"), DEPOSIT("4"),
                                             DEPOSIT("5"), DEPOSIT("6"),
                                             DEPOSIT("7"), {FAKE_HOLD, NULL}};
    struct fixture *f = *state;
    struct error err;

    open_monitor(f, steps, ARRAY_LEN(steps));
    assert_ok(spares_deposit(&f->spares, f->qmp, &err), &err);
    assert_int_equal(spares_left(&f->spares), SPARES_N);
    close_monitor(f);
    assert_int_equal(f->monitor.n_kept, SPARES_N);

    for (unsigned i = 0; i < SPARES_N; i++) {
        char name[SPARES_NAME_LEN];
        char wanted[SPARES_NAME_LEN];
        char byte = 0;
        int fd;

        snprintf(wanted, sizeof(wanted), "firn-recover-%u", i);
        assert_int_equal(spares_find(&f->spares, name), i);
        assert_string_equal(name, wanted);
        fd = spares_take(&f->spares, (int)i);
        assert_int_equal(write(fd, &"abcdefgh"[i], 1), 1);
        assert_int_equal(read(f->monitor.kept_fds[i], &byte, 1), 1);
        assert_int_equal(byte, "abcdefgh"[i]);
        close(fd);
        assert_true(is_closed_at_the_other_end(f->monitor.kept_fds[i]));
        assert_int_equal(spares_left(&f->spares), SPARES_N - 1 - i);
    }
    close_kept(f);
}

static void only_what_is_missing_is_made(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING, DEPOSIT("0"), DEPOSIT("1"),     DEPOSIT("2"),
        DEPOSIT("3"), DEPOSIT("4"), DEPOSIT("5"),     DEPOSIT("6"),
        DEPOSIT("7"), DEPOSIT("3"), {FAKE_HOLD, NULL}};
    struct fixture *f = *state;
    struct error err;

    open_monitor(f, steps, ARRAY_LEN(steps));
    assert_ok(spares_deposit(&f->spares, f->qmp, &err), &err);
    assert_ok(spares_deposit(&f->spares, f->qmp, &err), &err);
    close(spares_take(&f->spares, 3));
    assert_ok(spares_deposit(&f->spares, f->qmp, &err), &err);
    assert_int_equal(spares_left(&f->spares), SPARES_N);
    close_monitor(f);
    assert_int_equal(f->monitor.n_kept, SPARES_N + 1);
    assert_true(is_closed_at_the_other_end(f->monitor.kept_fds[3]));
    close_kept(f);
    /* Nobody but QEMU had the other ends. */
    for (unsigned i = 0; i < SPARES_N; i++)
        assert_true(is_closed_at_the_other_end(f->spares.fds[i]));
}

static void what_was_made_before_a_failure_stays(void **state)
{
    static const struct fake_step steps[] = {FAKE_OPENING,
                                             DEPOSIT("0"),
                                             {FAKE_KEEP_FD, "firn-recover-1"},
                                             {FAKE_REFUSE, "no room"},
                                             {FAKE_HOLD, NULL}};
    struct fixture *f = *state;
    char name[SPARES_NAME_LEN];
    struct error err;

    open_monitor(f, steps, ARRAY_LEN(steps));
    assert_int_equal(spares_deposit(&f->spares, f->qmp, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "no room"));
    close_monitor(f);
    assert_int_equal(spares_left(&f->spares), 1);
    assert_int_equal(spares_find(&f->spares, name), 0);
    /* Ours of the refused pair is closed. */
    assert_true(is_closed_at_the_other_end(f->monitor.kept_fds[1]));
    close_kept(f);
}

static void a_monitor_that_goes_is_told(void **state)
{
    static const struct fake_step steps[] = {FAKE_OPENING, DEPOSIT("0")};
    struct fixture *f = *state;
    struct error err;

    open_monitor(f, steps, ARRAY_LEN(steps));
    assert_int_equal(spares_deposit(&f->spares, f->qmp, &err), ERR_PEER);
    assert_int_equal(spares_left(&f->spares), 1);
    close_monitor(f);
    spares_release(&f->spares);
    assert_int_equal(spares_left(&f->spares), 0);
    assert_true(is_closed_at_the_other_end(f->monitor.kept_fds[0]));
    close_kept(f);
}

#define SPARES_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPARES_TEST(none_are_there_at_first),
        SPARES_TEST(what_is_written_into_ours_is_in_qemu_s),
        SPARES_TEST(only_what_is_missing_is_made),
        SPARES_TEST(what_was_made_before_a_failure_stays),
        SPARES_TEST(a_monitor_that_goes_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

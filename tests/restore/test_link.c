#include "tests/fakes/assert_error.h"

#include <sys/socket.h>

#include "core/base/clock.h"
#include "restore/link.h"

struct fixture {
    struct link a, b;
    struct stopper stop;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    assert_ok(link_pair(&f->a, &f->b, &err), &err);
    assert_ok(stopper_init(&f->stop, &err), &err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    link_release(&f->a);
    link_release(&f->b);
    stopper_release(&f->stop);
    free(f);
    return 0;
}

static void send_number(struct link *l, int n)
{
    struct error err = ERROR_INIT;

    assert_ok(link_send(l, json_pack("{s:s, s:i}", "type", "n", "n", n), &err),
              &err);
}

static int64_t poll_number(struct link *l)
{
    cleanup_json json_t *m = NULL;
    struct error err = ERROR_INIT;

    assert_ok(link_poll(l, &m, &err), &err);
    return m ? json_path_int(m, "n", -2) : -1;
}

static void lines_arrive_in_order(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(poll_number(&f->b), -1);
    send_number(&f->a, 1);
    send_number(&f->a, 2);

    assert_int_equal(poll_number(&f->b), 1);
    assert_int_equal(poll_number(&f->b), 2);
    assert_int_equal(poll_number(&f->b), -1);
    assert_false(f->b.ended);
}

static void half_a_line_waits_for_its_end(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send(f->a.fd, "{\"n\":", 5, 0), 5);
    assert_int_equal(poll_number(&f->b), -1);
    assert_int_equal(send(f->a.fd, "7}\n", 3, 0), 3);

    assert_int_equal(poll_number(&f->b), 7);
}

static void the_last_lines_of_a_peer_that_ended_are_read(void **state)
{
    struct fixture *f = *state;

    send_number(&f->a, 1);
    link_release(&f->a);

    assert_int_equal(poll_number(&f->b), 1);
    assert_int_equal(poll_number(&f->b), -1);
    assert_true(f->b.ended);
}

static void a_peer_that_is_gone_is_no_error_of_the_sender(void **state)
{
    struct fixture *f = *state;

    link_release(&f->b);

    send_number(&f->a, 1);
    send_number(&f->a, 2);
}

static void a_peer_that_does_not_read_stops_nobody(void **state)
{
    struct fixture *f = *state;

    int64_t heard = 0;
    int64_t n;

    for (int i = 0; i < 100000; i++)
        send_number(&f->a, i);

    /* Lines are lost whole: those that fitted come in order, then new ones. */
    while ((n = poll_number(&f->b)) != -1)
        assert_int_equal(n, heard++);
    assert_in_range(heard, 1, 99999);
    send_number(&f->a, 7);
    assert_int_equal(poll_number(&f->b), 7);
}

static void no_json_is_named(void **state)
{
    struct fixture *f = *state;
    cleanup_json json_t *m = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(send(f->a.fd, "{x}\n", 4, 0), 4);

    assert_error(link_poll(&f->b, &m, &err), &err, ERR_PROTOCOL, "not JSON");
}

static void a_line_without_end_is_refused(void **state)
{
    struct fixture *f = *state;
    cleanup_json json_t *m = NULL;
    struct error err = ERROR_INIT;
    char text[4096];
    int rc = 0;

    memset(text, 'x', sizeof(text));
    for (int i = 0; rc == 0 && i < 1000; i++) {
        assert_int_equal(send(f->a.fd, text, sizeof(text), 0), sizeof(text));
        rc = link_poll(&f->b, &m, &err);
    }

    assert_int_equal(rc, ERR_PROTOCOL);
    assert_message(&err, "too long");
}

static void a_wait_ends_with_its_deadline(void **state)
{
    struct fixture *f = *state;
    cleanup_json json_t *m = NULL;
    struct error err = ERROR_INIT;

    assert_error(link_wait(&f->b, &f->stop, 1, &m, &err), &err, ERR_TIMEOUT,
                 "time limit");
}

static void a_wait_ends_with_the_peer(void **state)
{
    struct fixture *f = *state;
    cleanup_json json_t *m = NULL;
    struct error err = ERROR_INIT;

    link_release(&f->a);

    assert_ok(link_wait(&f->b, &f->stop, 0, &m, &err), &err);
    assert_null(m);
}

static void an_error_crosses_with_code_words_and_hint(void **state)
{
    struct error why = ERROR_INIT;
    struct error err = ERROR_INIT;
    cleanup_json json_t *m = NULL;

    fail(&why, ERR_INCOMPATIBLE, "machine type is '%s'", "q35");
    error_hint(&why, "use another");
    m = link_error_message(&why);

    assert_true(link_is(m, "error"));
    assert_error(link_error_of(m, &err), &err, ERR_INCOMPATIBLE,
                 "machine type is 'q35'");
    assert_string_equal(err.hint, "use another");
}

static void an_error_without_a_code_is_still_one(void **state)
{
    struct error err = ERROR_INIT;
    cleanup_json json_t *m =
        json_pack("{s:s, s:i}", "type", "error", "code", 5);

    assert_error(link_error_of(m, &err), &err, ERR_IO, "without a reason");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(lines_arrive_in_order),
        T(half_a_line_waits_for_its_end),
        T(the_last_lines_of_a_peer_that_ended_are_read),
        T(a_peer_that_is_gone_is_no_error_of_the_sender),
        T(a_peer_that_does_not_read_stops_nobody),
        T(no_json_is_named),
        T(a_line_without_end_is_refused),
        T(a_wait_ends_with_its_deadline),
        T(a_wait_ends_with_the_peer),
        cmocka_unit_test(an_error_crosses_with_code_words_and_hint),
        cmocka_unit_test(an_error_without_a_code_is_still_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

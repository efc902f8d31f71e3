#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/qmp/qmp_session.h"
#include "tests/fakes/fake_monitor.h"

/* Long for a test that passes, short for one that waits for silence. */
#define LONG_MS  5000u
#define SHORT_MS 30u

struct fixture {
    struct fake_monitor monitor;
    struct stopper stop;
    struct qmp_session *session;
    struct error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    return f ? stopper_init(&f->stop, &f->err) : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    stopper_release(&f->stop);
    free(f);
    return 0;
}

static int open_session(struct fixture *f, unsigned timeout_ms)
{
    struct qmp_open_args args = {
        .path = f->monitor.path,
        .stop = &f->stop,
        .timeout_ms = timeout_ms,
        .oob = true,
    };

    return qmp_session_open(&args, &f->session, &f->err);
}

#define START(f, steps) \
    fake_monitor_start(&(f)->monitor, (steps), ARRAY_LEN(steps))

static void finish(struct fixture *f)
{
    qmp_session_close(f->session);
    f->session = NULL;
    assert_string_equal(fake_monitor_stop(&f->monitor), "");
}

static void assert_failed(struct fixture *f, int rc, int code,
                          const char *words)
{
    assert_int_equal(rc, code);
    if (!strstr(f->err.message, words))
        print_error("'%s' is not in '%s'\n", words, f->err.message);
    assert_non_null(strstr(f->err.message, words));
}

static void a_session_knows_version_and_peer(void **state)
{
    static const struct fake_step steps[] = {FAKE_OPENING, {FAKE_HOLD, NULL}};
    struct fixture *f = *state;
    int major, minor, micro;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);

    qmp_session_version(f->session, &major, &minor, &micro);
    assert_int_equal(major * 10000 + minor * 100 + micro, 100002);
    assert_int_equal(qmp_session_peer_pid(f->session), getpid());
    assert_true(qmp_session_has_oob(f->session));
    finish(f);
}

static void a_monitor_without_oob_is_asked_for_none(void **state)
{
    static const struct fake_step steps[] = {
        {FAKE_SEND, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 1, "
                    "\"minor\": 2, \"major\": 7}}, \"capabilities\": []}}"},
        {FAKE_EXPECT, "{\"execute\":\"qmp_capabilities\",\"id\":1}"},
        {FAKE_ANSWER, "{}"},
        {FAKE_HOLD, NULL},
    };
    struct fixture *f = *state;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);

    assert_false(qmp_session_has_oob(f->session));
    assert_failed(f, qmp_execute_oob(f->session, "yank", NULL, NULL, &f->err),
                  ERR_UNSUPPORTED, "not negotiated");
    finish(f);
}

static void a_silent_socket_is_told_with_a_hint(void **state)
{
    static const struct fake_step steps[] = {{FAKE_HOLD, NULL}};
    struct fixture *f = *state;

    START(f, steps);
    assert_failed(f, open_session(f, SHORT_MS), ERR_PEER, "no greeting");

    assert_non_null(strstr(f->err.hint, "another client"));
    finish(f);
}

static void a_drip_without_a_line_is_no_greeting(void **state)
{
    static const struct fake_step steps[] = {{FAKE_FLOOD, NULL}};
    struct fixture *f = *state;

    START(f, steps);
    assert_failed(f, open_session(f, LONG_MS), ERR_PEER, "does not speak QMP");

    finish(f);
}

static void a_socket_that_closes_is_told(void **state)
{
    static const struct fake_step steps[] = {{FAKE_SEND_RAW, "{\"QMP\":"}};
    struct fixture *f = *state;

    START(f, steps);
    assert_failed(f, open_session(f, LONG_MS), ERR_PEER, "was closed");

    finish(f);
}

static void garbage_is_no_greeting(void **state)
{
    static const struct fake_step steps[] = {
        {FAKE_SEND, "SSH-2.0-OpenSSH_9.2p1"}, {FAKE_HOLD, NULL}};
    struct fixture *f = *state;

    START(f, steps);
    assert_failed(f, open_session(f, LONG_MS), ERR_PEER, "does not speak QMP");

    finish(f);
}

static void a_greeting_must_come_first(void **state)
{
    static const struct fake_step steps[] = {
        {FAKE_SEND, "{\"return\": {}, \"id\": 1}"}, {FAKE_HOLD, NULL}};
    struct fixture *f = *state;

    START(f, steps);
    assert_failed(f, open_session(f, LONG_MS), ERR_PEER, "no greeting");

    finish(f);
}

static void a_path_where_nobody_listens_is_told(void **state)
{
    struct fixture *f = *state;
    struct qmp_open_args args = {.path = "/nowhere/qmp", .stop = &f->stop};

    assert_failed(f, qmp_session_open(&args, &f->session, &f->err), ERR_PEER,
                  "/nowhere/qmp");
    assert_non_null(strstr(f->err.hint, "-qmp"));
}

static void a_path_that_stays_empty_is_retried_until_the_limit(void **state)
{
    struct fixture *f = *state;
    uint64_t begun = clock_monotonic_ns();
    struct qmp_open_args args = {.path = "/nowhere/qmp",
                                 .stop = &f->stop,
                                 .retry_until_ns = begun + 50 * NS_PER_MS};

    assert_failed(f, qmp_session_open(&args, &f->session, &f->err), ERR_PEER,
                  "/nowhere/qmp");
    assert_true(clock_monotonic_ns() - begun >= 50 * NS_PER_MS);
}

static void retrying_ends_with_the_stopper(void **state)
{
    struct fixture *f = *state;
    struct qmp_open_args args = {.path = "/nowhere/qmp",
                                 .stop = &f->stop,
                                 .retry_until_ns =
                                     clock_monotonic_ns() + 3600 * NS_PER_SEC};

    stopper_pull(&f->stop, ERR_INTERRUPTED);
    assert_failed(f, qmp_session_open(&args, &f->session, &f->err),
                  ERR_INTERRUPTED, "interrupted");
}

static void an_answer_byte_by_byte_is_an_answer(void **state)
{
    static const struct fake_step steps[] = {
        {FAKE_DRIP, FAKE_GREETING},
        {FAKE_EXPECT, "qmp_capabilities"},
        {FAKE_DRIP, "{\"return\": {}, \"id\": 1}"},
        {FAKE_EXPECT, "\"arguments\":{\"path\":\"/machine\"}"},
        {FAKE_DRIP, "{\"return\": \"pc\", \"id\": 2}"},
        {FAKE_HOLD, NULL},
    };
    struct fixture *f = *state;
    cleanup_json json_t *value = NULL;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);
    assert_int_equal(qmp_execute(f->session, "qom-get",
                                 json_pack("{s:s}", "path", "/machine"), &value,
                                 &f->err),
                     0);

    assert_string_equal(json_string_value(value), "pc");
    finish(f);
}

static void assert_event(struct fixture *f, const char *name)
{
    cleanup_json json_t *event = NULL;

    assert_int_equal(qmp_session_poll_event(f->session, &event, &f->err), 0);
    if (name)
        assert_string_equal(json_path_str(event, "event", "none"), name);
    else
        assert_null(event);
}

static void events_around_an_answer_are_kept_in_order(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING,
        {FAKE_EXPECT, "query-status"},
        {FAKE_SEND_RAW, "{\"event\": \"STOP\"}\n{\"event\": \"A\"}\n"
                        "{\"return\": {}, \"id\": 2}\n{\"event\": \"B\"}\n"},
        {FAKE_HOLD, NULL},
    };
    struct fixture *f = *state;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);
    assert_int_equal(
        qmp_execute(f->session, "query-status", NULL, NULL, &f->err), 0);

    assert_event(f, "STOP");
    assert_event(f, "A");
    assert_event(f, "B");
    assert_event(f, NULL);
    finish(f);
}

static void an_event_is_waited_for_until_the_deadline(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING,
        {FAKE_SEND, "{\"event\": \"RESUME\", \"timestamp\": {\"seconds\": 3, "
                    "\"microseconds\": 5}}"},
        {FAKE_HOLD, NULL},
    };
    struct fixture *f = *state;
    cleanup_json json_t *event = NULL;
    json_t *none = NULL;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);
    assert_int_equal(qmp_session_wait_event(
                         f->session, clock_monotonic_ns() + 5 * NS_PER_SEC,
                         &event, &f->err),
                     0);
    assert_int_equal(qmp_event_time_ns(event), 3000005000);
    assert_failed(f,
                  qmp_session_wait_event(f->session,
                                         clock_monotonic_ns() + 10 * NS_PER_MS,
                                         &none, &f->err),
                  ERR_TIMEOUT, "time limit");

    finish(f);
}

static void an_event_without_a_clock_has_no_time(void **state)
{
    cleanup_json json_t *unset = json_pack("{s:{s:i, s:i}}", "timestamp",
                                           "seconds", -1, "microseconds", -1);
    cleanup_json json_t *huge =
        json_pack("{s:{s:I, s:i}}", "timestamp", "seconds",
                  (json_int_t)INT64_MAX, "microseconds", 0);

    assert_int_equal(qmp_event_time_ns(unset), 0);
    assert_int_equal(qmp_event_time_ns(huge), 0);
}

static void a_refusal_has_qemus_own_words(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING,
        {FAKE_EXPECT, "migrate"},
        {FAKE_REFUSE, "There's a migration process in progress"},
        {FAKE_EXPECT, "query-status"},
        {FAKE_ANSWER, "{}"},
        {FAKE_HOLD, NULL},
    };
    struct fixture *f = *state;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);
    assert_failed(f, qmp_execute(f->session, "migrate", NULL, NULL, &f->err),
                  ERR_UNSUPPORTED, "QEMU refuses 'migrate': There's a migr");
    assert_string_equal(qmp_error_desc(f->session),
                        "There's a migration process in progress");

    assert_int_equal(
        qmp_execute(f->session, "query-status", NULL, NULL, &f->err), 0);
    assert_string_equal(qmp_error_desc(f->session), "");
    finish(f);
}

static void a_late_answer_is_not_taken_for_the_next_one(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING,
        {FAKE_EXPECT, "query-a"},
        {FAKE_EXPECT, "query-b"},
        {FAKE_SEND, "{\"return\": 1, \"id\": 2}"},
        {FAKE_SEND, "{\"return\": 2, \"id\": 3}"},
        {FAKE_HOLD, NULL},
    };
    struct fixture *f = *state;
    cleanup_json json_t *value = NULL;

    START(f, steps);
    assert_int_equal(open_session(f, 200), 0);
    assert_failed(f, qmp_execute(f->session, "query-a", NULL, NULL, &f->err),
                  ERR_PEER, "did not answer 'query-a'");
    assert_int_equal(qmp_session_owed(f->session), 1);
    assert_int_equal(qmp_execute(f->session, "query-b", NULL, &value, &f->err),
                     0);

    assert_int_equal(json_integer_value(value), 2);
    assert_int_equal(qmp_session_owed(f->session), 0);
    finish(f);
}

static void a_late_answer_is_dropped_among_events_too(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING,
        {FAKE_EXPECT, "query-a"},
        {FAKE_EXPECT, "query-b"},
        {FAKE_SEND, "{\"return\": 1, \"id\": 2}"},
        {FAKE_SEND, "{\"event\": \"RESUME\"}"},
        {FAKE_HOLD, NULL},
    };
    struct fixture *f = *state;
    cleanup_json json_t *event = NULL;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);
    assert_int_equal(qmp_session_set_timeout(f->session, 50), LONG_MS);
    assert_failed(f, qmp_execute(f->session, "query-a", NULL, NULL, &f->err),
                  ERR_PEER, "within 0.05 s");
    assert_failed(f, qmp_execute(f->session, "query-b", NULL, NULL, &f->err),
                  ERR_PEER, "did not answer");
    assert_int_equal(qmp_session_wait_event(
                         f->session, clock_monotonic_ns() + 10 * NS_PER_SEC,
                         &event, &f->err),
                     0);
    assert_int_equal(qmp_session_owed(f->session), 1);
    finish(f);
}

/* Negotiated by somebody else, who may have left an answer behind. */
static void a_session_that_was_left_is_gone_on_with(void **state)
{
    static const char late[] =
        "{\"return\": {}, \"id\": 3}\n{\"event\": \"RESUME\"}\n";
    struct fixture *f = *state;
    struct qmp_open_args args = {
        .path = "left", .stop = &f->stop, .timeout_ms = 50};
    cleanup_json json_t *event = NULL;
    char said[200] = "";
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(qmp_session_adopt(&args, fds[0], &f->session, &f->err), 0);
    assert_true(qmp_session_has_oob(f->session));
    assert_int_equal(qmp_session_peer_pid(f->session), getpid());
    assert_failed(
        f, qmp_execute_oob(f->session, "query-yank", NULL, NULL, &f->err),
        ERR_PEER, "did not answer");
    assert_true(read(fds[1], said, sizeof(said) - 1) > 0);
    assert_non_null(strstr(said, "exec-oob"));
    assert_int_equal(write(fds[1], late, sizeof(late) - 1), sizeof(late) - 1);
    assert_int_equal(qmp_session_poll_event(f->session, &event, &f->err), 0);
    assert_string_equal(json_path_str(event, "event", ""), "RESUME");
    close(fds[1]);
    qmp_session_close(f->session);
}

static void an_answer_to_no_command_ends_the_session(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING,
        {FAKE_EXPECT, "query-a"},
        {FAKE_SEND, "{\"return\": 1, \"id\": 9}"},
        {FAKE_HOLD, NULL},
    };
    struct fixture *f = *state;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);
    assert_failed(f, qmp_execute(f->session, "query-a", NULL, NULL, &f->err),
                  ERR_PEER, "no command of ours");

    assert_failed(f, qmp_execute(f->session, "query-b", NULL, NULL, &f->err),
                  ERR_PEER, "out of use");
    finish(f);
}

static void an_answer_without_id_ends_the_session(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING,
        {FAKE_EXPECT, "query-a"},
        {FAKE_SEND, "{\"error\": {\"class\": \"GenericError\", \"desc\": "
                    "\"QMP input lacks member 'execute'\"}}"},
        {FAKE_HOLD, NULL},
    };
    struct fixture *f = *state;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);
    assert_failed(f, qmp_execute(f->session, "query-a", NULL, NULL, &f->err),
                  ERR_PEER, "no command of ours");

    finish(f);
}

static void qemu_may_end_while_it_is_asked(void **state)
{
    static const struct fake_step steps[] = {FAKE_OPENING,
                                             {FAKE_EXPECT, "query-a"}};
    struct fixture *f = *state;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);
    assert_failed(f, qmp_execute(f->session, "query-a", NULL, NULL, &f->err),
                  ERR_PEER, "was closed");

    finish(f);
}

static void an_end_is_seen_by_who_polls_for_events(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING, {FAKE_SEND, "{\"event\": \"SHUTDOWN\"}"}};
    struct fixture *f = *state;
    json_t *event = NULL;
    int rc = 0;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);
    assert_int_equal(qmp_session_wait_event(f->session, 0, &event, &f->err), 0);
    json_decref(event);
    rc = qmp_session_wait_event(f->session, 0, &event, &f->err);
    assert_failed(f, rc, ERR_PEER, "was closed");

    assert_int_equal(qmp_session_poll_event(f->session, &event, &f->err),
                     ERR_PEER);
    finish(f);
}

static void a_pulled_stopper_ends_a_wait_and_another_goes_on(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING,        {FAKE_EXPECT, "query-a"}, {FAKE_EXPECT, "query-b"},
        {FAKE_ANSWER, "{}"}, {FAKE_HOLD, NULL},
    };
    struct fixture *f = *state;
    struct stopper calm;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);
    stopper_pull(&f->stop, ERR_TERMINATED);
    assert_failed(f, qmp_execute(f->session, "query-a", NULL, NULL, &f->err),
                  ERR_TERMINATED, "signal");

    assert_int_equal(stopper_init(&calm, &f->err), 0);
    qmp_session_set_stopper(f->session, &calm);
    assert_int_equal(qmp_execute(f->session, "query-b", NULL, NULL, &f->err),
                     0);
    finish(f);
    stopper_release(&calm);
}

static void a_descriptor_travels_with_getfd(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING,
        {FAKE_EXPECT_FD, "{\"execute\":\"getfd\",\"id\":2,\"arguments\":"
                         "{\"fdname\":\"image\"}}"},
        {FAKE_ANSWER, "{}"},
        {FAKE_HOLD, NULL},
    };
    struct fixture *f = *state;
    char text[6] = "";
    int pipe_fds[2];

    assert_int_equal(pipe(pipe_fds), 0);
    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);
    assert_int_equal(qmp_send_fd(f->session, "image", pipe_fds[1], &f->err), 0);

    assert_int_equal(read(pipe_fds[0], text, 5), 5);
    assert_string_equal(text, "hello");
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    finish(f);
}

static void an_urgent_command_goes_out_of_band(void **state)
{
    static const struct fake_step steps[] = {
        FAKE_OPENING,
        {FAKE_EXPECT, "{\"exec-oob\":\"migrate-recover\",\"id\":2"},
        {FAKE_ANSWER, "{}"},
        {FAKE_HOLD, NULL},
    };
    struct fixture *f = *state;

    START(f, steps);
    assert_int_equal(open_session(f, LONG_MS), 0);
    assert_int_equal(qmp_execute_oob(f->session, "migrate-recover",
                                     json_pack("{s:s}", "uri", "unix:/x"), NULL,
                                     &f->err),
                     0);

    finish(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_session_knows_version_and_peer),
        TEST(a_monitor_without_oob_is_asked_for_none),
        TEST(a_silent_socket_is_told_with_a_hint),
        TEST(a_drip_without_a_line_is_no_greeting),
        TEST(a_socket_that_closes_is_told),
        TEST(garbage_is_no_greeting),
        TEST(a_greeting_must_come_first),
        TEST(a_path_where_nobody_listens_is_told),
        TEST(a_path_that_stays_empty_is_retried_until_the_limit),
        TEST(retrying_ends_with_the_stopper),
        TEST(an_answer_byte_by_byte_is_an_answer),
        TEST(events_around_an_answer_are_kept_in_order),
        TEST(an_event_is_waited_for_until_the_deadline),
        TEST(an_event_without_a_clock_has_no_time),
        TEST(a_refusal_has_qemus_own_words),
        TEST(a_late_answer_is_not_taken_for_the_next_one),
        TEST(a_late_answer_is_dropped_among_events_too),
        TEST(a_session_that_was_left_is_gone_on_with),
        TEST(an_answer_to_no_command_ends_the_session),
        TEST(an_answer_without_id_ends_the_session),
        TEST(qemu_may_end_while_it_is_asked),
        TEST(an_end_is_seen_by_who_polls_for_events),
        TEST(a_pulled_stopper_ends_a_wait_and_another_goes_on),
        TEST(a_descriptor_travels_with_getfd),
        TEST(an_urgent_command_goes_out_of_band),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fakes/assert_error.h"

#include "core/base/clock.h"
#include "snapshot/precopy_watch.h"
#include "tests/fakes/fake_qemu.h"

#define MIB UINT64_C(1048576)
#define T0  (50 * NS_PER_SEC)

struct fixture {
    struct stopper stop;
    struct fake_qemu qemu;
    struct fake_qemu_args args;
    struct qmp_session *qmp;
    struct qemu_source source;
    struct precopy_watch watch;
    uint64_t now_ns;
    uint64_t bytes;
    bool ended;
    struct error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_ok(stopper_init(&f->stop, &f->err), &f->err);
    f->args = (struct fake_qemu_args){
        .major = 10,
        .migration = "{\"expected-downtime\": 400, \"ram\": {\"mbps\": 64.0}}",
    };
    f->now_ns = T0;
    *state = f;
    return 0;
}

/* Its parameters are its thread's until then. */
static void end(struct fixture *f)
{
    qmp_session_close(f->qmp);
    fake_qemu_stop(&f->qemu);
    f->ended = true;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    qemu_source_release(&f->source);
    if (!f->ended)
        end(f);
    fake_qemu_release(&f->qemu);
    stopper_release(&f->stop);
    free(f);
    return 0;
}

/* A migration is under way. */
static void begin(struct fixture *f, bool auto_converge)
{
    struct qmp_open_args open = {.stop = &f->stop};

    fake_qemu_start(&f->qemu, &f->args);
    open.path = f->qemu.path;
    assert_ok(qmp_session_open(&open, &f->qmp, &f->err), &f->err);
    qemu_source_init(&f->source, f->qmp, &f->stop);
    f->source.mode = SNAPSHOT_STREAM;
    f->source.started = true;
    snprintf(f->source.status, sizeof(f->source.status), "active");
    f->source.rounds = 1;
    precopy_watch_init(&f->watch, &f->source, 300, auto_converge, f->now_ns);
}

/* A round of so much that takes so long. */
static int round_of(struct fixture *f, uint64_t bytes, uint64_t ms)
{
    f->bytes += bytes;
    f->now_ns += ms * NS_PER_MS;
    f->source.rounds++;
    return precopy_watch_look(&f->watch, f->bytes, f->now_ns, &f->err);
}

static int rounds_alike(struct fixture *f, unsigned n)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < n; i++)
        rc = round_of(f, 2 * MIB, 700);
    return rc;
}

static void rounds_that_do_not_get_smaller_are_given_up(void **state)
{
    struct fixture *f = *state;

    begin(f, false);
    assert_ok(round_of(f, 100 * MIB, 9000), &f->err);
    assert_error(rounds_alike(f, 30), &f->err, ERR_BUDGET,
                 "round 10 sent 2048 KiB again, at 7812 KiB/s");
    assert_non_null(strstr(f->err.hint, "--auto-converge"));
    /* Not before all was tried that the budget allows. */
    end(f);
    assert_int_equal(json_path_int(f->qemu.parameters, "downtime-limit", 0),
                     150);
    assert_int_equal(f->source.stop_ns, 0);
}

static void rounds_that_get_smaller_are_left_alone(void **state)
{
    struct fixture *f = *state;

    begin(f, false);
    for (uint64_t mib = 256; mib > 0; mib /= 2)
        assert_ok(round_of(f, mib * MIB, 900), &f->err);
    assert_false(f->watch.convergence.relaxed);
}

static void a_guest_that_can_still_be_throttled_is_waited_for(void **state)
{
    struct fixture *f = *state;

    f->args.migration = "{\"cpu-throttle-percentage\": 98}";
    begin(f, true);
    assert_ok(round_of(f, 100 * MIB, 9000), &f->err);
    assert_ok(rounds_alike(f, 40), &f->err);
    assert_int_equal(f->watch.convergence.throttle_peak, 98);
}

static void a_guest_throttled_to_the_end_is_given_up(void **state)
{
    struct fixture *f = *state;

    f->args.migration = "{\"cpu-throttle-percentage\": 99}";
    begin(f, true);
    assert_ok(round_of(f, 100 * MIB, 9000), &f->err);
    assert_error(rounds_alike(f, 40), &f->err, ERR_BUDGET, "faster");
    assert_non_null(strstr(f->err.hint, "as far as QEMU does"));
}

static void a_background_save_is_not_asked_about(void **state)
{
    struct fixture *f = *state;

    begin(f, false);
    f->source.mode = SNAPSHOT_BACKGROUND;
    assert_ok(rounds_alike(f, 40), &f->err);
    end(f);
    assert_false(fake_qemu_was_asked(&f->qemu, "query-migrate"));
}

static void qemu_is_not_asked_while_the_vm_stands_still(void **state)
{
    struct fixture *f = *state;

    begin(f, false);
    f->source.stop_ns = 1;
    assert_ok(rounds_alike(f, 14), &f->err);
    end(f);
    assert_false(fake_qemu_was_asked(&f->qemu, "query-migrate"));
}

static void a_pause_without_end_is_given_up(void **state)
{
    struct fixture *f = *state;

    begin(f, false);
    f->source.stop_ns = 1;
    assert_error(rounds_alike(f, 40), &f->err, ERR_BUDGET, "has stood still");
    assert_true(f->now_ns > T0 + 10 * NS_PER_SEC);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(rounds_that_do_not_get_smaller_are_given_up),
        TEST(rounds_that_get_smaller_are_left_alone),
        TEST(a_guest_that_can_still_be_throttled_is_waited_for),
        TEST(a_guest_throttled_to_the_end_is_given_up),
        TEST(a_background_save_is_not_asked_about),
        TEST(qemu_is_not_asked_while_the_vm_stands_still),
        TEST(a_pause_without_end_is_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

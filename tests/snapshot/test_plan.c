#include "tests/fakes/assert_error.h"

#include "core/base/clock.h"
#include "snapshot/plan.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static struct plan_question question(uint64_t content, uint64_t dirty_per_s)
{
    return (struct plan_question){
        .mode = SNAPSHOT_STREAM,
        .running = true,
        .content_bytes = content,
        .bytes_per_s = 400 * MIB,
        .dirty_bytes_per_s = dirty_per_s,
        .max_downtime_ms = 300,
        .new_bytes = content / 2,
        .share = 0.5,
    };
}

static struct plan_answer ask(struct plan_question q)
{
    struct plan_answer a;

    plan_predict(&q, &a);
    return a;
}

static void an_idle_guest_is_read_once(void **state)
{
    struct plan_answer a = ask(question(GIB, 0));

    (void)state;
    assert_true(a.converges);
    assert_int_equal(a.rounds, 1);
    assert_int_equal(a.read_bytes, GIB);
    assert_int_equal(a.stored_bytes, GIB / 2 + PLAN_OBJECT_BYTES);
    assert_in_range(a.duration_ms, 2700, 2800);
    assert_int_equal(a.downtime_ms, PLAN_PAUSE_MS);
}

static void what_is_written_meanwhile_is_sent_again(void **state)
{
    struct plan_answer a = ask(question(GIB, 20 * MIB));

    (void)state;
    assert_true(a.converges);
    /* 1 GiB, then 50 MiB, then 2.5 MiB in the pause. */
    assert_int_equal(a.rounds, 2);
    assert_in_range(a.read_bytes, GIB + 50 * MIB, GIB + 60 * MIB);
    assert_in_range(a.stored_bytes, GIB / 2 + 25 * MIB, GIB / 2 + 30 * MIB);
    assert_in_range(a.downtime_ms, PLAN_PAUSE_MS + 1, 30 + PLAN_PAUSE_MS);
}

static void a_guest_that_needs_it_gets_half_of_the_budget(void **state)
{
    struct plan_question q = question(8 * MIB, 4000 * MIB);
    struct plan_answer a;

    (void)state;
    q.bytes_per_s = 80 * MIB;
    a = ask(q);
    assert_true(a.converges);
    assert_in_range(a.downtime_ms, 31, 150 + PLAN_PAUSE_MS);
}

static void a_guest_that_writes_faster_does_not_converge(void **state)
{
    struct plan_answer a = ask(question(GIB, 500 * MIB));

    (void)state;
    assert_false(a.converges);
    assert_true(a.downtime_ms > 300);
}

static void a_guest_that_stands_still_is_not_stopped(void **state)
{
    struct plan_question q = question(GIB, 0);

    (void)state;
    q.running = false;
    assert_int_equal(ask(q).downtime_ms, 0);
}

static void background_reads_once_at_the_pace_of_faults(void **state)
{
    struct plan_question q = question(3 * GIB / 2, 500 * MIB);
    struct plan_answer a;

    (void)state;
    q.mode = SNAPSHOT_BACKGROUND;
    a = ask(q);
    assert_true(a.converges);
    assert_int_equal(a.read_bytes, q.content_bytes);
    assert_in_range(a.duration_ms, 10000, 11000);
    assert_int_equal(a.downtime_ms, PLAN_BACKGROUND_PAUSE_MS);
    q.bytes_per_s = 15 * MIB;
    assert_in_range(ask(q).duration_ms, 100000, 110000);
}

static void no_figure_overflows(void **state)
{
    struct plan_question q = question(UINT64_C(1) << 52, UINT64_C(1) << 50);

    (void)state;
    q.bytes_per_s = 1;
    assert_false(ask(q).converges);
    q = question(0, 0);
    assert_true(ask(q).converges);
}

static struct snapshot_summary summary(const char *vm, uint64_t pages,
                                       uint64_t stored_pages, uint64_t ms)
{
    struct snapshot_summary s = {
        .pages_total = pages,
        .pages_zero = pages / 4,
        .pages_stored = stored_pages,
        .stored_bytes = stored_pages * PAGE_BYTES / 4,
        .duration_ms = ms,
        .mode = "stream",
    };

    snprintf(s.vm, sizeof(s.vm), "%s", vm);
    return s;
}

static void history_is_that_of_the_vm(void **state)
{
    const struct snapshot_summary all[] = {
        summary("a", 40000, 30000, 1200),
        summary("b", 80000, 10, 500),
        summary("a", 40000, 1000, 700),
        summary("b", 80000, 10, 100),
    };
    struct plan_history h;

    (void)state;
    plan_history_of(all, ARRAY_LEN(all), "c", &h);
    assert_false(h.known);
    plan_history_of(all, 1, "a", &h);
    assert_true(h.known);
    assert_false(h.seen_twice);
    assert_int_equal(h.content_bytes, 30000 * PAGE_BYTES);
    assert_in_range(h.bytes_per_s, 30000 * PAGE_BYTES - 1000,
                    30000 * PAGE_BYTES);
    plan_history_of(all, ARRAY_LEN(all), "a", &h);
    assert_true(h.seen_twice);
    assert_int_equal(h.new_bytes, 1000 * PAGE_BYTES / 4);
    assert_true(h.share > 0.24 && h.share < 0.26);
    /* Too little was stored to learn a share, and it was over at once. */
    plan_history_of(all, ARRAY_LEN(all), "b", &h);
    assert_true(h.share == PLAN_FIRST_SHARE);
    assert_int_equal(h.bytes_per_s, UINT64_C(60000) * PAGE_BYTES * 20);
}

static void what_is_stored_already_is_only_read(void **state)
{
    (void)state;
    assert_in_range(plan_pace(GIB, GIB, 100 * MIB), 100 * MIB - 1, 100 * MIB);
    assert_int_equal(plan_pace(GIB, 0, 100 * MIB), PLAN_QEMU_BYTES_PER_S);
    assert_in_range(plan_pace(GIB, GIB / 10, 100 * MIB), 400 * MIB, 450 * MIB);
    assert_int_equal(plan_pace(0, 5, 0), PLAN_QEMU_BYTES_PER_S);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_guest_is_read_once),
        cmocka_unit_test(what_is_written_meanwhile_is_sent_again),
        cmocka_unit_test(a_guest_that_needs_it_gets_half_of_the_budget),
        cmocka_unit_test(a_guest_that_writes_faster_does_not_converge),
        cmocka_unit_test(a_guest_that_stands_still_is_not_stopped),
        cmocka_unit_test(background_reads_once_at_the_pace_of_faults),
        cmocka_unit_test(no_figure_overflows),
        cmocka_unit_test(history_is_that_of_the_vm),
        cmocka_unit_test(what_is_stored_already_is_only_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

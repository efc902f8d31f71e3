#include "tests/fakes/assert_error.h"

#include "core/base/clock.h"
#include "core/base/stage_clock.h"

/* Until this thread has used so much more of the processor. */
static void work(uint64_t ns)
{
    uint64_t from = clock_thread_cpu_ns();

    while (clock_thread_cpu_ns() - from < ns) {
    }
}

static void time_goes_to_the_stage_that_was_entered(void **state)
{
    struct stage_clock c = STAGE_CLOCK_INIT;
    uint64_t from = clock_thread_cpu_ns();

    assert_int_equal(stage_clock_enter(&c, CPU_ZERO), CPU_STAGES);
    work(2 * NS_PER_MS);
    assert_int_equal(stage_clock_enter(&c, CPU_HASH), CPU_ZERO);
    work(NS_PER_MS);
    assert_int_equal(stage_clock_enter(&c, CPU_STAGES), CPU_HASH);

    assert_true(c.spent.ns[CPU_ZERO] >= 2 * NS_PER_MS);
    assert_true(c.spent.ns[CPU_HASH] >= NS_PER_MS);
    assert_true(cpu_stages_total(&c.spent) <= clock_thread_cpu_ns() - from);
    assert_int_equal(cpu_stages_total(&c.spent),
                     c.spent.ns[CPU_ZERO] + c.spent.ns[CPU_HASH]);
}

static void a_clock_that_stands_counts_nothing(void **state)
{
    struct stage_clock c = STAGE_CLOCK_INIT;

    work(NS_PER_MS);
    stage_clock_enter(&c, CPU_WRITE);
    stage_clock_enter(&c, CPU_STAGES);
    work(NS_PER_MS);
    assert_true(cpu_stages_total(&c.spent) < NS_PER_MS);
}

static void no_clock_is_no_error(void **state)
{
    assert_int_equal(stage_clock_enter(NULL, CPU_WRITE), CPU_STAGES);
}

/* Names in JSON, and in snapshots: added to, never changed. */
static void the_names_of_the_stages_stay(void **state)
{
    static const char *const names[] = {"receive", "zero",  "hash", "compress",
                                        "write",   "index", "other"};

    assert_int_equal(ARRAY_LEN(names), CPU_STAGES);
    for (unsigned i = 0; i < CPU_STAGES; i++)
        assert_string_equal(cpu_stage_name(i), names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_goes_to_the_stage_that_was_entered),
        cmocka_unit_test(a_clock_that_stands_counts_nothing),
        cmocka_unit_test(no_clock_is_no_error),
        cmocka_unit_test(the_names_of_the_stages_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

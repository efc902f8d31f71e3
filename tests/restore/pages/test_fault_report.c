#include "tests/fakes/assert_error.h"

#include "restore/pages/fault_report.h"

struct bench {
    struct ramblock_list blocks;
    struct fault_stats stats[3]; /* the last: of blocks nobody knows */
};

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct error err;

    for (unsigned i = 0; i < 2; i++) {
        struct ramblock block = {.used_bytes = PAGE_BYTES,
                                 .host_page_bytes = PAGE_BYTES};

        snprintf(block.idstr, sizeof(block.idstr), "%s", i ? "rom" : "pc.ram");
        assert_ok(ramblock_list_add(&b->blocks, &block, &err), &err);
    }
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    ramblock_list_release(&b->blocks);
    free(b);
    return 0;
}

static void assert_report(const struct bench *b, const char *wanted)
{
    json_t *report = fault_report(&b->blocks, b->stats);
    json_t *parsed = json_loads(wanted, 0, NULL);

    assert_non_null(parsed);
    if (!json_equal(report, parsed))
        print_error("%s\n", json_dumps(report, JSON_COMPACT));
    assert_true(json_equal(report, parsed));
    json_decref(report);
    json_decref(parsed);
}

static void without_faults_the_list_is_empty(void **state)
{
    assert_report(*state, "[]");
}

static void blocks_that_were_asked_for_come_in_their_order(void **state)
{
    struct bench *b = *state;

    for (unsigned i = 0; i < 3; i++)
        fault_stats_add(&b->stats[0], 5 * 1000);
    fault_stats_add(&b->stats[0], 0);
    fault_stats_add(&b->stats[1], 1000);
    assert_report(b, "[{\"block\": \"pc.ram\", \"faults\": 4, "
                     "\"fault_p50_us\": 5, \"fault_p99_us\": 5, "
                     "\"fault_max_us\": 5, \"histogram\": [[1, 1], [8, 3]]}, "
                     "{\"block\": \"rom\", \"faults\": 1, "
                     "\"fault_p50_us\": 1, \"fault_p99_us\": 1, "
                     "\"fault_max_us\": 1, \"histogram\": [[2, 1]]}]");
}

static void blocks_that_nobody_knows_have_no_name(void **state)
{
    struct bench *b = *state;

    fault_stats_add(&b->stats[2], 3 * 1000);
    assert_report(b, "[{\"block\": \"\", \"faults\": 1, "
                     "\"fault_p50_us\": 3, \"fault_p99_us\": 3, "
                     "\"fault_max_us\": 3, \"histogram\": [[4, 1]]}]");
}

#define REPORT_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REPORT_TEST(without_faults_the_list_is_empty),
        REPORT_TEST(blocks_that_were_asked_for_come_in_their_order),
        REPORT_TEST(blocks_that_nobody_knows_have_no_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

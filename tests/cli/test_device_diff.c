#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include "cli/device_diff.h"

/* Devices of 20 bytes each, one behind the other; number and body differ by
 * what the tests write into them. */
struct side {
    struct device_section sections[4];
    uint8_t tail[80];
    struct device_state state;
};

static void side_init(struct side *s, size_t n, const char *const *names)
{
    memset(s, 0, sizeof(*s));
    for (size_t i = 0; i < n; i++) {
        snprintf(s->sections[i].name, sizeof(s->sections[i].name), "%s",
                 names[i]);
        s->sections[i].offset = 20 * i;
        s->sections[i].bytes = 20;
    }
    s->state.sections = s->sections;
    s->state.n_sections = n;
    s->state.tail = (struct buf){.data = s->tail, .len = sizeof(s->tail)};
}

static const char *const names[] = {"timer", "rtc", "serial"};

static void numbers_of_sections_do_not_count(void **state)
{
    struct side a, b;
    struct device_diff d;
    struct error err;

    side_init(&a, 3, names);
    side_init(&b, 3, names);
    a.tail[20 + 4] = 7;  /* head */
    a.tail[20 + 19] = 7; /* foot */
    assert_int_equal(device_diff_init(&d, &a.state, &b.state, &err), 0);
    assert_int_equal(d.n, 3);
    assert_int_equal(d.n_same, 3);
    device_diff_release(&d);
}

static void each_byte_between_them_counts(void **state)
{
    struct side a, b;
    struct device_diff d;
    struct error err;

    side_init(&a, 3, names);
    side_init(&b, 3, names);
    b.tail[40 + 5] = 1;
    b.tail[40 + 15] = 1;
    assert_int_equal(device_diff_init(&d, &a.state, &b.state, &err), 0);
    assert_int_equal(d.n_same, 2);
    assert_false(d.pairs[2].same);
    assert_int_equal(d.pairs[2].differing_bytes, 2);
    device_diff_release(&d);
}

static void order_is_no_difference_but_instances_are(void **state)
{
    static const char *const turned[] = {"serial", "timer", "rtc"};
    struct side a, b;
    struct device_diff d;
    struct error err;

    side_init(&a, 3, names);
    side_init(&b, 3, turned);
    b.sections[2].instance = 1;
    assert_int_equal(device_diff_init(&d, &a.state, &b.state, &err), 0);
    assert_int_equal(d.n, 4);
    assert_int_equal(d.n_same, 2);
    assert_null(d.pairs[1].b); /* rtc 0 */
    assert_null(d.pairs[3].a); /* rtc 1 */
    assert_int_equal(d.pairs[3].b->instance, 1);
    device_diff_release(&d);
}

static void lengths_and_damaged_tables_differ(void **state)
{
    struct side a, b;
    struct device_diff d;
    struct error err;

    side_init(&a, 3, names);
    side_init(&b, 3, names);
    b.sections[0].bytes = 19;
    a.sections[1].offset = b.sections[1].offset = 61; /* behind the end */
    assert_int_equal(device_diff_init(&d, &a.state, &b.state, &err), 0);
    assert_false(d.pairs[0].same);
    assert_false(d.pairs[1].same);
    assert_int_equal(d.pairs[1].differing_bytes, 0);
    assert_true(d.pairs[2].same);
    device_diff_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_sections_do_not_count),
        cmocka_unit_test(each_byte_between_them_counts),
        cmocka_unit_test(order_is_no_difference_but_instances_are),
        cmocka_unit_test(lengths_and_damaged_tables_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

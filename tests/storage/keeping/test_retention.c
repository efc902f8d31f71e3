#include "tests/fakes/assert_error.h"

#include <stdlib.h>
#include <time.h>

#include "core/base/clock.h"
#include "storage/keeping/retention.h"

#define STORY_MAX 64u

/* Snapshots by local time, oldest first: "2026-11-21 14:00", one a line. */
struct story {
    struct snapshot_summary all[STORY_MAX];
    struct retention_decision why[STORY_MAX];
    size_t n;
};

static void set_zone(const char *zone)
{
    setenv("TZ", zone, 1);
    tzset();
}

static uint64_t utc(const char *text)
{
    struct tm t = {0};

    assert_int_equal(sscanf(text, "%d-%d-%d %d:%d", &t.tm_year, &t.tm_mon,
                            &t.tm_mday, &t.tm_hour, &t.tm_min),
                     5);
    t.tm_year -= 1900;
    t.tm_mon--;
    return (uint64_t)timegm(&t) * NS_PER_SEC;
}

static void add(struct story *s, const char *vm, const char *when)
{
    struct snapshot_summary *one = &s->all[s->n++];

    *one = (struct snapshot_summary){.time_ns = utc(when)};
    snprintf(one->vm, sizeof(one->vm), "%s", vm);
}

/* The kept ones, oldest first, as their times in UTC: "21T14 21T15". */
static const char *kept(struct story *s, const struct retention_policy *p)
{
    static char text[1024];

    text[0] = '\0';
    retention_apply(s->all, s->n, p, s->why);
    for (size_t i = 0; i < s->n; i++) {
        char time[32];
        size_t used = strlen(text);

        assert_int_equal(s->why[i].keep, s->why[i].n_reasons > 0);
        clock_format_utc(s->all[i].time_ns, time);
        if (s->why[i].keep)
            snprintf(text + used, sizeof(text) - used, "%s%.8s",
                     used ? " " : "", time + 8);
    }
    return text;
}

static struct retention_policy keep(enum retention_rule rule, uint64_t n)
{
    struct retention_policy p = {.within_ms = 0};

    p.keep[rule] = n;
    return p;
}

struct row {
    enum retention_rule rule;
    uint64_t n;
    const char *zone;
    const char *times[12];
    const char *kept;
};

/* A rule, a zone, times in UTC, and what stays. */
static const struct row rows[] = {
    {RETENTION_LAST,
     2,
     "UTC",
     {"2026-11-20 10:00", "2026-11-20 10:01", "2026-11-20 10:02"},
     "20T10:01 20T10:02"},
    {RETENTION_LAST,
     5,
     "UTC",
     {"2026-11-20 10:00", "2026-11-20 10:01"},
     "20T10:00 20T10:01"},
    {RETENTION_HOURLY,
     2,
     "UTC",
     {"2026-11-20 09:10", "2026-11-20 10:10", "2026-11-20 10:50",
      "2026-11-20 11:00"},
     "20T10:50 20T11:00"},
    /* With hours left, the oldest stays as well. */
    {RETENTION_HOURLY,
     9,
     "UTC",
     {"2026-11-20 10:10", "2026-11-20 10:50"},
     "20T10:10 20T10:50"},
    /* Hours without a snapshot do not count. */
    {RETENTION_HOURLY,
     2,
     "UTC",
     {"2026-11-01 10:00", "2026-11-03 10:00", "2026-11-20 10:00"},
     "03T10:00 20T10:00"},
    {RETENTION_DAILY,
     2,
     "UTC",
     {"2026-11-18 23:00", "2026-11-19 01:00", "2026-11-19 23:59",
      "2026-11-20 00:00"},
     "19T23:59 20T00:00"},
    /* 23:30 UTC is the next day in Berlin. */
    {RETENTION_DAILY,
     1,
     "Europe/Berlin",
     {"2026-11-19 22:30", "2026-11-19 23:30", "2026-11-20 10:00"},
     "20T10:00"},
    {RETENTION_DAILY,
     2,
     "Europe/Berlin",
     {"2026-11-18 12:00", "2026-11-19 22:30", "2026-11-19 23:30",
      "2026-11-20 10:00"},
     "19T22:30 20T10:00"},
    /* The clocks go back: 02:30 comes twice, and is two hours. */
    {RETENTION_HOURLY,
     3,
     "Europe/Berlin",
     {"2026-10-24 22:30", "2026-10-24 23:30", "2026-10-25 00:30",
      "2026-10-25 01:30"},
     "24T23:30 25T00:30 25T01:30"},
    /* They go forward: there is no hour from two to three. */
    {RETENTION_HOURLY,
     2,
     "Europe/Berlin",
     {"2026-03-28 23:30", "2026-03-29 00:30", "2026-03-29 01:30"},
     "29T00:30 29T01:30"},
    /* A day of 25 hours is one day. */
    {RETENTION_DAILY,
     2,
     "Europe/Berlin",
     {"2026-10-24 21:00", "2026-10-24 22:00", "2026-10-25 22:59",
      "2026-10-25 23:00"},
     "25T22:59 25T23:00"},
    /* Weeks begin on Monday; 2026-11-16 is one. */
    {RETENTION_WEEKLY,
     2,
     "UTC",
     {"2026-11-08 12:00", "2026-11-15 12:00", "2026-11-16 12:00",
      "2026-11-20 12:00"},
     "15T12:00 20T12:00"},
    /* 2026-12-31 and 2027-01-03 lie in week 53 of 2026, the 4th in week 1. */
    {RETENTION_WEEKLY,
     2,
     "UTC",
     {"2026-12-20 12:00", "2026-12-31 12:00", "2027-01-03 12:00",
      "2027-01-04 12:00"},
     "03T12:00 04T12:00"},
    /* 2024-12-30 belongs to week 1 of 2025, not to one of 2024. */
    {RETENTION_WEEKLY,
     1,
     "UTC",
     {"2024-01-03 12:00", "2024-12-30 12:00", "2025-01-05 12:00"},
     "05T12:00"},
    {RETENTION_MONTHLY,
     2,
     "UTC",
     {"2025-11-30 12:00", "2026-10-31 12:00", "2026-11-01 12:00",
      "2026-11-30 12:00"},
     "31T12:00 30T12:00"},
    {RETENTION_YEARLY,
     2,
     "UTC",
     {"2024-06-01 12:00", "2025-01-01 00:00", "2025-12-31 23:59",
      "2026-01-01 00:00"},
     "31T23:59 01T00:00"},
};

static void each_rule_keeps_what_its_table_says(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        struct retention_policy p = keep(r->rule, r->n);
        struct story s = {.n = 0};

        set_zone(r->zone);
        for (size_t j = 0; r->times[j]; j++)
            add(&s, "a", r->times[j]);
        if (strcmp(kept(&s, &p), r->kept) != 0)
            print_error("row %zu: %s\n", i, kept(&s, &p));
        assert_string_equal(kept(&s, &p), r->kept);
    }
}

static void reasons_are_all_told(void **state)
{
    struct retention_policy p = {
        .keep = {[RETENTION_LAST] = 1, [RETENTION_HOURLY] = 3}};
    struct story s = {.n = 0};

    set_zone("UTC");
    add(&s, "a", "2026-11-20 10:00");
    add(&s, "a", "2026-11-20 10:10");
    add(&s, "a", "2026-11-20 11:00");
    kept(&s, &p);

    assert_int_equal(s.why[2].n_reasons, 2);
    assert_string_equal(s.why[2].reasons[0], "last snapshot");
    assert_string_equal(s.why[2].reasons[1], "hourly snapshot");
    assert_string_equal(s.why[1].reasons[0], "hourly snapshot");
    assert_string_equal(s.why[0].reasons[0], "oldest hourly snapshot");
}

static void each_vm_is_looked_at_by_itself(void **state)
{
    struct retention_policy p = keep(RETENTION_LAST, 1);
    struct story s = {.n = 0};

    add(&s, "a", "2026-11-20 10:00");
    add(&s, "b", "2026-11-20 11:00");
    add(&s, "a", "2026-11-20 12:00");
    add(&s, "b", "2026-11-20 13:00");
    assert_string_equal(kept(&s, &p), "20T12:00 20T13:00");

    /* The uuid decides, whatever the name was then. */
    snprintf(s.all[0].vm_uuid, sizeof(s.all[0].vm_uuid), "u");
    snprintf(s.all[1].vm_uuid, sizeof(s.all[1].vm_uuid), "u");
    assert_string_equal(kept(&s, &p), "20T11:00 20T12:00 20T13:00");
}

static void time_counts_back_from_the_newest_snapshot(void **state)
{
    struct retention_policy p = {.within_ms = 2 * 3600 * 1000};
    struct story s = {.n = 0};

    add(&s, "a", "2020-11-20 09:59");
    add(&s, "a", "2020-11-20 10:00");
    add(&s, "a", "2020-11-20 12:00");
    assert_string_equal(kept(&s, &p), "20T10:00 20T12:00");
}

static void a_tag_keeps(void **state)
{
    cleanup_json json_t *wanted = json_pack("{s:s, s:s}", "x", "1", "y", "2");
    cleanup_json json_t *other = json_pack("{s:s}", "x", "2");
    cleanup_json json_t *same = json_pack("{s:s, s:s}", "z", "1", "y", "2");
    struct retention_policy p = {.tags = wanted};
    struct story s = {.n = 0};

    add(&s, "a", "2026-11-20 10:00");
    add(&s, "a", "2026-11-20 11:00");
    add(&s, "a", "2026-11-20 12:00");
    s.all[0].tags = same;
    s.all[1].tags = other;
    assert_string_equal(kept(&s, &p), "20T10:00");
}

static void an_empty_policy_keeps_everything(void **state)
{
    struct retention_policy p = {.within_ms = 0};
    struct story s = {.n = 0};

    add(&s, "a", "2026-11-20 10:00");
    add(&s, "a", "2026-11-20 11:00");
    assert_true(retention_policy_is_empty(&p));
    retention_apply(s.all, s.n, &p, s.why);
    assert_true(s.why[0].keep && s.why[1].keep);
    p = keep(RETENTION_YEARLY, 1);
    assert_false(retention_policy_is_empty(&p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_keeps_what_its_table_says),
        cmocka_unit_test(reasons_are_all_told),
        cmocka_unit_test(each_vm_is_looked_at_by_itself),
        cmocka_unit_test(time_counts_back_from_the_newest_snapshot),
        cmocka_unit_test(a_tag_keeps),
        cmocka_unit_test(an_empty_policy_keeps_everything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

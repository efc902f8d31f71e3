/*
 * retention.c - each rule walks a VM's snapshots from the newest back.
 *
 * A rule needs only to know the last period it kept something of: a snapshot of
 * another period is its newest, since the walk is ordered in time. All rules
 * walk at once, one snapshot at a time, so that reasons come in the order of
 * the rules. Periods are cut by local time; the offset to UTC is part of an
 * hour, since the clock shows some hours twice a year.
 */
#include "storage/keeping/retention.h"

#include <time.h>

#include "core/base/clock.h"

/* What two snapshots of one day (week, ...) have in common, and no others. */
struct period {
    int64_t year;
    int64_t part;
    int64_t offset; /* of local time to UTC: tells repeated hours apart */
};

struct rule {
    const char *reason;
    const char *oldest;
    struct period (*period_of)(const struct tm *local);
};

static struct period hour_of(const struct tm *t)
{
    return (struct period){t->tm_year, t->tm_yday * 24 + t->tm_hour,
                           t->tm_gmtoff};
}

static struct period day_of(const struct tm *t)
{
    return (struct period){t->tm_year, t->tm_yday, 0};
}

/* The year and the week of ISO 8601, as numbers by strftime. */
static struct period week_of(const struct tm *t)
{
    char year[16], week[16];

    strftime(year, sizeof(year), "%G", t);
    strftime(week, sizeof(week), "%V", t);
    return (struct period){strtol(year, NULL, 10), strtol(week, NULL, 10), 0};
}

static struct period month_of(const struct tm *t)
{
    return (struct period){t->tm_year, t->tm_mon, 0};
}

static struct period year_of(const struct tm *t)
{
    return (struct period){t->tm_year, 0, 0};
}

/* In the order of enum retention_rule. */
static const struct rule rules[] = {
    {"last snapshot", "last snapshot", NULL},
    {"hourly snapshot", "oldest hourly snapshot", hour_of},
    {"daily snapshot", "oldest daily snapshot", day_of},
    {"weekly snapshot", "oldest weekly snapshot", week_of},
    {"monthly snapshot", "oldest monthly snapshot", month_of},
    {"yearly snapshot", "oldest yearly snapshot", year_of},
};

static_assert(ARRAY_LEN(rules) == RETENTION__RULES, "a row a rule");

/* Where each rule stands on its way from the newest snapshot back. */
struct progress {
    uint64_t left;
    bool started;
    struct period last;
};

bool retention_policy_is_empty(const struct retention_policy *p)
{
    for (size_t i = 0; i < RETENTION__RULES; i++) {
        if (p->keep[i] > 0)
            return false;
    }
    return p->within_ms == 0 && json_object_size(p->tags) == 0;
}

bool retention_same_vm(const struct snapshot_summary *a,
                       const struct snapshot_summary *b)
{
    if (a->vm_uuid[0] || b->vm_uuid[0])
        return strcmp(a->vm_uuid, b->vm_uuid) == 0;
    return strcmp(a->vm, b->vm) == 0;
}

static void add_reason(struct retention_decision *d, const char *reason)
{
    d->keep = true;
    assert(d->n_reasons < RETENTION_REASONS_MAX);
    d->reasons[d->n_reasons++] = reason;
}

static bool same_period(struct period a, struct period b)
{
    return a.year == b.year && a.part == b.part && a.offset == b.offset;
}

static void apply_rule(const struct rule *rule, struct progress *p,
                       const struct tm *local, bool oldest,
                       struct retention_decision *ret)
{
    struct period now = {0};
    bool another;

    if (p->left == 0)
        return;
    if (rule->period_of)
        now = rule->period_of(local);
    another = !p->started || !rule->period_of || !same_period(now, p->last);
    if (!another && !oldest)
        return;
    p->started = true;
    p->last = now;
    p->left--;
    add_reason(ret, another ? rule->reason : rule->oldest);
}

static bool has_tag(const json_t *wanted, const json_t *tags)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)wanted, key, value)
    {
        const char *is = json_string_value(json_object_get(tags, key));

        if (is && strcmp(is, json_string_value(value)) == 0)
            return true;
    }
    return false;
}

static bool is_within(const struct snapshot_summary *s, uint64_t newest_ns,
                      uint64_t within_ms)
{
    return within_ms > 0 && (newest_ns <= s->time_ns ||
                             (newest_ns - s->time_ns) / NS_PER_MS <= within_ms);
}

/* The next older snapshot of the VM of all[at]; n when there is none. */
static size_t next_older(const struct snapshot_summary *all, size_t n,
                         size_t at)
{
    for (size_t i = at; i-- > 0;) {
        if (retention_same_vm(&all[i], &all[at]))
            return i;
    }
    return n;
}

/* The VM whose newest snapshot is all[newest]. */
static void apply_to_vm(const struct snapshot_summary *all, size_t n,
                        size_t newest, const struct retention_policy *policy,
                        struct retention_decision *ret)
{
    struct progress progress[RETENTION__RULES] = {0};
    size_t older;

    for (size_t i = 0; i < RETENTION__RULES; i++)
        progress[i].left = policy->keep[i];
    for (size_t at = newest; at < n; at = older) {
        time_t seconds = (time_t)(all[at].time_ns / NS_PER_SEC);
        struct tm local = {0};

        older = next_older(all, n, at);
        localtime_r(&seconds, &local);
        for (size_t i = 0; i < RETENTION__RULES; i++)
            apply_rule(&rules[i], &progress[i], &local, older == n, &ret[at]);
        if (is_within(&all[at], all[newest].time_ns, policy->within_ms))
            add_reason(&ret[at], "within the time kept");
        if (has_tag(policy->tags, all[at].tags))
            add_reason(&ret[at], "tag");
    }
}

void retention_apply(const struct snapshot_summary *all, size_t n,
                     const struct retention_policy *policy,
                     struct retention_decision *ret)
{
    bool empty = retention_policy_is_empty(policy);

    for (size_t i = 0; i < n; i++)
        ret[i] = (struct retention_decision){.keep = empty};
    for (size_t i = n; !empty && i-- > 0;) {
        bool newest = true;

        for (size_t j = i + 1; newest && j < n; j++)
            newest = !retention_same_vm(&all[i], &all[j]);
        if (newest)
            apply_to_vm(all, n, i, policy, ret);
    }
}

/*
 * option_value.c - numbers are read by hand: strtod() and friends take signs,
 * blanks, hex and "inf", and hide what is too large. A fraction has at most
 * three digits, so that a value is exact or refused.
 */
#include "cli/option_value.h"

#include <strings.h>
#include <time.h>

#include "core/base/bytes.h"
#include "core/codec/frame_codec.h"

#define LEVEL_MIN     (-7)
#define LEVEL_MAX     19
#define LEVEL_FASTEST (-5)
#define LEVEL_DEFAULT 1

struct unit {
    const char *suffix;
    uint64_t factor;
};

/* The longer of two suffixes that begin alike comes first. */
static const struct unit size_units[] = {
    {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20},
    {"GiB", UINT64_C(1) << 30},
    {"TiB", UINT64_C(1) << 40},
    {"K", UINT64_C(1) << 10},
    {"M", UINT64_C(1) << 20},
    {"G", UINT64_C(1) << 30},
    {"T", UINT64_C(1) << 40},
    {"B", 1},
    {"", 1},
};

static const struct unit duration_units[] = {
    {"ms", 1},       {"s", 1000},      {"m", 60 * 1000}, {"h", 3600 * 1000},
    {"d", 86400000}, {"w", 604800000}, {"", 1000},
};

static bool parse_digits(const char **text, uint64_t *ret)
{
    uint64_t value = 0;
    const char *p = *text;

    while (*p >= '0' && *p <= '9') {
        if (!mul_checked(value, 10, &value) ||
            !add_checked(value, (uint64_t)(*p - '0'), &value))
            return false;
        p++;
    }
    if (p == *text)
        return false;
    *text = p;
    *ret = value;
    return true;
}

/* ".5" as thousandths: 500. At most three digits, so that nothing is lost. */
static bool parse_fraction(const char **text, uint64_t *ret_thousandths)
{
    uint64_t value = 0;
    const char *p = *text;
    uint64_t weight = 1000;

    if (*p != '.') {
        *ret_thousandths = 0;
        return true;
    }
    for (p++; *p >= '0' && *p <= '9'; p++) {
        if (weight == 1)
            return false;
        weight /= 10;
        value += weight * (uint64_t)(*p - '0');
    }
    if (weight == 1000)
        return false;
    *text = p;
    *ret_thousandths = value;
    return true;
}

/* A number with one of the units; `end` is what must follow ("", "/s"). */
static bool parse_with_unit(const char *text, const struct unit *units,
                            const char *end, uint64_t *ret)
{
    uint64_t whole;
    uint64_t thousandths;

    if (!parse_digits(&text, &whole) || !parse_fraction(&text, &thousandths))
        return false;
    for (const struct unit *u = units;; u++) {
        size_t len = strlen(u->suffix);

        if (strncasecmp(text, u->suffix, len) == 0 &&
            strcmp(text + len, end) == 0)
            return mul_checked(whole, u->factor, &whole) &&
                   add_checked(whole, thousandths * u->factor / 1000, ret);
        if (len == 0)
            return false;
    }
}

int option_parse_size(const char *text, uint64_t *ret, struct error *err)
{
    if (!parse_with_unit(text, size_units, "", ret))
        return fail(err, ERR_USAGE, "'%s' is no size such as 64K or 1.5G",
                    text);
    return 0;
}

static int parse_rate(const char *text, uint64_t *ret, struct error *err)
{
    if (!parse_with_unit(text, size_units, "", ret) &&
        !parse_with_unit(text, size_units, "/s", ret))
        return fail(err, ERR_USAGE, "'%s' is no rate such as 100M/s", text);
    return 0;
}

int option_parse_duration(const char *text, uint64_t *ret_ms, struct error *err)
{
    if (!parse_with_unit(text, duration_units, "", ret_ms))
        return fail(err, ERR_USAGE, "'%s' is no duration such as 300ms or 5m",
                    text);
    return 0;
}

int option_parse_time(const char *text, uint64_t *ret_ns, struct error *err)
{
    struct tm t = {.tm_isdst = -1};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &t);
    bool utc = end && !*end;
    time_t seconds;

    if (!utc) {
        t = (struct tm){.tm_isdst = -1};
        end = strptime(text, "%Y-%m-%d %H:%M:%S", &t);
    }
    seconds = end && !*end ? (utc ? timegm(&t) : mktime(&t)) : -1;
    if (seconds < 0)
        return fail(err, ERR_USAGE, "'%s' is no time such as '%s'", text,
                    "2026-11-21 14:00:00");
    *ret_ns = (uint64_t)seconds * 1000000000u;
    return 0;
}

static int parse_uint(const char *text, uint64_t *ret, struct error *err)
{
    const char *p = text;

    if (!parse_digits(&p, ret) || *p)
        return fail(err, ERR_USAGE, "'%s' is no number", text);
    return 0;
}

static int parse_on_off(const char *text, bool *ret, struct error *err)
{
    *ret = strcmp(text, "on") == 0 || strcmp(text, "yes") == 0;
    if (!*ret && strcmp(text, "off") != 0 && strcmp(text, "no") != 0)
        return fail(err, ERR_USAGE, "'%s' is neither 'on' nor 'off'", text);
    return 0;
}

static int parse_percent(const char *text, unsigned *ret, struct error *err)
{
    const char *p = text;
    uint64_t value = 100;

    if (text && (!parse_digits(&p, &value) ||
                 (strcmp(p, "") != 0 && strcmp(p, "%") != 0) || value < 1 ||
                 value > 100))
        return fail(err, ERR_USAGE, "'%s' is no percentage from 1 to 100",
                    text);
    *ret = (unsigned)value;
    return 0;
}

static int parse_choice(const struct option_spec *spec, const char *text,
                        int *ret, struct error *err)
{
    char list[256] = "";
    size_t used = 0;

    for (int i = 0; spec->choices[i]; i++) {
        if (strcmp(spec->choices[i], text) == 0) {
            *ret = i;
            return 0;
        }
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
                                 i ? ", " : "", spec->choices[i]);
        assert(used < sizeof(list));
    }
    return fail(err, ERR_USAGE, "'%s' is none of %s", text, list);
}

static int add_tag(const char *text, json_t **tags, struct error *err)
{
    const char *equals = strchr(text, '=');
    char key[128];
    size_t len;

    if (!equals || equals == text)
        return fail(err, ERR_USAGE, "'%s' is no tag such as KEY=VALUE", text);
    len = (size_t)(equals - text);
    if (len >= sizeof(key))
        return fail(err, ERR_USAGE,
                    "the key of a tag is longer than 127 bytes");
    memcpy(key, text, len);
    key[len] = '\0';
    if (!*tags)
        *tags = json_object();
    /* Both fail only for text that is no UTF-8, or without memory. */
    if (json_object_set_new(*tags, key, json_string(equals + 1)) < 0)
        return fail(err, ERR_USAGE, "tag '%s' is no UTF-8 text", key);
    return 0;
}

static int add_item(const char *text, struct option_list *list,
                    struct error *err)
{
    if (list->n == OPTION_LIST_MAX)
        return fail(err, ERR_USAGE, "more than %u of them", OPTION_LIST_MAX);
    list->items[list->n++] = text;
    return 0;
}

int option_parse_level(const char *text, int *ret, struct error *err)
{
    bool negative = text[0] == '-';
    const char *digits = text + negative;
    uint64_t n;

    if (strcmp(text, "fastest") == 0) {
        *ret = LEVEL_FASTEST;
        return 0;
    }
    if (strcmp(text, "none") == 0) {
        *ret = FRAME_CODEC_NONE;
        return 0;
    }
    if (strcmp(text, "default") == 0) {
        *ret = LEVEL_DEFAULT;
        return 0;
    }
    if (!parse_digits(&digits, &n) || *digits || n == 0 ||
        n > (uint64_t)(negative ? -LEVEL_MIN : LEVEL_MAX))
        return fail(err, ERR_USAGE,
                    "'%s' is not 'none', 'fastest', 'default', 1 to %d, or %d "
                    "to -1",
                    text, LEVEL_MAX, LEVEL_MIN);
    *ret = negative ? -(int)n : (int)n;
    return 0;
}

bool option_kind_takes_value(enum option_kind kind)
{
    return kind != OPTION_FLAG && kind != OPTION_COUNT &&
           kind != OPTION_PERCENT;
}

static int set(const struct option_spec *spec, const char *text, void *at,
               struct error *err)
{
    switch (spec->kind) {
    case OPTION_FLAG:
        *(bool *)at = true;
        return 0;
    case OPTION_COUNT:
        *(int *)at += 1;
        return 0;
    case OPTION_ON_OFF:
        return parse_on_off(text, at, err);
    case OPTION_STRING:
        *(const char **)at = text;
        return 0;
    case OPTION_UINT:
        return parse_uint(text, at, err);
    case OPTION_SIZE:
        return option_parse_size(text, at, err);
    case OPTION_RATE:
        return parse_rate(text, at, err);
    case OPTION_DURATION:
        return option_parse_duration(text, at, err);
    case OPTION_CHOICE:
        return parse_choice(spec, text, at, err);
    case OPTION_LIST:
        return add_item(text, at, err);
    case OPTION_TAG:
        return add_tag(text, at, err);
    case OPTION_PERCENT:
        return parse_percent(text, at, err);
    case OPTION_LEVEL:
        return option_parse_level(text, at, err);
    }
    assert(false);
    return fail(err, ERR_INVALID, "option '--%s' is of no kind", spec->name);
}

int option_value_read(const struct option_spec *spec, const char *text,
                      void *values, struct error *err)
{
    return set(spec, text, (char *)values + spec->offset, err);
}

int option_value_check(const struct option_spec *spec, const char *text,
                       struct error *err)
{
    union {
        bool flag;
        const char *string;
        uint64_t number;
        int choice;
        json_t *tags;
        struct option_list list;
    } value = {0};
    int rc;

    if (spec->kind == OPTION_FLAG)
        return parse_on_off(text, &value.flag, err);
    rc = set(spec, text, &value, err);
    if (spec->kind == OPTION_TAG)
        json_decref(value.tags);
    return rc;
}

int option_value_set(const struct option_spec *spec, const char *text,
                     void *values, struct error *err)
{
    int rc = option_value_read(spec, text, values, err);

    if (rc < 0)
        error_wrap(err, "option '--%s'", spec->name);
    return rc;
}

/*
 * keeping.c - extras of `list` and `show`, read once for all snapshots.
 *
 * Sizes may have to be counted (usage.h) and checks may never have been made;
 * either can fail by itself, with a debug line, and then reads as "not known".
 */
#include "cli/keeping.h"

#define LOG_AREA "keeping"
#include "core/base/clock.h"
#include "core/base/log.h"

void keeping_load(struct repository *r, struct stopper *stop,
                  struct keeping *ret)
{
    struct error why;

    *ret = (struct keeping){.n_usage = 0};
    if (usage_sizes(r, stop, &ret->usage, &ret->n_usage, &why) < 0)
        log_debug("sizes are not known: %s", why.message);
    if (check_state_load(r, &ret->checks, &why) < 0)
        log_debug("checks are not known: %s", why.message);
}

void keeping_release(struct keeping *k)
{
    free(k->usage);
    check_state_free(k->checks);
    *k = (struct keeping){.n_usage = 0};
}

struct kept keeping_find(const struct keeping *k, const char *id)
{
    struct kept kept = {.sized = false};

    for (size_t i = 0; i < k->n_usage && !kept.sized; i++) {
        if (strcmp(k->usage[i].id, id) != 0)
            continue;
        kept.sized = true;
        kept.usage = k->usage[i];
    }
    if (k->checks)
        kept.checked = check_state_snapshot(k->checks, id);
    return kept;
}

static json_t *time_json(uint64_t ns)
{
    char text[32];

    if (ns == 0)
        return json_null();
    clock_format_utc(ns, text);
    return json_string(text);
}

static json_t *bytes_json(const struct kept *kept, uint64_t bytes)
{
    return kept->sized ? json_integer((json_int_t)bytes) : json_null();
}

int keeping_add_json(const struct kept *kept, json_t *object, struct error *err)
{
    cleanup_json json_t *more =
        json_pack("{s:o, s:o, s:o, s:o}", "unique_bytes",
                  bytes_json(kept, kept->usage.unique_bytes), "shared_bytes",
                  bytes_json(kept, kept->usage.shared_bytes), "checked",
                  time_json(kept->checked.structure_ns), "data_checked",
                  time_json(kept->checked.data_ns));

    if (!object || !more || json_object_update(object, more) < 0)
        return fail_nomem(err);
    return 0;
}

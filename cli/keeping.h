/*
 * keeping.h - what deleting a snapshot would give back, and when it was
 * checked: for `list` and `show`.
 *
 * Both are extras: where they cannot be had they are not known, and nothing
 * fails for it.
 */
#ifndef FIRN_CLI_KEEPING_H
#define FIRN_CLI_KEEPING_H

#include "storage/keeping/check_state.h"
#include "storage/keeping/usage.h"

struct keeping {
    struct snapshot_usage *usage; /* NULL: not known */
    size_t n_usage;
    struct check_state *checks; /* NULL: not known */
};

struct kept {
    bool sized; /* `usage` is known */
    struct snapshot_usage usage;
    struct checked_snapshot checked; /* 0: never */
};

/* Reads both; to be released. Pulling the stopper leaves sizes unknown. */
void keeping_load(struct repository *r, struct stopper *stop,
                  struct keeping *ret);
/* Frees them; nothing is known afterwards. */
void keeping_release(struct keeping *k);
/* What is known of the snapshot with this id. */
struct kept keeping_find(const struct keeping *k, const char *id);

/* Adds `unique_bytes`, `shared_bytes`, `checked` and `data_checked` (times),
 * null for what is not known, to an object (NULL is fine). */
int keeping_add_json(const struct kept *kept, json_t *object,
                     struct error *err) NODISCARD;

static inline UNUSED void cleanup_keeping_fn(struct keeping *k)
{
    keeping_release(k);
}

#endif

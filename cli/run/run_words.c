/*
 * run_words.c - values go in the form --name=value, so that none is taken for
 * an option, whatever it begins with.
 */
#include "cli/run/run_words.h"

#include <inttypes.h>
#include <stdarg.h>

static int add(struct run_words *w, struct error *err, const char *fmt, ...)
    PRINTF_LIKE(3, 4) NODISCARD;

static int add(struct run_words *w, struct error *err, const char *fmt, ...)
{
    char **items = realloc(w->items, (w->n + 2) * sizeof(*items));
    va_list ap;
    int n;

    if (!items)
        return fail_nomem(err);
    w->items = items;
    va_start(ap, fmt);
    n = vasprintf(&items[w->n], fmt, ap);
    va_end(ap);
    if (n < 0) {
        items[w->n] = NULL;
        return fail_nomem(err);
    }
    items[++w->n] = NULL;
    return 0;
}

static int add_config_words(struct run_words *w, const struct config_words *c,
                            struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < c->n; i++) {
        const char *name = c->items[i].spec->name;
        const char *value = c->items[i].value;

        if (c->items[i].spec->kind != OPTION_FLAG)
            rc = add(w, err, "--%s=%s", name, value);
        else if (strcmp(value, "yes") == 0 || strcmp(value, "on") == 0)
            rc = add(w, err, "--%s", name);
    }
    return rc;
}

static int add_limit(struct run_words *w, uint64_t limit_ms, uint64_t left_ms,
                     struct error *err)
{
    return add(w, err, "--max-duration=%" PRIu64 "ms", MIN(limit_ms, left_ms));
}

static int add_step(struct run_words *w, const struct run_task *t,
                    const struct run_words_args *args, struct error *err)
{
    int rc;

    switch (t->state) {
    case RUN_LOOKING:
        return add(w, err, "%s", t->vm->name);
    case RUN_TAKING:
        rc = add(w, err, "--qmp=%s", t->vm->socket);
        if (rc == 0)
            rc = add(w, err, "--name=%s", t->vm->name);
        return rc < 0 ? rc : add_config_words(w, &t->vm->snapshot, err);
    case RUN_FORGETTING:
        rc = add(w, err, "--vm=%s", t->vm->name);
        if (rc == 0 && t->dry_run)
            rc = add(w, err, "--dry-run");
        return rc < 0 ? rc : add_config_words(w, &t->vm->keep, err);
    case RUN_PRUNING:
        return add_limit(w, args->prune_for_ms, args->left_ms, err);
    case RUN_CHECKING:
        rc = add(w, err, "--read-data");
        return rc < 0 ? rc
                      : add_limit(w, args->check_for_ms, args->left_ms, err);
    case RUN_WAITING:
    case RUN_LOCKING:
    case RUN_DONE:
    case RUN__STATES:
        break;
    }
    assert(false);
    return 0;
}

int run_words_make(const struct run_task *t, const struct run_words_args *args,
                   struct run_words *ret, struct error *err)
{
    int rc;

    *ret = (struct run_words){0};
    rc = add(ret, err, "%s", args->program);
    if (rc == 0)
        rc = add(ret, err, "--repo=%s", t->repository);
    if (rc == 0)
        rc = add(ret, err, "--json");
    if (rc == 0)
        rc = add(ret, err, "%s", args->verbose ? "-v" : "-q");
    if (rc == 0)
        rc = add(ret, err, "%s", run_state_name(t->state));
    if (rc == 0)
        rc = add_step(ret, t, args, err);
    if (rc < 0)
        run_words_release(ret);
    return rc;
}

void run_words_release(struct run_words *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->items[i]);
    free(w->items);
    *w = (struct run_words){0};
}

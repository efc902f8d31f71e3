/*
 * worker.c - threads that are started together and end together.
 *
 * Only the first error is kept, since it is the cause: the others are mostly
 * ERR_CANCELLED, the answer to `cancel`. Threads are never killed; they end
 * because what they wait on (a stopper, a queue) lets them go. Start, join and
 * release belong to one thread, the one that owns the group.
 */
#include "core/base/worker.h"

#include <errno.h>
#include <signal.h>

#define LOG_AREA "worker"
#include "core/base/log.h"

struct start_args {
    struct worker_group *group;
    char name[16];
    int (*main)(void *arg, struct error *err);
    void *arg;
};

void worker_group_init(struct worker_group *g, void (*cancel)(void *arg),
                       void *arg)
{
    *g = (struct worker_group){.cancel = cancel, .arg = arg};
    lock_init(&g->lock);
}

static bool keep_if_first(struct worker_group *g, const struct error *why)
{
    LOCK_SCOPE(&g->lock);

    if (g->first.code != 0)
        return false;
    error_copy(&g->first, why);
    return true;
}

void worker_group_fail(struct worker_group *g, const struct error *why)
{
    if (keep_if_first(g, why))
        g->cancel(g->arg);
    else
        log_debug("a later error is dropped: %s", why->message);
}

static void *run(void *arg)
{
    struct start_args start = *(struct start_args *)arg;
    struct error err = ERROR_INIT;

    free(arg);
    pthread_setname_np(pthread_self(), start.name);
    if (start.main(start.arg, &err) < 0)
        worker_group_fail(start.group, &err);
    return NULL;
}

int worker_start(struct worker_group *g, const char *name,
                 int (*main)(void *arg, struct error *err), void *arg,
                 struct error *err)
{
    struct start_args *start;
    sigset_t all;
    sigset_t old;
    int rc;

    assert(g->cancel && g->n_threads < WORKER_MAX);
    start = malloc(sizeof(*start));
    if (!start)
        return fail_nomem(err);
    *start = (struct start_args){.group = g, .main = main, .arg = arg};
    snprintf(start->name, sizeof(start->name), "%s", name);

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&g->threads[g->n_threads], NULL, run, start);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        free(start);
        errno = rc;
        return fail_errno(err, ERR_IO, "cannot start thread '%s'", name);
    }
    g->n_threads++;
    return 0;
}

int worker_group_join(struct worker_group *g, struct error *err)
{
    while (g->n_threads > 0)
        pthread_join(g->threads[--g->n_threads], NULL);

    LOCK_SCOPE(&g->lock);
    return g->first.code == 0 ? 0 : error_copy(err, &g->first);
}

void worker_group_release(struct worker_group *g)
{
    struct error ignored = ERROR_INIT;

    if (!g->cancel)
        return;
    if (worker_group_join(g, &ignored) < 0)
        log_debug("released with an error: %s", ignored.message);
    lock_release(&g->lock);
    g->cancel = NULL;
}

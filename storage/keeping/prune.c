/*
 * prune.c - one prune at a time, its phases in order, what is left tidied up.
 */
#include "storage/keeping/prune.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#define LOG_AREA "prune"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "storage/keeping/prune_inside.h"
#include "storage/layout.h"
#include "storage/repository_inside.h"

/* Two that begin at once both step back, and try again at different times. */
#define BEGIN_TRIES  8u
#define BEGIN_MAX_MS 250u

int prune_check_stop(const struct prune *p, struct error *err)
{
    if (p->args->stop && stopper_pulled(p->args->stop))
        return stopper_error(p->args->stop, err);
    return 0;
}

bool prune_time_is_up(const struct prune *p)
{
    return p->deadline_ns && clock_monotonic_ns() >= p->deadline_ns;
}

void prune_progress(const struct prune *p, const char *what, uint64_t done,
                    uint64_t total)
{
    if (p->args->progress)
        p->args->progress(p->args->arg, what, done, total);
}

void prune_note(const struct prune *p, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_debug("%s", text);
    if (p->args->note)
        p->args->note(p->args->arg, text);
}

static const struct lease_info *other_prune(const struct lease_infos *leases)
{
    for (size_t i = 0; i < leases->n; i++) {
        if (strcmp(leases->all[i].purpose, "prune") == 0)
            return &leases->all[i];
    }
    return NULL;
}

/* Takes the lease, unless another prune has one. Both write first and look
 * then, so never both go on. */
static int try_begin(struct prune *p, bool *ret_done, struct error *err)
{
    cleanup(lease_infos) struct lease_infos leases = {0};
    cleanup(lease) struct lease *l = NULL;
    const struct lease_info *other;
    int rc = lease_acquire(p->repository, "prune", NULL, &l, err);

    if (rc == 0)
        rc = lease_list(p->repository, l, &leases, err);
    if (rc < 0)
        return rc;
    other = other_prune(&leases);
    *ret_done = !other;
    if (other) {
        fail(err, ERR_LOCKED, "another prune is at work (host %s, pid %d)",
             other->host, (int)other->pid);
        error_hint(err, "it ends by itself; try again later");
        return 0;
    }
    p->lease = steal_ptr(&l);
    return 0;
}

static int begin(struct prune *p, struct error *err)
{
    bool done = false;

    for (unsigned i = 0; i < BEGIN_TRIES; i++) {
        uint16_t random = 0;
        struct timespec pause = {0};
        int rc = prune_check_stop(p, err);

        if (rc == 0)
            rc = try_begin(p, &done, err);
        if (rc < 0 || done)
            return rc;
        if (getrandom(&random, sizeof(random), 0) < 0)
            random = (uint16_t)getpid();
        pause.tv_nsec = (long)(random % BEGIN_MAX_MS) * (long)NS_PER_MS;
        nanosleep(&pause, NULL);
    }
    return ERR_LOCKED;
}

/* Hints of snapshots that are no more. */
static int tidy_hint(void *arg, const char *id, struct error *err)
{
    const struct prune *p = arg;
    char name[SNAPSHOT_ID_LEN + sizeof(LAYOUT_HINTS) + 1];
    struct stat st;

    if (fstatat(repository_snapshots_dirfd(p->repository), id, &st,
                AT_SYMLINK_NOFOLLOW) == 0 ||
        errno != ENOENT)
        return 0;
    snprintf(name, sizeof(name), LAYOUT_HINTS "/%s", id);
    unlinkat(repository_dirfd(p->repository), name, 0);
    return 0;
}

static void tidy_hints(struct prune *p)
{
    cleanup_close int fd = openat(repository_dirfd(p->repository), LAYOUT_HINTS,
                                  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct object_folder folder = layout_snapshots(fd);
    struct error ignored;

    if (fd >= 0 && !p->args->dry_run &&
        object_list(&folder, tidy_hint, p, &ignored) < 0)
        log_debug("hints stay: %s", ignored.message);
}

static int run(struct prune *p, struct error *err)
{
    int rc = p->args->dry_run ? 0 : begin(p, err);

    if (rc == 0)
        rc = prune_sweep(p, err);
    if (rc == 0)
        tidy_hints(p);
    if (rc == 0 && !p->args->no_rewrite)
        rc = prune_rewrite(p, err);
    p->report.finished = !prune_time_is_up(p);
    return rc;
}

int prune_run(const struct prune_args *args, struct prune_report *ret,
              struct error *err)
{
    struct prune p = {.args = args, .repository = args->repository};
    int rc;

    if (args->max_duration_ms)
        p.deadline_ns =
            clock_monotonic_ns() + args->max_duration_ms * NS_PER_MS;
    rc = run(&p, err);
    /* A lease that stays has its packs removed by the next open after our end,
     * as far as no snapshot refers to them. */
    if (p.linking)
        lease_forget(p.lease);
    else
        lease_release(p.lease);
    if (rc < 0)
        return error_wrap(err, "prune did not end");
    *ret = p.report;
    return 0;
}

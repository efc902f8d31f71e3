/*
 * space.c - whether there is room, and if not, who has it.
 *
 * The reserve is a share of the disk with a floor and a ceiling, since prune
 * must write before it can free: a disk filled to its last byte cannot be
 * emptied by it. An explanation of ERR_NOSPC may itself fail in silence: it is
 * added to an error that is told anyway.
 */
#include "storage/space.h"

#include <inttypes.h>
#include <sys/statvfs.h>

#include "storage/repository_inside.h"

#define MIB (UINT64_C(1) << 20)

#define RESERVE_LEAST (256 * MIB)
#define RESERVE_MOST  (4096 * MIB)

/* So many VMs are named. */
#define NAMED 3u

int space_of(const struct repository *r, struct space *ret, struct error *err)
{
    struct statvfs st;

    if (fstatvfs(repository_dirfd(r), &st) < 0)
        return fail_errno(err, ERR_IO, "cannot ask for the free space of '%s'",
                          repository_path(r));
    *ret = (struct space){
        .total_bytes = (uint64_t)st.f_blocks * st.f_frsize,
        .free_bytes = (uint64_t)st.f_bavail * st.f_frsize,
    };
    return 0;
}

uint64_t space_default_reserve(uint64_t total_bytes)
{
    uint64_t reserve = MIN(MAX(total_bytes / 100, RESERVE_LEAST), RESERVE_MOST);

    return MIN(reserve, total_bytes / 20);
}

int space_check(const struct repository *r, uint64_t reserve_bytes,
                uint64_t need_bytes, struct error *err)
{
    struct space s;
    int rc = space_of(r, &s, err);

    if (rc < 0)
        return rc;
    if (!reserve_bytes)
        reserve_bytes = space_default_reserve(s.total_bytes);
    if (s.free_bytes >= reserve_bytes &&
        s.free_bytes - reserve_bytes >= need_bytes)
        return 0;
    if (need_bytes > 0)
        return fail(err, ERR_NOSPC,
                    "%" PRIu64 " MiB are needed, but '%s' has %" PRIu64
                    " MiB free, of which %" PRIu64 " MiB are kept in reserve",
                    need_bytes / MIB + 1, repository_path(r),
                    s.free_bytes / MIB, reserve_bytes / MIB);
    return fail(err, ERR_NOSPC,
                "'%s' is nearly full: %" PRIu64 " MiB are free, and %" PRIu64
                " MiB are kept in reserve",
                repository_path(r), s.free_bytes / MIB, reserve_bytes / MIB);
}

/* Explaining. */

struct holder {
    const char *vm;
    size_t n;
    uint64_t bytes;
};

static void add(struct holder *list, size_t *n,
                const struct snapshot_summary *s)
{
    size_t i = 0;

    while (i < *n && strcmp(list[i].vm, s->vm) != 0)
        i++;
    if (i == *n)
        list[(*n)++] = (struct holder){.vm = s->vm};
    list[i].n++;
    list[i].bytes += s->stored_bytes;
}

static int compare(const void *a, const void *b)
{
    const struct holder *x = a;
    const struct holder *y = b;

    return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : 0;
}

/* Behind what the hint says already. */
static void hint_too(struct error *err, const char *text)
{
    char before[sizeof(err->hint)];

    snprintf(before, sizeof(before), "%s", err->hint);
    error_hint(err, "%s%s%s", before, before[0] ? "; " : "", text);
}

static void tell(const struct holder *list, size_t n, struct error *err)
{
    char text[384];
    size_t used = (size_t)snprintf(
        text, sizeof(text),
        "'firn forget --vm %.40s --keep-last N' and then 'firn prune' make "
        "room; most is held by",
        list[0].vm);

    for (size_t i = 0; i < n && i < NAMED && used < sizeof(text) - 1; i++)
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used,
                             "%s %.40s (%" PRIu64 " MiB in %zu snapshot%s)",
                             i > 0 ? "," : "", list[i].vm, list[i].bytes / MIB,
                             list[i].n, list[i].n == 1 ? "" : "s");
    hint_too(err, text);
}

int space_explain(struct repository *r, struct error *err)
{
    struct snapshot_summary *all = NULL;
    struct error ignored = ERROR_INIT;
    cleanup_free struct holder *list = NULL;
    size_t n_all = 0;
    size_t n = 0;

    if (repository_list(r, NULL, NULL, &all, &n_all, &ignored) == 0)
        list = calloc(n_all + 1, sizeof(*list));
    for (size_t i = 0; list && i < n_all; i++)
        add(list, &n, &all[i]);
    if (n > 0) {
        qsort(list, n, sizeof(*list), compare);
        tell(list, n, err);
    } else {
        hint_too(err, "no snapshot is here that could be forgotten: make room "
                      "on that disk, or use a larger one");
    }
    for (size_t i = 0; i < n_all; i++)
        snapshot_summary_release(&all[i]);
    free(all);
    return err->code;
}

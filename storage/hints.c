/*
 * hints.c - the file, little-endian:
 *
 *   hints  = header entry* figures
 *   header = 32 bytes: magic "FIRNHINT", u32 version, u32 runs,
 *            u64 n entries, u64 XXH3-64 of the file with these 8 bytes 0
 *   entry  = 16 bytes: u32 block, u32 seen, u64 page number
 *   figures: version 1 none, version 2 the rest: JSON text of the last restore
 *
 * Valid if and only if the length is 32 + 16 n + the figures' (1 byte to
 * HINTS_FIGURES_MAX, none of them 0), n <= HINTS_MAX, the checksum fits, runs
 * <= HINTS_RUNS_MAX and no `seen` is above runs.
 *
 * Merging keeps the order of the newest run and puts behind it what only older
 * runs asked for. When the runs are as many as are counted, all counts are
 * halved: a page that no run asks for any more goes after a few.
 */
#include "storage/hints.h"

#include <fcntl.h>

#include "core/base/cursor.h"
#include "core/base/path.h"
#include "storage/layout.h"
#include "storage/packs/page_hash.h"
#include "storage/repository_inside.h"

#define MAGIC        "FIRNHINT"
#define PLAIN        1u /* versions */
#define WITH_FIGURES 2u
#define HEADER_BYTES 32u
#define ENTRY_BYTES  16u
#define SUM_OFFSET   24u
#define FILE_MAX \
    (HEADER_BYTES + (size_t)ENTRY_BYTES * HINTS_MAX + HINTS_FIGURES_MAX)

void hints_release(struct hints *h)
{
    free(h->list);
    free(h->figures);
    *h = (struct hints){0};
}

int hints_encode(const struct hints *h, struct buf *ret, struct error *err)
{
    int rc = buf_append(ret, MAGIC, 8, err);

    if (rc == 0)
        rc = buf_append_le32(ret, h->figures ? WITH_FIGURES : PLAIN, err);
    if (rc == 0)
        rc = buf_append_le32(ret, h->runs, err);
    if (rc == 0)
        rc = buf_append_le64(ret, h->n, err);
    if (rc == 0)
        rc = buf_append_le64(ret, 0, err);
    for (size_t i = 0; i < h->n && rc == 0; i++) {
        rc = buf_append_le32(ret, h->list[i].block, err);
        if (rc == 0)
            rc = buf_append_le32(ret, h->list[i].seen, err);
        if (rc == 0)
            rc = buf_append_le64(ret, h->list[i].pgno, err);
    }
    if (rc == 0 && h->figures)
        rc = buf_append(ret, h->figures, strlen(h->figures), err);
    if (rc == 0)
        store_le64(ret->data + SUM_OFFSET, checksum64(ret->data, ret->len, 0));
    return rc;
}

static int check_sum(const void *data, size_t len, struct error *err)
{
    cleanup_free uint8_t *copy = malloc(len);
    uint64_t sum;

    if (!copy)
        return fail_nomem(err);
    memcpy(copy, data, len);
    sum = load_le64(copy + SUM_OFFSET);
    store_le64(copy + SUM_OFFSET, 0);
    if (checksum64(copy, len, 0) != sum)
        return fail(err, ERR_CORRUPT, "hints: checksum differs");
    return 0;
}

static int decode_entries(struct cursor *c, struct hints *h, size_t n,
                          struct error *err)
{
    h->list = calloc(MAX(n, (size_t)1), sizeof(*h->list));
    if (!h->list)
        return fail_nomem(err);
    for (; h->n < n; h->n++) {
        struct hint *e = &h->list[h->n];

        if (!cursor_le32(c, &e->block) || !cursor_le32(c, &e->seen) ||
            !cursor_le64(c, &e->pgno) || e->seen > h->runs)
            return fail(err, ERR_CORRUPT, "hints: entry %zu is impossible",
                        h->n);
    }
    return 0;
}

static bool is_length_right(size_t figures, uint32_t version)
{
    return version == PLAIN ? figures == 0
                            : figures > 0 && figures <= HINTS_FIGURES_MAX;
}

static int decode_figures(struct cursor *c, struct hints *h, struct error *err)
{
    size_t len = cursor_left(c);
    const uint8_t *text;

    if (!cursor_bytes(c, len, &text) || memchr(text, 0, len))
        return fail(err, ERR_CORRUPT, "hints: the figures are no text");
    h->figures = strndup((const char *)text, len);
    return h->figures ? 0 : fail_nomem(err);
}

int hints_decode(const void *data, size_t len, struct hints *ret,
                 struct error *err)
{
    cleanup(hints) struct hints h = {0};
    struct cursor c = cursor_of(data, len);
    const uint8_t *magic;
    uint32_t version;
    uint64_t n;
    uint64_t sum;
    int rc;

    if (!cursor_bytes(&c, 8, &magic) || memcmp(magic, MAGIC, 8) != 0 ||
        !cursor_le32(&c, &version) ||
        (version != PLAIN && version != WITH_FIGURES) ||
        !cursor_le32(&c, &h.runs) || !cursor_le64(&c, &n) ||
        !cursor_le64(&c, &sum))
        return fail(err, ERR_CORRUPT, "hints: no header that is known");
    if (n > HINTS_MAX || cursor_left(&c) < n * ENTRY_BYTES ||
        !is_length_right(cursor_left(&c) - n * ENTRY_BYTES, version) ||
        h.runs > HINTS_RUNS_MAX)
        return fail(err, ERR_CORRUPT, "hints: %llu entries in %zu bytes",
                    (unsigned long long)n, len);
    rc = check_sum(data, len, err);
    if (rc == 0)
        rc = decode_entries(&c, &h, n, err);
    if (rc == 0 && version == WITH_FIGURES)
        rc = decode_figures(&c, &h, err);
    if (rc < 0)
        return rc;
    *ret = h;
    h = (struct hints){0};
    return 0;
}

/* ---- Merging ---- */

struct keyed {
    uint32_t block;
    pgno_t pgno;
    size_t index;
};

static int compare_keyed(const void *a, const void *b)
{
    const struct keyed *x = a;
    const struct keyed *y = b;

    if (x->block != y->block)
        return x->block < y->block ? -1 : 1;
    if (x->pgno != y->pgno)
        return x->pgno < y->pgno ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static struct keyed *sort_list(const struct hint *list, size_t n)
{
    struct keyed *keys = calloc(MAX(n, (size_t)1), sizeof(*keys));

    for (size_t i = 0; keys && i < n; i++)
        keys[i] = (struct keyed){list[i].block, list[i].pgno, i};
    if (keys)
        qsort(keys, n, sizeof(*keys), compare_keyed);
    return keys;
}

static bool same_page(const struct keyed *a, const struct keyed *b)
{
    return a->block == b->block && a->pgno == b->pgno;
}

/* The count of each page of `run` (0: named before), and the count that is
 * left of each page of `old` (0: it is in the run, or forgotten). */
static void count_both(const struct keyed *run, size_t n_run,
                       const struct keyed *old, const struct hints *h,
                       uint32_t halve, uint32_t *run_seen, uint32_t *old_seen)
{
    size_t k = 0;

    for (size_t i = 0; i < h->n; i++)
        old_seen[i] = h->list[i].seen / halve;
    for (size_t i = 0; i < n_run; i++) {
        run_seen[run[i].index] = 1;
        if (i > 0 && same_page(&run[i], &run[i - 1])) {
            run_seen[run[i].index] = 0;
            continue;
        }
        while (k < h->n && compare_keyed(&old[k], &run[i]) < 0 &&
               !same_page(&old[k], &run[i]))
            k++;
        if (k < h->n && same_page(&old[k], &run[i])) {
            run_seen[run[i].index] += old_seen[old[k].index];
            old_seen[old[k].index] = 0;
        }
    }
}

static void take(struct hints *h, const struct hint *from, uint32_t seen)
{
    if (seen == 0 || h->n == HINTS_MAX)
        return;
    h->list[h->n] = *from;
    h->list[h->n++].seen = MIN(seen, h->runs);
}

int hints_merge(const struct hints *old, const struct hint *run, size_t n,
                struct hints *ret, struct error *err)
{
    uint32_t halve = old->runs >= HINTS_RUNS_MAX ? 2 : 1;
    cleanup(hints) struct hints h = {.runs = old->runs / halve + 1};
    cleanup_free struct keyed *run_keys = sort_list(run, n);
    cleanup_free struct keyed *old_keys = sort_list(old->list, old->n);
    cleanup_free uint32_t *run_seen = calloc(n + 1, sizeof(*run_seen));
    cleanup_free uint32_t *old_seen = calloc(old->n + 1, sizeof(*old_seen));

    h.list = calloc(MIN(n + old->n, (size_t)HINTS_MAX) + 1, sizeof(*h.list));
    if (!h.list || !run_keys || !old_keys || !run_seen || !old_seen)
        return fail_nomem(err);
    count_both(run_keys, n, old_keys, old, halve, run_seen, old_seen);
    for (size_t i = 0; i < n; i++)
        take(&h, &run[i], run_seen[i]);
    for (size_t i = 0; i < old->n; i++)
        take(&h, &old->list[i], old_seen[i]);
    *ret = h;
    h = (struct hints){0};
    return 0;
}

/* ---- The file ---- */

static int open_folder(struct repository *r, int *ret_fd, struct error *err)
{
    *ret_fd = openat(repository_dirfd(r), LAYOUT_HINTS,
                     O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_fd < 0)
        return fail_errno(err, ERR_IO, "cannot open folder '%s'", LAYOUT_HINTS);
    return 0;
}

int hints_load(struct repository *r, const char *id, struct hints *ret,
               struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_close int folder = -1;
    int rc = open_folder(r, &folder, err);

    if (rc < 0)
        return rc;
    rc = path_read_file(folder, id, FILE_MAX, &text, err);
    if (rc < 0 && err->sys_errno == ENOENT) {
        *ret = (struct hints){0};
        return 0;
    }
    return rc < 0 ? rc : hints_decode(text.data, text.len, ret, err);
}

int hints_store(struct repository *r, const char *id, const struct hints *h,
                struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_close int folder = -1;
    cleanup_close int fd = -1;
    int rc = open_folder(r, &folder, err);

    if (rc == 0)
        rc = hints_encode(h, &text, err);
    if (rc < 0)
        return rc;
    fd = openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(err, ERR_IO, "cannot make an unnamed file");
    rc = path_write_at(fd, text.data, text.len, 0, err);
    if (rc < 0)
        return rc;
    /* Killed in between: no hints, which is no harm. Never a temporary name,
     * which somebody would have to sweep. */
    for (int tries = 0; tries < 100; tries++) {
        rc = path_link_unnamed(fd, folder, id, err);
        if (rc != ERR_EXISTS)
            break;
        unlinkat(folder, id, 0);
    }
    return rc;
}

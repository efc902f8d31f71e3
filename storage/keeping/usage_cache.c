/*
 * usage_cache.c - the sizes of usage.h, kept in catalog.db.
 *
 * They hold for one set of snapshot objects, each with its length and time of
 * last change; the key is a checksum over all of these. When the set is
 * another, everything is read anew.
 */
#include <fcntl.h>
#include <sys/stat.h>

#define LOG_AREA "usage"
#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "storage/catalog.h"
#include "storage/index/sql.h"
#include "storage/keeping/usage.h"
#include "storage/layout.h"
#include "storage/packs/page_hash.h"
#include "storage/repository_inside.h"

struct known {
    struct snapshot_usage *all;
    size_t n;
};

struct keying {
    int dirfd;
    uint64_t key;
};

/* In no order, so sums are added up. */
static int add_to_key(void *arg, const char *id, struct error *err)
{
    struct keying *k = arg;
    uint8_t raw[SNAPSHOT_ID_LEN + 24];
    struct stat st;

    if (fstatat(k->dirfd, id, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    memcpy(raw, id, SNAPSHOT_ID_LEN);
    store_le64(raw + SNAPSHOT_ID_LEN, (uint64_t)st.st_size);
    store_le64(raw + SNAPSHOT_ID_LEN + 8, (uint64_t)st.st_mtim.tv_sec);
    store_le64(raw + SNAPSHOT_ID_LEN + 16, (uint64_t)st.st_mtim.tv_nsec);
    k->key += checksum64(raw, sizeof(raw), 0);
    return 0;
}

static int find_key(struct repository *r, uint64_t *ret, struct error *err)
{
    struct keying k = {.dirfd = repository_snapshots_dirfd(r)};
    struct object_folder folder = layout_snapshots(k.dirfd);
    int rc = object_list(&folder, add_to_key, &k, err);

    *ret = k.key;
    return rc;
}

static uint64_t row_checksum(const struct snapshot_usage *u, uint64_t key)
{
    uint8_t raw[SNAPSHOT_ID_LEN + 24];

    memcpy(raw, u->id, SNAPSHOT_ID_LEN);
    store_le64(raw + SNAPSHOT_ID_LEN, key);
    store_le64(raw + SNAPSHOT_ID_LEN + 8, u->unique_bytes);
    store_le64(raw + SNAPSHOT_ID_LEN + 16, u->shared_bytes);
    return checksum64(raw, sizeof(raw), 1);
}

/* False when the row is of another set, or not what was written. */
static bool read_row(struct sql_row *row, uint64_t key,
                     struct snapshot_usage *ret)
{
    struct error why;
    uint64_t of, sum;

    return sql_column_text(row, 0, ret->id, sizeof(ret->id), &why) == 0 &&
           layout_is_id(ret->id, SNAPSHOT_ID_LEN) &&
           sql_column_bits(row, 1, &of, &why) == 0 && of == key &&
           sql_column_bits(row, 2, &ret->unique_bytes, &why) == 0 &&
           sql_column_bits(row, 3, &ret->shared_bytes, &why) == 0 &&
           sql_column_bits(row, 4, &sum, &why) == 0 &&
           sum == row_checksum(ret, key);
}

static int read_rows(struct sql *sql, uint64_t key, struct known *ret,
                     struct error *err)
{
    struct sql_row *row;
    bool found = true;
    int rc = sql_prepare(sql, SQL_USAGE_ALL, &row, err);

    while (rc == 0 && found) {
        struct snapshot_usage u = {.unique_bytes = 0};

        rc = sql_step(row, &found, err);
        if (rc < 0 || !found || !read_row(row, key, &u))
            continue;
        /* Room comes in powers of two, so it is full when n is one. */
        if (!(ret->n & (ret->n - 1))) {
            void *all =
                realloc(ret->all, (ret->n ? ret->n * 2 : 1) * sizeof(u));

            if (!all)
                return fail_nomem(err);
            ret->all = all;
        }
        ret->all[ret->n++] = u;
    }
    return rc < 0 ? rc : sql_done(row, err);
}

static int put_row(struct sql *sql, uint64_t key,
                   const struct snapshot_usage *u, struct error *err)
{
    struct sql_row *row;
    int rc = sql_prepare(sql, SQL_USAGE_PUT, &row, err);

    if (rc < 0)
        return rc;
    sql_bind_text(row, 1, u->id);
    sql_bind_int(row, 2, (int64_t)key);
    sql_bind_int(row, 3, (int64_t)u->unique_bytes);
    sql_bind_int(row, 4, (int64_t)u->shared_bytes);
    sql_bind_int(row, 5, (int64_t)row_checksum(u, key));
    return sql_done(row, err);
}

static void write_rows(struct sql *sql, uint64_t key, const struct known *known)
{
    struct error why;
    int rc = sql_begin(sql, &why);

    if (rc == 0)
        rc = sql_run(sql, SQL_USAGE_CLEAR, &why);
    for (size_t i = 0; rc == 0 && i < known->n; i++)
        rc = put_row(sql, key, &known->all[i], &why);
    if (rc == 0)
        rc = sql_commit(sql, &why);
    if (rc < 0) {
        log_debug("not written: %s", why.message);
        sql_rollback(sql);
    }
}

static int compute(struct repository *r, struct stopper *stop,
                   struct known *ret, struct error *err)
{
    cleanup(usage) struct usage *u = NULL;
    const struct snapshot_usage *one;
    size_t n = 0;
    int rc = usage_read(r, stop, &u, err);

    if (rc < 0)
        return rc;
    while (usage_at(u, n))
        n++;
    ret->all = calloc(n + 1, sizeof(*ret->all));
    if (!ret->all)
        return fail_nomem(err);
    for (; (one = usage_at(u, ret->n)); ret->n++)
        ret->all[ret->n] = *one;
    return 0;
}

int usage_sizes(struct repository *r, struct stopper *stop,
                struct snapshot_usage **ret, size_t *ret_n, struct error *err)
{
    cleanup(catalog) struct catalog *c = catalog_open(r);
    struct known known = {.n = 0};
    uint64_t before, after;
    struct error why;
    int rc = find_key(r, &before, err);

    if (rc < 0)
        return rc;
    if (c && read_rows(catalog_sql(c), before, &known, &why) < 0)
        log_debug("not read: %s", why.message);
    if (known.n == 0) {
        rc = compute(r, stop, &known, err);
        if (rc == 0)
            rc = find_key(r, &after, err);
        /* Of a set that changed meanwhile the sizes are no more than near. */
        if (rc == 0 && c && before == after)
            write_rows(catalog_sql(c), before, &known);
    }
    if (rc < 0) {
        free(known.all);
        return rc;
    }
    *ret = known.all;
    *ret_n = known.n;
    return 0;
}

/*
 * catalog.c - all rows are read at open, new ones are written in one go.
 *
 * SQLite does not see a flipped bit within a value, so each row carries a
 * checksum of its columns; a row that does not fit is read from its snapshot
 * again. A database that SQLite calls damaged, or one of another schema, is
 * removed and begun anew, once.
 */
#include "storage/catalog.h"

#include <fcntl.h>
#include <unistd.h>

#define LOG_AREA "catalog"
#include "core/base/bytes.h"
#include "core/base/log.h"
#include "storage/index/sql.h"
#include "storage/layout.h"
#include "storage/repository_inside.h"
#include "storage/summary_fields.h"

#define CATALOG_SCHEMA_VERSION 2
#define SUMMARY_MAX_BYTES      (1u << 20)
#define ROWS_MAX               (1u << 20)

struct catalog_row {
    struct catalog_key key;
    struct snapshot_summary summary;
    bool wanted; /* found since open() */
};

struct catalog {
    struct repository *repository;
    struct sql *sql;
    struct catalog_row *rows; /* by id */
    size_t n_rows;
    bool writing; /* a transaction is open */
    bool broken;  /* nothing more is written */
};

static uint64_t row_checksum(const struct catalog_key *key, const void *text,
                             size_t len)
{
    uint8_t raw[SNAPSHOT_ID_LEN + 16];

    memcpy(raw, key->id, SNAPSHOT_ID_LEN);
    store_le64(raw + SNAPSHOT_ID_LEN, key->object_bytes);
    store_le64(raw + SNAPSHOT_ID_LEN + 8, key->object_mtime_ns);
    return checksum64(text, len, checksum64(raw, sizeof(raw), 0));
}

static int grow_rows(struct catalog *c, struct error *err)
{
    size_t n = c->n_rows;
    void *rows;

    if (n >= ROWS_MAX)
        return fail(err, ERR_CORRUPT, "the catalog has too many rows");
    if (n & (n - 1))
        return 0;
    rows = realloc(c->rows, (n ? n * 2 : 1) * sizeof(*c->rows));
    if (!rows)
        return fail_nomem(err);
    c->rows = rows;
    return 0;
}

/* A row that is not what was written is passed over. */
static int read_row(struct catalog *c, struct sql_row *row, struct error *err)
{
    struct catalog_row r = {.wanted = false};
    struct error why;
    const uint8_t *text;
    uint64_t sum;
    size_t len;
    int rc = grow_rows(c, err);

    if (rc < 0)
        return rc;
    if (sql_column_text(row, 0, r.key.id, sizeof(r.key.id), &why) < 0 ||
        sql_column_bits(row, 1, &r.key.object_bytes, &why) < 0 ||
        sql_column_bits(row, 2, &r.key.object_mtime_ns, &why) < 0 ||
        sql_column_bytes(row, 3, SUMMARY_MAX_BYTES, &text, &len, &why) < 0 ||
        sql_column_bits(row, 4, &sum, &why) < 0 ||
        !layout_is_id(r.key.id, SNAPSHOT_ID_LEN) ||
        sum != row_checksum(&r.key, text, len) ||
        summary_parse(text, len, &r.summary, &why) < 0) {
        log_debug("a row is passed over");
        return 0;
    }
    c->rows[c->n_rows++] = r;
    return 0;
}

static int read_rows(struct catalog *c, struct error *err)
{
    struct sql_row *row;
    bool found = true;
    int rc = sql_prepare(c->sql, SQL_CATALOG_ALL, &row, err);

    while (rc == 0 && found) {
        rc = sql_step(row, &found, err);
        if (rc == 0 && found)
            rc = read_row(c, row, err);
    }
    return rc < 0 ? rc : sql_done(row, err);
}

static int check_schema(struct catalog *c, struct error *err)
{
    int64_t version;
    int rc = sql_user_version(c->sql, &version, err);

    if (rc < 0)
        return rc;
    if (version == 0)
        return sql_run(c->sql, SQL_CATALOG_SCHEMA, err);
    if (version != CATALOG_SCHEMA_VERSION)
        return fail(err, ERR_CORRUPT, "the catalog has another schema");
    return 0;
}

static int open_database(struct catalog *c, struct error *err)
{
    int dirfd = repository_dirfd(c->repository);
    cleanup_close int fd =
        openat(dirfd, LAYOUT_CATALOG, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
               0600);
    char path[64];
    int rc;

    if (fd < 0)
        return fail_errno(err, ERR_IO, "cannot open the catalog");
    /* By descriptor: the working directory may have changed since. */
    snprintf(path, sizeof(path), "/proc/self/fd/%d/" LAYOUT_CATALOG, dirfd);
    rc = sql_open_file(LAYOUT_CATALOG, path, &c->sql, err);
    if (rc == 0)
        rc = sql_run(c->sql, SQL_CATALOG_SETUP, err);
    if (rc == 0)
        rc = sql_begin(c->sql, err);
    if (rc == 0)
        rc = check_schema(c, err);
    if (rc == 0)
        rc = read_rows(c, err);
    if (rc == 0)
        rc = sql_commit(c->sql, err);
    return rc;
}

static void drop_rows(struct catalog *c)
{
    for (size_t i = 0; i < c->n_rows; i++)
        snapshot_summary_release(&c->rows[i].summary);
    free(c->rows);
    c->rows = NULL;
    c->n_rows = 0;
}

static void remove_files(struct repository *r)
{
    static const char *const names[] = {
        LAYOUT_CATALOG,
        LAYOUT_CATALOG "-wal",
        LAYOUT_CATALOG "-shm",
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlinkat(repository_dirfd(r), names[i], 0);
}

void catalog_remove(struct repository *r)
{
    remove_files(r);
}

struct catalog *catalog_open(struct repository *r)
{
    struct catalog *c = calloc(1, sizeof(*c));
    struct error why;
    int rc;

    if (!c)
        return NULL;
    c->repository = r;
    rc = open_database(c, &why);
    if (rc == ERR_CORRUPT) {
        log_debug("begun anew: %s", why.message);
        sql_close(steal_ptr(&c->sql));
        drop_rows(c);
        remove_files(r);
        rc = open_database(c, &why);
    }
    if (rc == 0)
        return c;
    log_debug("gone without: %s", why.message);
    c->broken = true;
    catalog_close(c);
    return NULL;
}

void catalog_close(struct catalog *c)
{
    struct error why;

    if (!c)
        return;
    if (c->writing && !c->broken && sql_commit(c->sql, &why) < 0)
        log_debug("not written: %s", why.message);
    if (c->sql)
        sql_rollback(c->sql);
    sql_close(c->sql);
    drop_rows(c);
    free(c);
}

struct sql *catalog_sql(struct catalog *c)
{
    return c->sql;
}

static int compare_id(const void *id, const void *row)
{
    return strcmp(id, ((const struct catalog_row *)row)->key.id);
}

bool catalog_find(struct catalog *c, const struct catalog_key *key,
                  struct snapshot_summary *ret)
{
    struct catalog_row *row = c->n_rows ? bsearch(key->id, c->rows, c->n_rows,
                                                  sizeof(*c->rows), compare_id)
                                        : NULL;

    if (!row || row->key.object_bytes != key->object_bytes ||
        row->key.object_mtime_ns != key->object_mtime_ns ||
        strcmp(row->summary.id, key->id) != 0)
        return false;
    row->wanted = true;
    *ret = row->summary;
    json_incref(ret->tags);
    return true;
}

static int begin_writing(struct catalog *c, struct error *err)
{
    int rc = c->writing ? 0 : sql_begin(c->sql, err);

    c->writing |= rc == 0;
    return rc;
}

static int put_row(struct catalog *c, const struct catalog_key *key,
                   const struct snapshot_summary *summary, struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    struct sql_row *row;
    int rc = summary_print(summary, &text, err);

    if (rc == 0)
        rc = begin_writing(c, err);
    if (rc == 0)
        rc = sql_prepare(c->sql, SQL_CATALOG_PUT, &row, err);
    if (rc < 0)
        return rc;
    sql_bind_text(row, 1, key->id);
    sql_bind_int(row, 2, (int64_t)key->object_bytes);
    sql_bind_int(row, 3, (int64_t)key->object_mtime_ns);
    sql_bind_text(row, 4, buf_str(&text));
    sql_bind_int(row, 5, (int64_t)row_checksum(key, text.data, text.len));
    return sql_done(row, err);
}

void catalog_put(struct catalog *c, const struct catalog_key *key,
                 const struct snapshot_summary *summary)
{
    struct error why;

    if (c->broken || put_row(c, key, summary, &why) == 0)
        return;
    log_debug("not written: %s", why.message);
    c->broken = true;
}

static int forget_row(struct catalog *c, const struct catalog_key *key,
                      struct error *err)
{
    struct sql_row *row;
    int rc = begin_writing(c, err);

    if (rc == 0)
        rc = sql_prepare(c->sql, SQL_CATALOG_DROP, &row, err);
    if (rc < 0)
        return rc;
    sql_bind_text(row, 1, key->id);
    return sql_done(row, err);
}

void catalog_forget_others(struct catalog *c)
{
    struct error why;

    for (size_t i = 0; i < c->n_rows && !c->broken; i++) {
        if (c->rows[i].wanted || forget_row(c, &c->rows[i].key, &why) == 0)
            continue;
        log_debug("not written: %s", why.message);
        c->broken = true;
    }
}

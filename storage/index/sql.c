/*
 * sql.c - statements by name on top of SQLite.
 *
 * Each database keeps its statements prepared once they were asked for. Binds
 * return nothing: the first one that fails is remembered and told by the step,
 * so that a caller checks one place.
 *
 * What comes from a file is not trusted. Before the first statement of a
 * caller runs, functions in the schema are off, cell sizes are checked, and a
 * schema that holds anything but tables and their indexes is refused: a view
 * or a trigger would run its author's code in our place.
 */
#include "storage/index/sql.h"

#include <errno.h>
#include <sqlite3.h>

#define BUSY_WAIT_MS 2000

struct sql_row {
    struct sql *sql;
    sqlite3_stmt *handle;
    int bind_rc; /* of the first bind that failed, or SQLITE_OK */
    bool ended;  /* stepping again would run it a second time */
};

struct sql {
    sqlite3 *handle;
    char *what;
    bool from_file; /* our own memory databases are not "damaged" */
    struct sql_row rows[SQL__COUNT];
};

static const struct {
    const char *name;
    const char *text;
} statements[] = {
#define X(constant, name, text) {name, text},
    SQL_STATEMENTS(X)
#undef X
};

static_assert(ARRAY_LEN(statements) == SQL__COUNT, "a statement has no text");

static int code_of(const struct sql *s, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_FULL:
        return ERR_NOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_LOCKED;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
        return ERR_IO;
    default:
        return s->from_file ? ERR_CORRUPT : ERR_INVALID;
    }
}

static int sql_fail(struct sql *s, int rc, const char *statement,
                    struct error *err)
{
    int code = code_of(s, rc);

    if (code == ERR_IO && sqlite3_system_errno(s->handle) == ENOSPC)
        code = ERR_NOSPC;
    return fail(err, code, "%s: statement '%s' failed: %s", s->what, statement,
                s->handle ? sqlite3_errmsg(s->handle) : sqlite3_errstr(rc));
}

static int open_handle(struct sql *s, const char *path, int flags,
                       struct error *err)
{
    int rc =
        sqlite3_open_v2(path, &s->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);

    if (rc != SQLITE_OK)
        return sql_fail(s, rc, "open", err);
    sqlite3_extended_result_codes(s->handle, 1);
    rc = sqlite3_db_config(s->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (rc != SQLITE_OK)
        return sql_fail(s, rc, "open", err);
    return 0;
}

static int sql_new(const char *what, bool from_file, struct sql **ret,
                   struct error *err)
{
    struct sql *s = calloc(1, sizeof(*s));

    if (!s)
        return fail_nomem(err);
    s->from_file = from_file;
    s->what = strdup(what);
    if (!s->what) {
        free(s);
        return fail_nomem(err);
    }
    for (size_t i = 0; i < SQL__COUNT; i++)
        s->rows[i].sql = s;
    *ret = s;
    return 0;
}

static int read_count(struct sql *s, enum sql_statement which, int64_t *ret,
                      struct error *err)
{
    struct sql_row *r;
    bool row;
    int rc = sql_prepare(s, which, &r, err);

    if (rc == 0)
        rc = sql_step(r, &row, err);
    if (rc < 0)
        return rc;
    *ret = row ? sqlite3_column_int64(r->handle, 0) : 0;
    return sql_done(r, err);
}

static int distrust(struct sql *s, struct error *err)
{
    int64_t strange;
    int rc = sql_run(s, SQL_DISTRUST, err);

    if (rc == 0)
        rc = read_count(s, SQL_STRANGE_SCHEMA, &strange, err);
    if (rc < 0)
        return rc;
    if (strange > 0)
        return fail(err, ERR_CORRUPT,
                    "%s: the database holds more than plain tables", s->what);
    return 0;
}

int sql_open_memory(const char *what, struct sql **ret, struct error *err)
{
    cleanup(sql) struct sql *s = NULL;
    int rc = sql_new(what, false, &s, err);

    if (rc == 0)
        rc = open_handle(
            s, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&s);
    return 0;
}

int sql_open_image(const char *what, const void *image, size_t len,
                   struct sql **ret, struct error *err)
{
    cleanup(sql) struct sql *s = NULL;
    int rc = sql_new(what, true, &s, err);

    if (rc == 0)
        rc = open_handle(s, ":memory:", SQLITE_OPEN_READWRITE, err);
    if (rc < 0)
        return rc;
    /* The cast drops a const that SQLite keeps by READONLY. */
    rc = sqlite3_deserialize(s->handle, "main", (unsigned char *)image,
                             (sqlite3_int64)len, (sqlite3_int64)len,
                             SQLITE_DESERIALIZE_READONLY);
    if (rc != SQLITE_OK)
        return sql_fail(s, rc, "deserialize", err);
    rc = distrust(s, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&s);
    return 0;
}

int sql_open_copy(const char *what, const void *image, size_t len,
                  struct sql **ret, struct error *err)
{
    const unsigned flags =
        SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE;
    cleanup(sql) struct sql *s = NULL;
    unsigned char *copy;
    int rc = sql_new(what, true, &s, err);

    if (rc == 0)
        rc = open_handle(s, ":memory:", SQLITE_OPEN_READWRITE, err);
    if (rc < 0)
        return rc;
    copy = sqlite3_malloc64(len);
    if (!copy)
        return fail_nomem(err);
    memcpy(copy, image, len);
    /* Frees the copy, also when it fails. */
    rc = sqlite3_deserialize(s->handle, "main", copy, (sqlite3_int64)len,
                             (sqlite3_int64)len, flags);
    if (rc != SQLITE_OK)
        return sql_fail(s, rc, "deserialize", err);
    rc = distrust(s, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&s);
    return 0;
}

int sql_open_file(const char *what, const char *path, struct sql **ret,
                  struct error *err)
{
    cleanup(sql) struct sql *s = NULL;
    int rc = sql_new(what, true, &s, err);

    if (rc == 0)
        rc = open_handle(s, path, SQLITE_OPEN_READWRITE, err);
    if (rc < 0)
        return rc;
    sqlite3_busy_timeout(s->handle, BUSY_WAIT_MS);
    rc = distrust(s, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&s);
    return 0;
}

void sql_close(struct sql *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < SQL__COUNT; i++)
        sqlite3_finalize(s->rows[i].handle);
    sqlite3_close(s->handle);
    free(s->what);
    free(s);
}

int sql_serialize(struct sql *s, struct buf *ret, struct error *err)
{
    sqlite3_int64 len = 0;
    unsigned char *image = sqlite3_serialize(s->handle, "main", &len, 0);
    int rc;

    if (!image)
        return fail_nomem(err);
    rc = buf_append(ret, image, (size_t)len, err);
    sqlite3_free(image);
    return rc;
}

int sql_user_version(struct sql *s, int64_t *ret, struct error *err)
{
    return read_count(s, SQL_USER_VERSION, ret, err);
}

int sql_run(struct sql *s, enum sql_statement which, struct error *err)
{
    int rc;

    assert(which < SQL__COUNT);
    rc = sqlite3_exec(s->handle, statements[which].text, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : sql_fail(s, rc, statements[which].name, err);
}

int sql_begin(struct sql *s, struct error *err)
{
    return sql_run(s, SQL_BEGIN, err);
}

int sql_commit(struct sql *s, struct error *err)
{
    return sql_run(s, SQL_COMMIT, err);
}

void sql_rollback(struct sql *s)
{
    struct error ignored;

    if (!sqlite3_get_autocommit(s->handle) &&
        sql_run(s, SQL_ROLLBACK, &ignored) < 0)
        return;
}

static const char *name_of(const struct sql_row *r)
{
    return statements[r - r->sql->rows].name;
}

int sql_prepare(struct sql *s, enum sql_statement which, struct sql_row **ret,
                struct error *err)
{
    struct sql_row *r = &s->rows[which];
    int rc = SQLITE_OK;

    assert(which < SQL__COUNT);
    if (r->handle) {
        sqlite3_reset(r->handle);
        sqlite3_clear_bindings(r->handle);
    } else {
        rc = sqlite3_prepare_v3(s->handle, statements[which].text, -1,
                                SQLITE_PREPARE_PERSISTENT, &r->handle, NULL);
    }
    if (rc != SQLITE_OK)
        return sql_fail(s, rc, statements[which].name, err);
    r->bind_rc = SQLITE_OK;
    r->ended = false;
    *ret = r;
    return 0;
}

static void keep_bind_rc(struct sql_row *r, int rc)
{
    if (r->bind_rc == SQLITE_OK)
        r->bind_rc = rc;
}

void sql_bind_int(struct sql_row *r, int at, int64_t value)
{
    keep_bind_rc(r, sqlite3_bind_int64(r->handle, at, value));
}

void sql_bind_text(struct sql_row *r, int at, const char *text)
{
    keep_bind_rc(r, sqlite3_bind_text(r->handle, at, text, -1, SQLITE_STATIC));
}

void sql_bind_blob(struct sql_row *r, int at, const void *data, size_t len)
{
    /* A NULL pointer would bind NULL, not an empty blob. */
    keep_bind_rc(r, sqlite3_bind_blob64(r->handle, at, len ? data : "", len,
                                        SQLITE_STATIC));
}

void sql_bind_null(struct sql_row *r, int at)
{
    keep_bind_rc(r, sqlite3_bind_null(r->handle, at));
}

int sql_step(struct sql_row *r, bool *ret_row, struct error *err)
{
    int rc = r->bind_rc;

    assert(!r->ended);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(r->handle);
    r->ended = rc != SQLITE_ROW;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return sql_fail(r->sql, rc, name_of(r), err);
    *ret_row = rc == SQLITE_ROW;
    return 0;
}

int sql_done(struct sql_row *r, struct error *err)
{
    bool row;
    int rc = 0;

    while (rc == 0 && !r->ended)
        rc = sql_step(r, &row, err);
    sqlite3_reset(r->handle);
    return rc;
}

bool sql_is_null(struct sql_row *r, int at)
{
    return sqlite3_column_type(r->handle, at) == SQLITE_NULL;
}

static int bad_column(struct sql_row *r, int at, const char *reason,
                      struct error *err)
{
    return fail(err, ERR_CORRUPT, "%s: statement '%s', column '%s': %s",
                r->sql->what, name_of(r), sqlite3_column_name(r->handle, at),
                reason);
}

int sql_column_bits(struct sql_row *r, int at, uint64_t *ret, struct error *err)
{
    if (sqlite3_column_type(r->handle, at) != SQLITE_INTEGER)
        return bad_column(r, at, "is no integer", err);
    *ret = (uint64_t)sqlite3_column_int64(r->handle, at);
    return 0;
}

int sql_column_uint(struct sql_row *r, int at, uint64_t max, uint64_t *ret,
                    struct error *err)
{
    uint64_t value;
    int rc = sql_column_bits(r, at, &value, err);

    if (rc < 0)
        return rc;
    if (value > max)
        return bad_column(r, at, "is out of range", err);
    *ret = value;
    return 0;
}

int sql_column_bytes(struct sql_row *r, int at, size_t max, const uint8_t **ret,
                     size_t *ret_len, struct error *err)
{
    int type = sqlite3_column_type(r->handle, at);
    const void *data;
    size_t len;

    if (type != SQLITE_BLOB && type != SQLITE_TEXT)
        return bad_column(r, at, "is neither text nor a blob", err);
    data = sqlite3_column_blob(r->handle, at);
    len = (size_t)sqlite3_column_bytes(r->handle, at);
    if (len > max)
        return bad_column(r, at, "is too long", err);
    if (!data && len > 0)
        return fail_nomem(err);
    *ret = data;
    *ret_len = data ? len : 0;
    return 0;
}

int sql_column_text(struct sql_row *r, int at, char *ret, size_t size,
                    struct error *err)
{
    const uint8_t *data;
    size_t len;
    int rc;

    if (sqlite3_column_type(r->handle, at) != SQLITE_TEXT)
        return bad_column(r, at, "is no text", err);
    rc = sql_column_bytes(r, at, size - 1, &data, &len, err);
    if (rc < 0)
        return rc;
    if (len > 0 && memchr(data, '\0', len))
        return bad_column(r, at, "holds a NUL", err);
    if (len > 0)
        memcpy(ret, data, len);
    ret[len] = '\0';
    return 0;
}

const char *sql_library_version(void)
{
    return sqlite3_libversion();
}

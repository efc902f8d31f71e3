/*
 * sql.h - SQLite behind our error type. The only user of sqlite3.h is sql.c.
 *
 * Statements have names (SQL_...), kept in schema.sql and queries.sql; no SQL
 * stands in a source. Every message names the database and the statement. A
 * database is for one thread. Column readers take what lies in a file as
 * untrusted: type, range and length are checked, wrong ones are ERR_CORRUPT.
 */
#ifndef FIRN_STORAGE_INDEX_SQL_H
#define FIRN_STORAGE_INDEX_SQL_H

#include "core/base/buf.h"
#include "storage/index/statements.h"

enum sql_statement {
#define X(constant, name, text) constant,
    SQL_STATEMENTS(X)
#undef X
        SQL__COUNT
};

struct sql;
struct sql_row; /* a prepared statement: parameters in, rows out */

/* Of SQLite, as loaded. */
const char *sql_library_version(void);

/* A new, empty database in memory. `what` names it in messages; it is copied.
 */
int sql_open_memory(const char *what, struct sql **ret,
                    struct error *err) NODISCARD;
/* A database that lies in `image`, which must outlive it and is only read.
 * Views, triggers and virtual tables are refused. */
int sql_open_image(const char *what, const void *image, size_t len,
                   struct sql **ret, struct error *err) NODISCARD;
/* The same to be changed, in a copy of its own. */
int sql_open_copy(const char *what, const void *image, size_t len,
                  struct sql **ret, struct error *err) NODISCARD;
/* A file; it must be there (it may be empty). Waits up to two seconds for
 * others. ERR_CORRUPT when it is no database, ERR_LOCKED when it stays taken.
 */
int sql_open_file(const char *what, const char *path, struct sql **ret,
                  struct error *err) NODISCARD;
/* With all statements; what was not committed is gone. Takes NULL. */
void sql_close(struct sql *s);

/* The whole database as bytes, as sql_open_image() takes them. */
int sql_serialize(struct sql *s, struct buf *ret, struct error *err) NODISCARD;
/* PRAGMA user_version: the version of the tables, 0 in a new database. */
int sql_user_version(struct sql *s, int64_t *ret, struct error *err) NODISCARD;

/* Runs a text of one or more statements without parameters. */
int sql_run(struct sql *s, enum sql_statement which,
            struct error *err) NODISCARD;
/* A transaction from here to commit: one write to disk instead of many. */
int sql_begin(struct sql *s, struct error *err) NODISCARD;
/* The end of it; until then nobody else sees anything. */
int sql_commit(struct sql *s, struct error *err) NODISCARD;
/* After a failure; tells nothing. */
void sql_rollback(struct sql *s);

/* The statement, ready for parameters and rows; kept prepared. Borrowed until
 * it is asked for again or the database is closed. */
int sql_prepare(struct sql *s, enum sql_statement which, struct sql_row **ret,
                struct error *err) NODISCARD;
/* Parameters count from 1. A failing bind is told by the next step. Text and
 * blobs are borrowed until sql_done() or the next sql_prepare() of it. */
void sql_bind_int(struct sql_row *r, int at, int64_t value);
/* `text` is a C string. */
void sql_bind_text(struct sql_row *r, int at, const char *text);
/* `len` 0 is an empty blob, not NULL. */
void sql_bind_blob(struct sql_row *r, int at, const void *data, size_t len);
/* For a parameter without a value. */
void sql_bind_null(struct sql_row *r, int at);
/* One row: *ret_row tells if there was one. */
int sql_step(struct sql_row *r, bool *ret_row, struct error *err) NODISCARD;
/* Runs to the end and resets; rows are passed over. */
int sql_done(struct sql_row *r, struct error *err) NODISCARD;

/* Columns of the current row count from 0. */
bool sql_is_null(struct sql_row *r, int at);
/* An integer from 0 to `max`. */
int sql_column_uint(struct sql_row *r, int at, uint64_t max, uint64_t *ret,
                    struct error *err) NODISCARD;
/* Any 64 bits. */
int sql_column_bits(struct sql_row *r, int at, uint64_t *ret,
                    struct error *err) NODISCARD;
/* Text without a NUL inside, copied; `size` counts the closing NUL. */
int sql_column_text(struct sql_row *r, int at, char *ret, size_t size,
                    struct error *err) NODISCARD;
/* Text or blob in place, of at most `max` bytes, until the next step. */
int sql_column_bytes(struct sql_row *r, int at, size_t max, const uint8_t **ret,
                     size_t *ret_len, struct error *err) NODISCARD;

DEFINE_CLEANUP(sql, struct sql *, sql_close)

#endif

/*
 * manifest_rows.c - rows of a snapshot's database, read without trust.
 *
 * A footer's checksum proves that the bytes are those that were written, not
 * that a sane program wrote them. So each value is read with its type and
 * bound, and whatever is wrong becomes one kind of error: ERR_CORRUPT with the
 * snapshot's name in front, however deep the reader was.
 */
#include "storage/manifest_inside.h"

int manifest_bad(const struct manifest *m, const char *reason,
                 struct error *err)
{
    return fail(err, ERR_CORRUPT, "%s: %s", m->what, reason);
}

int manifest_only_row(struct manifest *m, enum sql_statement which,
                      struct sql_row **ret, struct error *err)
{
    bool found;
    int rc = sql_prepare(m->sql, which, ret, err);

    if (rc == 0)
        rc = sql_step(*ret, &found, err);
    if (rc < 0)
        return rc;
    return found ? 0 : manifest_bad(m, "a row is missing", err);
}

int manifest_column_json(struct manifest *m, struct sql_row *row, int at,
                         json_t **ret, struct error *err)
{
    const uint8_t *text;
    size_t len;
    int rc = sql_column_bytes(row, at, JSON_MAX_BYTES, &text, &len, err);

    if (rc == 0)
        rc = json_parse(text, len, ret, err);
    if (rc < 0)
        return rc == ERR_NOMEM ? rc : manifest_bad(m, "JSON is damaged", err);
    if (!json_is_object(*ret))
        return manifest_bad(m, "JSON is no object", err);
    return 0;
}

int manifest_column_buf(struct sql_row *row, int at, size_t max,
                        struct buf *ret, struct error *err)
{
    const uint8_t *data;
    size_t len;
    int rc = sql_column_bytes(row, at, max, &data, &len, err);

    return rc < 0 ? rc : buf_append(ret, data, len, err);
}

int manifest_column_u32(struct sql_row *row, int at, uint32_t max,
                        uint32_t *ret, struct error *err)
{
    uint64_t value;
    int rc = sql_column_uint(row, at, max, &value, err);

    if (rc < 0)
        return rc;
    *ret = (uint32_t)value;
    return 0;
}

int manifest_column_bool(struct sql_row *row, int at, bool *ret,
                         struct error *err)
{
    uint32_t value;
    int rc = manifest_column_u32(row, at, 1, &value, err);

    if (rc < 0)
        return rc;
    *ret = value == 1;
    return 0;
}

int manifest_load_rows(struct manifest *m, enum sql_statement which,
                       int (*load)(struct manifest *m, struct sql_row *row,
                                   struct error *err),
                       struct error *err)
{
    struct sql_row *row;
    bool found = true;
    int rc = sql_prepare(m->sql, which, &row, err);

    while (rc == 0 && found) {
        rc = sql_step(row, &found, err);
        if (rc == 0 && found)
            rc = load(m, row, err);
    }
    return rc < 0 ? rc : sql_done(row, err);
}

/*
 * summary_fields.c - one table drives all four conversions.
 *
 * A field that is bound, read, printed or parsed in one place and forgotten in
 * another would be lost without a word; here it is a row or it does not exist.
 * Names are those of columns and JSON members and never change once a snapshot
 * with them was written, which is why one differs from its member's name.
 */
#include "storage/summary_fields.h"

#include <inttypes.h>

enum field_type { FIELD_TEXT, FIELD_U64, FIELD_U32 };

struct field {
    const char *name; /* of the column and of the JSON member; never changes */
    enum field_type type;
    size_t offset;
    size_t size;
};

#define TEXT(name) FIELD(name, FIELD_TEXT, #name)
#define U64(name)  FIELD(name, FIELD_U64, #name)
#define U32(name)  FIELD(name, FIELD_U32, #name)
#define FIELD(member, type, name)                              \
    {                                                          \
        name, type, offsetof(struct snapshot_summary, member), \
            sizeof(((struct snapshot_summary *)0)->member)     \
    }

/* In the order of the columns of table `snapshot`, see schema.sql. */
static const struct field fields[] = {
    TEXT(id),          TEXT(vm),
    TEXT(vm_uuid),     U64(time_ns),
    TEXT(mode),        TEXT(run_state),
    TEXT(machine),     TEXT(qemu_version),
    U64(ram_bytes),    U64(pages_total),
    U64(pages_zero),   U64(pages_duplicate),
    U64(pages_stored), U64(pages_superseded),
    U64(pages_unseen), FIELD(stored_bytes, FIELD_U64, "pack_bytes"),
    U64(device_bytes), U64(downtime_ms),
    U64(duration_ms),  U32(rounds),
    U32(channels),
};

static_assert(ARRAY_LEN(fields) == SUMMARY_N_COLUMNS, "see the header");

static uint64_t load_number(const struct snapshot_summary *s,
                            const struct field *f)
{
    const char *at = (const char *)s + f->offset;

    return f->type == FIELD_U32 ? *(const uint32_t *)at : *(const uint64_t *)at;
}

static void store_number(struct snapshot_summary *s, const struct field *f,
                         uint64_t value)
{
    char *at = (char *)s + f->offset;

    if (f->type == FIELD_U32)
        *(uint32_t *)at = (uint32_t)value;
    else
        *(uint64_t *)at = value;
}

/* SQLite and JSON integers are signed. */
static uint64_t max_of(const struct field *f)
{
    return f->type == FIELD_U32 ? UINT32_MAX : INT64_MAX;
}

void summary_bind(const struct snapshot_summary *s, struct sql_row *row)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct field *f = &fields[i];

        if (f->type == FIELD_TEXT)
            sql_bind_text(row, (int)i + 1, (const char *)s + f->offset);
        else
            sql_bind_int(row, (int)i + 1, (int64_t)load_number(s, f));
    }
}

int summary_read(struct sql_row *row, struct snapshot_summary *ret,
                 struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(fields); i++) {
        const struct field *f = &fields[i];
        uint64_t value;

        if (f->type == FIELD_TEXT) {
            rc = sql_column_text(row, (int)i, (char *)ret + f->offset, f->size,
                                 err);
            continue;
        }
        rc = sql_column_uint(row, (int)i, max_of(f), &value, err);
        if (rc == 0)
            store_number(ret, f, value);
    }
    return rc;
}

int summary_print(const struct snapshot_summary *s, struct buf *ret,
                  struct error *err)
{
    cleanup_json json_t *object = json_object();
    int failed = !object;

    for (size_t i = 0; !failed && i < ARRAY_LEN(fields); i++) {
        const struct field *f = &fields[i];
        json_t *value = f->type == FIELD_TEXT
                            ? json_text((const char *)s + f->offset)
                            : json_integer((json_int_t)load_number(s, f));

        failed = json_object_set_new(object, f->name, value) < 0;
    }
    if (!failed && s->tags)
        failed = json_object_set(object, "tags", s->tags) < 0;
    if (failed)
        return fail_nomem(err);
    return json_print(object, ret, err);
}

static bool parse_field(const json_t *object, const struct field *f,
                        struct snapshot_summary *ret)
{
    const json_t *value = json_object_get(object, f->name);
    json_int_t number = json_integer_value(value);

    if (f->type == FIELD_TEXT) {
        size_t len = json_string_length(value);

        if (!json_is_string(value) || len >= f->size)
            return false;
        memcpy((char *)ret + f->offset, json_string_value(value), len + 1);
        return true;
    }
    if (!json_is_integer(value) || number < 0 || (uint64_t)number > max_of(f))
        return false;
    store_number(ret, f, (uint64_t)number);
    return true;
}

int summary_parse(const void *text, size_t len, struct snapshot_summary *ret,
                  struct error *err)
{
    cleanup_json json_t *object = NULL;
    json_t *tags;
    int rc = json_parse(text, len, &object, err);

    if (rc < 0)
        return fail(err, ERR_CORRUPT, "a snapshot's summary is no JSON");
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!parse_field(object, &fields[i], ret))
            return fail(err, ERR_CORRUPT,
                        "a snapshot's summary has no proper '%s'",
                        fields[i].name);
    }
    tags = json_object_get(object, "tags");
    if (!summary_tags_are_strings(tags))
        return fail(err, ERR_CORRUPT, "a snapshot's tags are no strings");
    ret->tags = json_incref(tags);
    return 0;
}

bool summary_tags_are_strings(const json_t *tags)
{
    const char *key;
    json_t *value;

    if (!tags)
        return true;
    if (!json_is_object(tags))
        return false;
    json_object_foreach((json_t *)tags, key, value)
    {
        if (!json_is_string(value))
            return false;
    }
    return true;
}

/*
 * json.c - jansson with our errors, limits and paths.
 *
 * Peers (QEMU, a lock file, a manifest somebody edited) may send anything:
 * parsing is strict, bounded in length, and refuses a key that is there twice,
 * where two readers could see two values. What we print ourselves is one line,
 * so that a file or a stream of values can be cut at newlines.
 */
#include "core/base/json.h"

#include <stdarg.h>

int json_parse(const void *text, size_t len, json_t **ret, struct error *err)
{
    json_error_t why;
    json_t *value;

    if (len > JSON_MAX_BYTES)
        return fail(err, ERR_PROTOCOL, "JSON text of %zu bytes is too long",
                    len);
    value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!value)
        return fail(err, ERR_PROTOCOL, "not JSON: %s at byte %d", why.text,
                    why.position);
    *ret = value;
    return 0;
}

static int append_text(const char *text, size_t len, void *arg)
{
    struct error ignored;

    return buf_append(arg, text, len, &ignored) < 0 ? -1 : 0;
}

/* 12 digits: 53.39 is printed as such, not as 53.390000000000001. */
int json_print(const json_t *value, struct buf *ret, struct error *err)
{
    if (json_dump_callback(value, append_text, ret,
                           JSON_COMPACT | JSON_ENCODE_ANY |
                               JSON_REAL_PRECISION(12)) < 0)
        return fail_nomem(err);
    return 0;
}

int json_build(json_t **ret, struct error *err, const char *fmt, ...)
{
    json_error_t why;
    json_t *value;
    va_list ap;

    va_start(ap, fmt);
    value = json_vpack_ex(&why, 0, fmt, ap);
    va_end(ap);
    if (!value)
        return fail(err, ERR_INVALID, "cannot build JSON: %s", why.text);
    *ret = value;
    return 0;
}

json_t *json_path(const json_t *value, const char *path)
{
    char key[128];

    while (value && *path) {
        size_t n = strcspn(path, ".");

        if (n >= sizeof(key))
            return NULL;
        memcpy(key, path, n);
        key[n] = '\0';
        value = json_object_get(value, key);
        path += n + (path[n] == '.');
    }
    return (json_t *)value;
}

const char *json_path_str(const json_t *value, const char *path,
                          const char *fallback)
{
    const char *s = json_string_value(json_path(value, path));

    return s ? s : fallback;
}

int64_t json_path_int(const json_t *value, const char *path, int64_t fallback)
{
    const json_t *n = json_path(value, path);

    return json_is_integer(n) ? (int64_t)json_integer_value(n) : fallback;
}

bool json_path_bool(const json_t *value, const char *path, bool fallback)
{
    const json_t *b = json_path(value, path);

    return json_is_boolean(b) ? json_is_true(b) : fallback;
}

json_t *json_text(const char *bytes)
{
    json_t *value = json_string(bytes);
    size_t len = strlen(bytes);
    char *copy;

    if (value)
        return value;
    copy = malloc(len + 1);
    if (!copy)
        return NULL;
    for (size_t i = 0; i <= len; i++)
        copy[i] = (unsigned char)bytes[i] < 0x80 ? bytes[i] : '?';
    value = json_string(copy);
    free(copy);
    return value;
}

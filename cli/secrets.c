/*
 * A key counts when it starts behind one of ", . " { and blanks, or at the
 * start: `file.password=` and `"password": "` are as secret as `password=`.
 * `password-secret=` names an object and is no secret. Masking too much costs a
 * reader a word, masking too little costs a password: unclear cases are masked.
 */
#include "cli/secrets.h"

#include <strings.h>

#define MASK "***"

static const char *const secret_keys[] = {"password", "passwd", "passphrase",
                                          "key-data", "secret"};

/* Values of these are secret only within a secret object. */
static const char *const object_keys[] = {"data"};

static const char *match_key(const char *at, const char *const *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(keys[i]);

        if (strncasecmp(at, keys[i], len) == 0)
            return at + len;
    }
    return NULL;
}

static bool starts_key(const char *text, const char *at)
{
    return at == text || strchr(",.\"{ \t", at[-1]) != NULL;
}

static bool is_secret_object(const char *text)
{
    return strncmp(text, "secret", 6) == 0 || strstr(text, "=secret") ||
           strstr(text, "\"secret");
}

/* The value behind a key: *ret_end is where it ends, the result where it
 * starts; NULL when no value follows. */
static const char *find_value(const char *at, const char **ret_end)
{
    if (*at == '=') {
        /* QEMU doubles a comma that belongs to the value. */
        const char *end = at + 1;

        while (*end && (*end != ',' || end[1] == ','))
            end += *end == ',' ? 2 : 1;
        *ret_end = end;
        return at + 1;
    }
    if (*at != '"')
        return NULL;
    at += 1 + strspn(at + 1, " :\t");
    if (*at != '"' || at[-1] == '"')
        return NULL;
    for (*ret_end = at + 1; **ret_end && **ret_end != '"'; *ret_end += 1) {
        if (**ret_end == '\\' && (*ret_end)[1])
            *ret_end += 1;
    }
    return at + 1;
}

/* "://user:password@" and iSCSI's "://user%password@": the password. */
static const char *find_url_password(const char *at, const char **ret_end)
{
    const char *name;
    const char *end;
    const char *start;

    if (strncmp(at, "://", 3) != 0)
        return NULL;
    name = at + 3;
    end = name + strcspn(name, "/,\" ");
    end = memrchr(name, '@', (size_t)(end - name));
    if (!end)
        return NULL;
    start = name + strcspn(name, ":%");
    if (start >= end)
        return NULL;
    *ret_end = end;
    return start + 1;
}

static const char *find_credential(const char *at, const char **ret_end)
{
    static const char lead[] = "io.systemd.credential";
    const char *equals;

    if (strncmp(at, lead, strlen(lead)) != 0)
        return NULL;
    equals = strchr(at, '=');
    if (!equals)
        return NULL;
    *ret_end = at + strlen(at);
    return equals + 1;
}

static const char *find_secret(const char *text, const char *at, bool object,
                               const char **ret_end)
{
    const char *behind = NULL;
    const char *value;

    if (starts_key(text, at)) {
        behind = match_key(at, secret_keys, ARRAY_LEN(secret_keys));
        if (!behind && object)
            behind = match_key(at, object_keys, ARRAY_LEN(object_keys));
    }
    value = behind ? find_value(behind, ret_end) : NULL;
    if (!value)
        value = find_url_password(at, ret_end);
    return value ? value : find_credential(at, ret_end);
}

int secrets_mask_text(const char *text, struct buf *ret, struct error *err)
{
    bool object = is_secret_object(text);
    const char *at = text;
    const char *done = text;

    while (*at) {
        const char *end;
        const char *value = find_secret(text, at, object, &end);

        if (value) {
            int rc =
                buf_printf(ret, err, "%.*s" MASK, (int)(value - done), done);
            if (rc < 0)
                return rc;
            at = done = end;
        } else {
            at++;
        }
    }
    return buf_append(ret, done, (size_t)(at - done), err);
}

static int mask_string(json_t *value, struct error *err)
{
    cleanup_buf struct buf masked = BUF_INIT;
    int rc = secrets_mask_text(json_string_value(value), &masked, err);

    if (rc < 0)
        return rc;
    if (json_string_setn(value, buf_str(&masked), masked.len) < 0)
        return fail_nomem(err);
    return 0;
}

/* The depth is bounded by jansson's parser, through which all values came. */
static int mask_inside(json_t *value, struct error *err)
{
    const char *key;
    json_t *item;
    size_t i;
    int rc = 0;

    if (json_is_string(value))
        return mask_string(value, err);
    json_array_foreach(value, i, item)
    {
        if (rc == 0)
            rc = mask_inside(item, err);
    }
    json_object_foreach(value, key, item)
    {
        if (rc == 0)
            rc = mask_inside(item, err);
    }
    return rc;
}

int secrets_mask_json(const json_t *value, json_t **ret, struct error *err)
{
    cleanup_json json_t *copy = json_deep_copy(value);
    int rc;

    if (!copy)
        return fail_nomem(err);
    rc = mask_inside(copy, err);
    if (rc == 0)
        *ret = steal_ptr(&copy);
    return rc;
}

/*
 * repository_config.c - {"format":1, ..., "checksum":"<16 digits>"} LF
 *
 * The checksum is XXH3-64, seed 0, of the bytes before `,"checksum"`, written
 * as a number in hex. What follows those bytes has a fixed form, so no byte of
 * the file is without a check. A file that is read as JSON and names a higher
 * format is told as such even if its checksum does not fit: a later format may
 * sum differently.
 *
 * Features are names. A reader passes over compatible ones that it does not
 * know, and refuses required ones.
 */
#include "storage/repository_config.h"

#include <inttypes.h>
#include <sys/random.h>

#include "core/base/json.h"
#include "core/codec/frame_codec.h"
#include "storage/layout.h"

#define SUM_DIGITS  16u
#define TAIL_BEFORE ",\"checksum\":\""
#define TAIL_BEHIND "\"}\n"
#define TAIL_BYTES \
    (sizeof(TAIL_BEFORE) - 1 + SUM_DIGITS + sizeof(TAIL_BEHIND) - 1)
/* Neighbours compressed together: 32 KiB take a sixth less time than 16 KiB at
 * level 1, and a fault decompresses for 15 us longer. 64 KiB would take another
 * 7 % less, and twice the time to decompress. */
#define FRAME_BYTES_DEFAULT FRAME_CODEC_USUAL_BYTES

int repository_config_make(struct repository_config *ret, struct error *err)
{
    struct repository_config c = {
        .frame_bytes = FRAME_BYTES_DEFAULT,
        .hash_key_id = 1,
        .n_keys = 1,
    };
    int rc = layout_new_id(c.id, REPOSITORY_ID_LEN, err);

    if (rc < 0)
        return rc;
    c.keys[0].id = 1;
    if (getrandom(c.keys[0].secret, HASH_SECRET_BYTES, 0) != HASH_SECRET_BYTES)
        return fail_errno(err, ERR_IO, "cannot make a random key");
    *ret = c;
    return 0;
}

static json_t *print_keyring(const struct repository_config *c)
{
    json_t *keyring = json_array();

    for (uint32_t i = 0; keyring && i < c->n_keys; i++) {
        char secret[2 * HASH_SECRET_BYTES + 1];

        layout_id_text(c->keys[i].secret, HASH_SECRET_BYTES, secret);
        json_array_append_new(keyring, json_pack("{s:I, s:s}", "id",
                                                 (json_int_t)c->keys[i].id,
                                                 "secret", secret));
    }
    return keyring;
}

int repository_config_print(const struct repository_config *c, struct buf *ret,
                            struct error *err)
{
    cleanup_json json_t *object = NULL;
    size_t start = ret->len;
    uint64_t sum;
    int rc =
        json_build(&object, err, "{s:i, s:s, s:[], s:[], s:I, s:I, s:o}",
                   "format", REPOSITORY_FORMAT, "id", c->id,
                   "compatible_features", "required_features", "frame_bytes",
                   (json_int_t)c->frame_bytes, "hash_key",
                   (json_int_t)c->hash_key_id, "keyring", print_keyring(c));

    if (rc == 0)
        rc = json_print(object, ret, err);
    if (rc < 0)
        return rc;
    ret->len--; /* the closing brace comes behind the checksum */
    sum = checksum64(ret->data + start, ret->len - start, 0);
    return buf_printf(ret, err, TAIL_BEFORE "%016" PRIx64 TAIL_BEHIND, sum);
}

static bool checksum_fits(const uint8_t *text, size_t len)
{
    char tail[TAIL_BYTES + 1];

    if (len < TAIL_BYTES)
        return false;
    snprintf(tail, sizeof(tail), TAIL_BEFORE "%016" PRIx64 TAIL_BEHIND,
             checksum64(text, len - TAIL_BYTES, 0));
    return memcmp(text + len - TAIL_BYTES, tail, TAIL_BYTES) == 0;
}

static int bad_config(const char *reason, struct error *err)
{
    return fail(err, ERR_CORRUPT, "'config' is damaged: %s", reason);
}

static int check_format(const json_t *object, bool sum_fits, struct error *err)
{
    int64_t format = json_path_int(object, "format", 0);

    if (format > REPOSITORY_FORMAT) {
        fail(err, ERR_FORMAT, "the repository has format %lld%s",
             (long long)format,
             sum_fits ? "" : ", and a checksum of 'config' that does not fit");
        return error_hint(err, "this program knows formats up to %d",
                          REPOSITORY_FORMAT);
    }
    if (!sum_fits)
        return bad_config("the checksum differs", err);
    if (format != REPOSITORY_FORMAT)
        return bad_config("it names no format", err);
    return 0;
}

static int check_features(const json_t *object, struct error *err)
{
    const json_t *required = json_object_get(object, "required_features");
    const char *first;

    if (!json_is_array(required))
        return bad_config("it has no list of required features", err);
    if (json_array_size(required) == 0)
        return 0;
    first = json_string_value(json_array_get(required, 0));
    return fail(err, ERR_FORMAT,
                "the repository needs the feature '%.64s', which this program "
                "does not know",
                first ? first : "?");
}

static int parse_key(const json_t *entry, struct hash_key *ret,
                     struct error *err)
{
    int64_t id = json_path_int(entry, "id", -1);
    const char *secret = json_path_str(entry, "secret", "");

    if (id < 0 || id > UINT32_MAX)
        return bad_config("a key has no id", err);
    if (!layout_id_bytes(secret, ret->secret, HASH_SECRET_BYTES))
        return bad_config("a key's secret is none", err);
    ret->id = (uint32_t)id;
    return 0;
}

static int parse_keyring(const json_t *object, struct repository_config *c,
                         struct error *err)
{
    const json_t *keyring = json_object_get(object, "keyring");
    size_t n = json_array_size(keyring);
    int64_t current = json_path_int(object, "hash_key", -1);

    if (n == 0 || n > REPOSITORY_MAX_KEYS)
        return bad_config("its keyring is empty or too long", err);
    for (size_t i = 0; i < n; i++) {
        int rc = parse_key(json_array_get(keyring, i), &c->keys[i], err);

        if (rc < 0)
            return rc;
    }
    c->n_keys = (uint32_t)n;
    c->hash_key_id = (uint32_t)current;
    if (current < 0 || current > UINT32_MAX ||
        !repository_config_key(c, c->hash_key_id))
        return bad_config("the key it writes with is missing", err);
    return 0;
}

static int parse_object(const json_t *object, struct repository_config *c,
                        struct error *err)
{
    const char *id = json_path_str(object, "id", "");
    int64_t frame_bytes = json_path_int(object, "frame_bytes", 0);

    if (!layout_is_id(id, REPOSITORY_ID_LEN))
        return bad_config("it has no id", err);
    if (frame_bytes <= 0 || frame_bytes > UINT32_MAX)
        return bad_config("it has no frame size", err);
    memcpy(c->id, id, REPOSITORY_ID_LEN + 1);
    c->frame_bytes = (uint32_t)frame_bytes;
    return parse_keyring(object, c, err);
}

int repository_config_parse(const void *text, size_t len,
                            struct repository_config *ret, struct error *err)
{
    cleanup_json json_t *object = NULL;
    struct repository_config c = {0};
    struct error why;
    int rc = json_parse(text, len, &object, &why);

    if (rc == ERR_NOMEM)
        return error_copy(err, &why);
    if (rc < 0)
        return bad_config(why.message, err);
    rc = check_format(object, checksum_fits(text, len), err);
    if (rc == 0)
        rc = check_features(object, err);
    if (rc == 0)
        rc = parse_object(object, &c, err);
    if (rc == 0)
        *ret = c;
    explicit_bzero(&c, sizeof(c));
    return rc;
}

const struct hash_key *repository_config_key(const struct repository_config *c,
                                             uint32_t id)
{
    for (uint32_t i = 0; i < c->n_keys; i++) {
        if (c->keys[i].id == id)
            return &c->keys[i];
    }
    return NULL;
}

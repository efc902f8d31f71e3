/*
 * json.h - JSON values behind our error type; jansson does the work.
 *
 * The only header of ours that shows jansson's json_t: callers use its plain
 * accessors (json_object_get, json_string_value, ...) and these helpers.
 * Values are counted references; cleanup_json drops one. Not for threads.
 */
#ifndef FIRN_CORE_BASE_JSON_H
#define FIRN_CORE_BASE_JSON_H

#include <jansson.h>

#include "core/base/buf.h"

/* Longer texts are refused, whoever sent them; so are those that nest deeper
 * than jansson's own limit (2048). */
#define JSON_MAX_BYTES (64u << 20)

static inline UNUSED void cleanup_json_fn(json_t **j)
{
    json_decref(*j);
}
#define cleanup_json cleanup(json)

/* ERR_PROTOCOL with byte and reason when it is no JSON object or array, or an
 * object names a key twice. *ret is a new reference. */
int json_parse(const void *text, size_t len, json_t **ret,
               struct error *err) NODISCARD;

/* One line, compact, keys in the order of insertion. */
int json_print(const json_t *value, struct buf *ret,
               struct error *err) NODISCARD;

/* Like json_pack(); ERR_INVALID with jansson's words when it gives nothing:
 * a text that is not UTF-8, or no memory. *ret is a new reference. */
int json_build(json_t **ret, struct error *err, const char *fmt, ...) NODISCARD;

/*
 * A member by path ("qemu.major"); NULL if any part is missing. The reference
 * is borrowed. json_path_str(), _int() and _bool() give `fallback` when it is
 * missing or of another type; the string lives as long as `value`.
 */
json_t *json_path(const json_t *value, const char *path);
/* Borrowed from `value`. */
const char *json_path_str(const json_t *value, const char *path,
                          const char *fallback);
/* A real number is another type, too. */
int64_t json_path_int(const json_t *value, const char *path, int64_t fallback);
/* True and false alone: no number stands for them. */
bool json_path_bool(const json_t *value, const char *path, bool fallback);

/* A string value of any bytes: what is not UTF-8 is replaced by '?'. */
json_t *json_text(const char *bytes);

#endif

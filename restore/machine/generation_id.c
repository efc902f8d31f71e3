/*
 * generation_id.c - a new GUID in a -device option, in either of its two forms.
 *
 * QEMU takes a device as "vmgenid,guid=...,id=..." or as a JSON object; the
 * value keeps its form, every other property and their order. A GUID is random
 * as RFC 4122 wants it (version 4), so copies of one snapshot differ without
 * knowing of one another.
 */
#include "restore/machine/generation_id.h"

#include <sys/random.h>

#include "core/base/json.h"

int generation_id_new(char ret[static GENERATION_ID_LEN + 1], struct error *err)
{
    uint8_t b[16];

    if (getrandom(b, sizeof(b), 0) != sizeof(b))
        return fail_errno(err, ERR_IO, "the kernel gives no random numbers");
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(ret, GENERATION_ID_LEN + 1,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
             "%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
             b[11], b[12], b[13], b[14], b[15]);
    return 0;
}

static bool is_json(const char *value)
{
    return value[0] == '{';
}

static bool is_json_device(const char *value)
{
    struct error ignored = ERROR_INIT;
    cleanup_json json_t *device = NULL;

    return json_parse(value, strlen(value), &device, &ignored) == 0 &&
           strcmp(json_path_str(device, "driver", ""), "vmgenid") == 0;
}

bool generation_id_is_device(const char *value)
{
    const char *p = value;

    if (is_json(value))
        return is_json_device(value);
    if (strncmp(p, "driver=", 7) == 0)
        p += 7;
    return strncmp(p, "vmgenid", 7) == 0 && (p[7] == ',' || p[7] == '\0');
}

static int put_json(const char *value, const char *guid, struct buf *ret,
                    struct error *err)
{
    cleanup_json json_t *device = NULL;
    int rc = json_parse(value, strlen(value), &device, err);

    if (rc < 0)
        return rc;
    if (json_object_set_new(device, "guid", json_string(guid)) < 0)
        return fail_nomem(err);
    return json_print(device, ret, err);
}

int generation_id_put(const char *value, const char *guid, struct buf *ret,
                      struct error *err)
{
    const char *p = value;
    int rc = 0;

    if (is_json(value))
        return put_json(value, guid, ret, err);
    /* Property by property; a GUID has no comma. */
    while (rc == 0 && *p) {
        size_t len = strcspn(p, ",");

        if (strncmp(p, "guid=", 5) != 0)
            rc = buf_printf(ret, err, "%.*s,", (int)len, p);
        p += len + (p[len] == ',');
    }
    return rc < 0 ? rc : buf_printf(ret, err, "guid=%s", guid);
}

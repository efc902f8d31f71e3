#include "core/wire/vmdesc.h"

#include "core/wire/qemu_wire.h"

/*
 * A device of the description has fields and subsections:
 *
 *   size(D) = sum over fields of size x (array_len or 1)
 *           + sum over subsections of 2 + strlen(vmsd_name) + 4 + size(S)
 *
 * A field that is a struct has the size of all that is in it; an array of
 * structs is one field an element. So a section is its header, size(D) bytes
 * and the footer, and the next one begins there. Nothing is searched for, so
 * no byte that a guest controls can pass for a boundary.
 *
 * Handlers of the old style, and whatever oddity a device may have, may not
 * add up. Only for such a device its footer is looked for: the type byte and
 * the id that its header gave, with behind them the header of the device that
 * the description names next, or the end. These are counted, since for them
 * the proof is weaker.
 */

/* A machine has tens to hundreds; bounds the table. */
#define DEVICES_MAX 65536u

/* What a section's header says. */
struct section_head {
    uint32_t id;
    char name[256];
    uint32_t instance;
    uint32_t version;
};

static bool read_head(struct cursor *c, struct section_head *ret)
{
    uint8_t type;

    return cursor_u8(c, &type) && type == QEMU_SECTION_FULL &&
           cursor_be32(c, &ret->id) && cursor_str8(c, ret->name) &&
           cursor_be32(c, &ret->instance) && cursor_be32(c, &ret->version);
}

/* Whether the bytes at `c` are the header of `device`. */
static bool begins(struct cursor c, const json_t *device,
                   struct section_head *ret)
{
    if (!read_head(&c, ret))
        return false;
    return strcmp(ret->name, json_path_str(device, "name", "")) == 0 &&
           ret->instance == (uint32_t)json_path_int(device, "instance_id", 0);
}

/* A member that counts bytes; false if it is no number from 0 up. */
static bool get_count(const json_t *object, const char *key, uint64_t *ret)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *ret = (uint64_t)json_integer_value(value);
    return true;
}

static bool add_fields(const json_t *device, uint64_t *sum)
{
    const json_t *fields = json_object_get(device, "fields");
    uint64_t size;
    uint64_t len;
    size_t i;
    json_t *field;

    json_array_foreach(fields, i, field)
    {
        if (!get_count(field, "size", &size))
            return false;
        if (!get_count(field, "array_len", &len))
            len = 1;
        if (!mul_checked(size, len, &size) || !add_checked(*sum, size, sum))
            return false;
    }
    return true;
}

/* Adds the bytes of a device or subsection; false when they are not told.
 * jansson bounds how deep this can go. */
static bool add_size(const json_t *device, uint64_t *sum)
{
    const json_t *subsections = json_object_get(device, "subsections");
    size_t i;
    json_t *s;

    if (!json_object_get(device, "fields") && !subsections) {
        uint64_t size;

        return get_count(device, "size", &size) && add_checked(*sum, size, sum);
    }
    if (!add_fields(device, sum))
        return false;
    json_array_foreach(subsections, i, s)
    {
        size_t name = strlen(json_path_str(s, "vmsd_name", ""));

        if (!add_checked(*sum, 2 + name + 4, sum) || !add_size(s, sum))
            return false;
    }
    return true;
}

static bool is_footer(struct cursor c, uint32_t id)
{
    uint8_t type;
    uint32_t got;

    return cursor_u8(&c, &type) && type == QEMU_SECTION_FOOTER &&
           cursor_be32(&c, &got) && got == id;
}

/* Moves `c`, which stands behind a header, behind the body by its size. */
static bool skip_body(struct cursor *c, const json_t *device, uint32_t id)
{
    struct cursor at = *c;
    uint64_t size = 0;

    if (!add_size(device, &size) || size > cursor_left(&at))
        return false;
    at.pos += (size_t)size;
    if (!is_footer(at, id))
        return false;
    *c = at;
    return true;
}

/* The same by search: the footer that has the header of `next` or the end
 * behind it. */
static bool search_footer(struct cursor *c, uint32_t id, const json_t *next)
{
    struct section_head head;
    struct cursor at = *c;
    const uint8_t *p;

    while (cursor_left(&at) >= QEMU_FOOTER_BYTES) {
        struct cursor behind;

        p = memchr(at.data + at.pos, QEMU_SECTION_FOOTER, cursor_left(&at));
        if (!p)
            return false;
        at.pos = (size_t)(p - at.data);
        behind = at;
        if (is_footer(at, id) && cursor_skip(&behind, QEMU_FOOTER_BYTES) &&
            (cursor_left(&behind) == 0 ||
             (next && begins(behind, next, &head)))) {
            *c = at;
            return true;
        }
        at.pos++;
    }
    return false;
}

/* Moves `c` over the section of `device`; *searched when by search. */
static int walk_section(struct cursor *c, const json_t *device,
                        const json_t *next, struct device_section *ret,
                        bool *searched, struct error *err)
{
    const char *name = json_path_str(device, "name", "?");
    size_t start = c->pos;
    struct section_head head;

    if (!begins(*c, device, &head))
        return fail(err, ERR_PROTOCOL,
                    "device '%s' is described but not at byte %zu of the "
                    "device state",
                    name, start);
    if (!read_head(c, &head))
        return fail(err, ERR_PROTOCOL, "device '%s' is cut", name);
    *searched = !skip_body(c, device, head.id);
    if (*searched && !search_footer(c, head.id, next))
        return fail(err, ERR_PROTOCOL,
                    "device '%s' at byte %zu of the device state does not end "
                    "as described",
                    name, start);
    c->pos += QEMU_FOOTER_BYTES;

    *ret = (struct device_section){.instance = head.instance,
                                   .version = head.version,
                                   .offset = start,
                                   .bytes = c->pos - start};
    memcpy(ret->name, head.name, sizeof(ret->name));
    return 0;
}

static int walk_devices(const json_t *devices, struct cursor early,
                        struct cursor tail, struct vmdesc_cut *cut,
                        struct error *err)
{
    size_t i;
    json_t *device;

    json_array_foreach(devices, i, device)
    {
        bool in_early = cursor_left(&early) > 0;
        bool searched;
        int rc = walk_section(in_early ? &early : &tail, device,
                              json_array_get(devices, i + 1),
                              &cut->sections[cut->n], &searched, err);

        if (rc < 0)
            return rc;
        if (!in_early) {
            cut->n++;
            cut->n_searched += searched;
        }
    }
    if (cursor_left(&early) > 0 || cursor_left(&tail) > 0)
        return fail(err, ERR_PROTOCOL,
                    "%zu bytes of device state are not described",
                    cursor_left(&early) + cursor_left(&tail));
    return 0;
}

int vmdesc_walk(const void *json, size_t json_len, struct cursor early,
                struct cursor tail, struct vmdesc_cut *ret, struct error *err)
{
    cleanup_json json_t *root = NULL;
    struct vmdesc_cut cut = {0};
    const json_t *devices;
    int rc = json_parse(json, json_len, &root, err);

    if (rc < 0)
        return error_wrap(err, "device description");
    devices = json_object_get(root, "devices");
    if (!json_is_array(devices) || json_array_size(devices) > DEVICES_MAX)
        return fail(err, ERR_PROTOCOL,
                    "device description lists no devices, or too many");
    cut.sections = calloc(json_array_size(devices) + 1, sizeof(*cut.sections));
    if (!cut.sections)
        return fail_nomem(err);
    rc = walk_devices(devices, early, tail, &cut, err);
    if (rc < 0) {
        free(cut.sections);
        return rc;
    }
    *ret = cut;
    return 0;
}

#include "core/wire/config_decoder.h"

#include "core/wire/qemu_wire.h"

/*
 * config_decoder.c - what the machine is, before any of its state.
 *
 * Two things are done with each piece: what firn decides by goes into fields
 * (page size, capabilities that change the stream, the name), and all bytes go
 * to `raw`, so that a snapshot can show what was said. An unknown capability
 * is refused here, at the front: it would change the form of what follows, and
 * the error would then be one of some offset in the middle of RAM.
 */

/* QEMU lists only what changes the stream: two names so far. */
#define CAPABILITIES_MAX 64u

/* Bytes that are read go to `raw` too: a snapshot keeps the section whole. */
static int take(struct machine_config *c, struct input *in, size_t n,
                struct error *err)
{
    int rc = buf_append(&c->raw, input_here(in), n, err);

    if (rc < 0)
        return rc;
    input_take(in, n);
    return 0;
}

int config_read_machine(struct machine_config *c, struct input *in,
                        struct error *err)
{
    const uint8_t *p;
    uint32_t n;

    if (!input_have(in, 1))
        return 1;
    if (*input_here(in) != QEMU_SECTION_CONFIGURATION) {
        fail_at(in, err, ERR_UNSUPPORTED,
                "section type 0x%02x where the configuration belongs",
                *input_here(in));
        return error_hint(err, "machine types up to 2.3 and Xen send none");
    }
    if (!input_have(in, 5))
        return 1;
    n = load_be32(input_here(in) + 1);
    if (n == 0 || n >= sizeof(c->machine))
        return fail_at(in, err, ERR_PROTOCOL,
                       "machine type has a name of %u bytes", n);
    if (!input_have(in, 5 + n))
        return 1;
    p = input_here(in) + 5;
    if (memchr(p, '\0', n))
        return fail_at(in, err, ERR_PROTOCOL,
                       "machine type has a NUL in its name");
    memcpy(c->machine, p, n);
    c->machine[n] = '\0';
    return take(c, in, 5 + n, err);
}

static int read_page_bits(struct machine_config *c, struct input *in,
                          size_t head, struct error *err)
{
    if (!input_have(in, head + 4))
        return 1;
    c->target_page_bits = load_be32(input_here(in) + head);
    if (c->target_page_bits != PAGE_BITS)
        return fail_at(in, err, ERR_UNSUPPORTED,
                       "guest pages of 2^%u bytes; only those of 4096 are "
                       "known",
                       c->target_page_bits);
    return take(c, in, head + 4, err);
}

static int set_capability(struct machine_config *c, struct input *in,
                          const char *name, struct error *err)
{
    if (strcmp(name, "x-ignore-shared") == 0) {
        c->ignore_shared = true;
        return 0;
    }
    if (strcmp(name, "mapped-ram") == 0)
        c->mapped_ram = true;
    fail_at(in, err, ERR_UNSUPPORTED,
            "stream made with migration capability '%s'", name);
    return error_hint(err, "switch migration capability '%s' off", name);
}

static int read_capabilities(struct machine_config *c, struct input *in,
                             size_t head, struct error *err)
{
    char name[256];
    uint32_t count;
    size_t n = head + 4;

    if (!input_have(in, n))
        return 1;
    count = load_be32(input_here(in) + head);
    if (count > CAPABILITIES_MAX)
        return fail_at(in, err, ERR_PROTOCOL, "%u migration capabilities",
                       count);
    for (uint32_t i = 0; i < count; i++) {
        struct cursor at = cursor_of(input_here(in), 0);
        int rc;

        if (!input_have(in, n + 1))
            return 1;
        at.pos = n;
        n += 1u + input_here(in)[n];
        if (!input_have(in, n))
            return 1;
        at.len = n;
        if (!cursor_str8(&at, name))
            return fail_at(in, err, ERR_PROTOCOL, "malformed capability name");
        rc = set_capability(c, in, name, err);
        if (rc < 0)
            return rc;
    }
    return take(c, in, n, err);
}

static int read_uuid(struct machine_config *c, struct input *in, size_t head,
                     struct error *err)
{
    if (!input_have(in, head + sizeof(c->uuid)))
        return 1;
    memcpy(c->uuid, input_here(in) + head, sizeof(c->uuid));
    c->has_uuid = true;
    return take(c, in, head + sizeof(c->uuid), err);
}

int config_read_subsection(struct machine_config *c, struct input *in,
                           struct error *err)
{
    struct cursor at;
    char name[256];
    uint32_t version;
    size_t head;

    if (!input_have(in, 2))
        return 1;
    head = 2u + input_here(in)[1] + 4;
    if (!input_have(in, head))
        return 1;
    at = cursor_of(input_here(in) + 1, head - 1);
    if (!cursor_str8(&at, name) || !cursor_be32(&at, &version))
        return fail_at(in, err, ERR_PROTOCOL, "malformed subsection name");
    if (version != QEMU_CONFIG_VERSION)
        return fail_at(in, err, ERR_UNSUPPORTED,
                       "version %u of subsection '%s'", version, name);
    if (strcmp(name, QEMU_CONFIG_PAGE_BITS) == 0)
        return read_page_bits(c, in, head, err);
    if (strcmp(name, QEMU_CONFIG_CAPABILITIES) == 0)
        return read_capabilities(c, in, head, err);
    if (strcmp(name, QEMU_CONFIG_UUID) == 0)
        return read_uuid(c, in, head, err);
    return fail_at(in, err, ERR_UNSUPPORTED, "unknown subsection '%s'", name);
}

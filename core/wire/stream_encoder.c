/*
 * stream_encoder.c - the words of a migration source.
 *
 * Lengths and names are checked where they go into a field that may be too
 * small for them (wire_out.h), so that what was appended is always whole: on an
 * error the buffer is as it was. CONFIG is written anew rather than sent as it
 * was captured, since a capture's capabilities say how *its* stream looked and
 * a destination refuses those it was not told of itself.
 */
#include "core/wire/stream_encoder.h"

#include "core/wire/qemu_wire.h"
#include "core/wire/wire_out.h"

int stream_put_header(struct buf *b, struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);

    out_be32(&o, QEMU_MAGIC);
    out_be32(&o, QEMU_STREAM_VERSION);
    return wire_out_end(&o);
}

int stream_put_config(struct buf *b, const struct machine_config *config,
                      struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);
    size_t n = strlen(config->machine);

    out_u8(&o, QEMU_SECTION_CONFIGURATION);
    out_be32(&o, (uint32_t)n);
    out_bytes(&o, config->machine, n);
    if (config->target_page_bits) {
        out_u8(&o, QEMU_SECTION_SUBSECTION);
        out_str8(&o, QEMU_CONFIG_PAGE_BITS);
        out_be32(&o, QEMU_CONFIG_VERSION);
        out_be32(&o, config->target_page_bits);
    }
    return wire_out_end(&o);
}

int stream_put_command(struct buf *b, uint16_t command, const void *body,
                       uint16_t len, struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);

    assert(body || len == 0);
    out_u8(&o, QEMU_SECTION_COMMAND);
    out_be16(&o, command);
    out_be16(&o, len);
    out_bytes(&o, body, len);
    return wire_out_end(&o);
}

int stream_put_open_return_path(struct buf *b, struct error *err)
{
    return stream_put_command(b, QEMU_CMD_OPEN_RETURN_PATH, NULL, 0, err);
}

int stream_put_ping(struct buf *b, uint32_t value, struct error *err)
{
    uint8_t body[sizeof(value)];

    store_be32(body, value);
    return stream_put_command(b, QEMU_CMD_PING, body, sizeof(body), err);
}

int stream_put_section_start(struct buf *b, const struct section_name *name,
                             bool full, struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);

    out_u8(&o, full ? QEMU_SECTION_FULL : QEMU_SECTION_START);
    out_be32(&o, name->section_id);
    out_str8(&o, name->idstr);
    out_be32(&o, name->instance);
    out_be32(&o, name->version);
    return wire_out_end(&o);
}

int stream_put_section_footer(struct buf *b, uint32_t section_id,
                              struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);

    out_u8(&o, QEMU_SECTION_FOOTER);
    out_be32(&o, section_id);
    return wire_out_end(&o);
}

int ram_put_block_list(struct buf *b, const struct ramblock_list *blocks,
                       bool with_page_sizes, struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);

    out_be64(&o, ramblock_list_total_bytes(blocks) | QEMU_RAM_MEM_SIZE);
    for (uint32_t i = 0; i < blocks->n; i++) {
        const struct ramblock *block = &blocks->blocks[i];

        out_str8(&o, block->idstr);
        out_be64(&o, block->used_bytes);
        if (with_page_sizes && block->host_page_bytes != PAGE_BYTES)
            out_be64(&o, block->host_page_bytes);
    }
    return wire_out_end(&o);
}

int ram_put_eos(struct buf *b, struct error *err)
{
    return buf_append_be64(b, QEMU_RAM_EOS, err);
}

int stream_put_ram_setup(struct buf *b, uint32_t section_id,
                         const struct ramblock_list *blocks,
                         bool with_page_sizes, struct error *err)
{
    const struct section_name name = {
        .section_id = section_id,
        .idstr = QEMU_RAM_IDSTR,
        .version = QEMU_RAM_VERSION,
    };
    int rc = stream_put_section_start(b, &name, false, err);

    if (rc == 0)
        rc = ram_put_block_list(b, blocks, with_page_sizes, err);
    if (rc == 0)
        rc = stream_put_ram_section_end(b, section_id, err);
    return rc;
}

int stream_put_ram_section(struct buf *b, uint32_t section_id, bool end,
                           struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);

    out_u8(&o, end ? QEMU_SECTION_END : QEMU_SECTION_PART);
    out_be32(&o, section_id);
    return wire_out_end(&o);
}

int stream_put_ram_section_end(struct buf *b, uint32_t section_id,
                               struct error *err)
{
    int rc = ram_put_eos(b, err);

    return rc < 0 ? rc : stream_put_section_footer(b, section_id, err);
}

int stream_put_eof(struct buf *b, struct error *err)
{
    return buf_append_u8(b, QEMU_SECTION_EOF, err);
}

int stream_put_vmdesc(struct buf *b, const struct buf *vmdesc,
                      struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);

    if (vmdesc->len > UINT32_MAX)
        return fail(err, ERR_INVALID, "device description of %zu bytes",
                    vmdesc->len);
    out_u8(&o, QEMU_SECTION_VMDESCRIPTION);
    out_be32(&o, (uint32_t)vmdesc->len);
    out_bytes(&o, vmdesc->data, vmdesc->len);
    return wire_out_end(&o);
}

static int sink_begin(void *arg, enum section_part part,
                      const struct section_handler *h, struct buf *out,
                      struct error *err)
{
    const struct section_name name = {
        .section_id = h->section_id,
        .idstr = h->idstr,
        .instance = h->instance,
        .version = h->version,
    };

    switch (part) {
    case SECTION_START:
    case SECTION_FULL:
        return stream_put_section_start(out, &name, part == SECTION_FULL, err);
    case SECTION_PART:
    case SECTION_END:
        return stream_put_ram_section(out, h->section_id, part == SECTION_END,
                                      err);
    case SECTION_PART__COUNT:
        break;
    }
    assert(false);
    return fail(err, ERR_INVALID, "no such part of a section");
}

static int sink_end(void *arg, enum section_part part,
                    const struct section_handler *h, struct buf *out,
                    struct error *err)
{
    return stream_put_section_footer(out, h->section_id, err);
}

struct section_sink stream_section_sink(struct buf *b)
{
    return (
        struct section_sink){.out = b, .begin = sink_begin, .end = sink_end};
}

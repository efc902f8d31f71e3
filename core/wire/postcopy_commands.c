#include "core/wire/postcopy_commands.h"

#include "core/base/cursor.h"
#include "core/wire/qemu_wire.h"
#include "core/wire/stream_encoder.h"
#include "core/wire/wire_out.h"

/*
 * postcopy_commands.c - bodies of ADVISE, DISCARD, PACKAGED and the rest.
 *
 * A command says its length before its body and has 16 bits for it. PACKAGED
 * is the exception that carries a whole stream: its counted body is four bytes,
 * a second length, and the package follows uncounted. The decoders here are a
 * destination's; firn itself only sends, tests and fuzzing read.
 */

/* u8 version, str8, u8 zero. */
#define DISCARD_FIXED_BYTES 3u

static_assert(3 + 255 + POSTCOPY_DISCARD_RANGES_MAX * 16 <= UINT16_MAX,
              "the fullest DISCARD fits the length of a command");

int postcopy_put_advise(struct buf *b, uint64_t page_sizes,
                        uint64_t target_page_bytes, struct error *err)
{
    uint8_t body[16];

    store_be64(body, page_sizes);
    store_be64(body + 8, target_page_bytes);
    return stream_put_command(b, QEMU_CMD_POSTCOPY_ADVISE, body, sizeof(body),
                              err);
}

int postcopy_put_discard(struct buf *b, const char *idstr,
                         const struct discard_range *ranges, size_t n,
                         struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);
    size_t body =
        DISCARD_FIXED_BYTES + strlen(idstr) + n * QEMU_DISCARD_RANGE_BYTES;

    if (n == 0 || n > POSTCOPY_DISCARD_RANGES_MAX)
        return fail(err, ERR_INVALID, "DISCARD of %zu ranges", n);
    out_u8(&o, QEMU_SECTION_COMMAND);
    out_be16(&o, QEMU_CMD_POSTCOPY_RAM_DISCARD);
    out_be16(&o, (uint16_t)body);
    out_u8(&o, QEMU_DISCARD_VERSION);
    out_str8(&o, idstr);
    out_u8(&o, 0);
    for (size_t i = 0; i < n; i++) {
        out_be64(&o, ranges[i].start);
        out_be64(&o, ranges[i].bytes);
    }
    return wire_out_end(&o);
}

int postcopy_put_listen(struct buf *b, struct error *err)
{
    return stream_put_command(b, QEMU_CMD_POSTCOPY_LISTEN, NULL, 0, err);
}

int postcopy_put_run(struct buf *b, struct error *err)
{
    return stream_put_command(b, QEMU_CMD_POSTCOPY_RUN, NULL, 0, err);
}

int postcopy_put_packaged(struct buf *b, const struct buf *package,
                          struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);

    if (package->len == 0 || package->len > UINT32_MAX)
        return fail(err, ERR_INVALID, "package of %zu bytes", package->len);
    out_u8(&o, QEMU_SECTION_COMMAND);
    out_be16(&o, QEMU_CMD_PACKAGED);
    out_be16(&o, sizeof(uint32_t));
    out_be32(&o, (uint32_t)package->len);
    out_bytes(&o, package->data, package->len);
    return wire_out_end(&o);
}

int postcopy_put_resume(struct buf *b, struct error *err)
{
    return stream_put_command(b, QEMU_CMD_POSTCOPY_RESUME, NULL, 0, err);
}

int postcopy_put_recv_bitmap(struct buf *b, const char *idstr,
                             struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);

    out_u8(&o, QEMU_SECTION_COMMAND);
    out_be16(&o, QEMU_CMD_RECV_BITMAP);
    out_be16(&o, (uint16_t)(1 + strlen(idstr)));
    out_str8(&o, idstr);
    return wire_out_end(&o);
}

int postcopy_get_advise(const void *body, size_t len, uint64_t *ret_page_sizes,
                        uint64_t *ret_target_page_bytes, struct error *err)
{
    struct cursor c = cursor_of(body, len);
    uint64_t sizes;
    uint64_t target;

    if (!cursor_be64(&c, &sizes) || !cursor_be64(&c, &target) ||
        cursor_left(&c) > 0)
        return fail(err, ERR_PROTOCOL, "ADVISE with a body of %zu bytes", len);
    *ret_page_sizes = sizes;
    *ret_target_page_bytes = target;
    return 0;
}

/* Whole pages, and an end that can be counted. */
static bool is_range(struct discard_range r)
{
    uint64_t end;

    return r.bytes > 0 && is_aligned(r.start | r.bytes, PAGE_BYTES) &&
           add_checked(r.start, r.bytes, &end);
}

int postcopy_get_discard(const void *body, size_t len,
                         int (*range)(void *arg, const char *idstr,
                                      struct discard_range range,
                                      struct error *err),
                         void *arg, struct error *err)
{
    struct cursor c = cursor_of(body, len);
    struct discard_range r;
    char idstr[256];
    uint8_t version;
    uint8_t zero;

    if (!cursor_u8(&c, &version) || !cursor_str8(&c, idstr) ||
        !cursor_u8(&c, &zero))
        return fail(err, ERR_PROTOCOL, "DISCARD is cut after %zu bytes", len);
    if (version != QEMU_DISCARD_VERSION || zero != 0)
        return fail(err, ERR_PROTOCOL, "DISCARD of version %u, closed by %u",
                    version, zero);
    if (cursor_left(&c) == 0 || cursor_left(&c) % QEMU_DISCARD_RANGE_BYTES)
        return fail(err, ERR_PROTOCOL,
                    "DISCARD with %zu bytes of ranges is malformed",
                    cursor_left(&c));
    while (cursor_be64(&c, &r.start) && cursor_be64(&c, &r.bytes)) {
        int rc;

        if (!is_range(r))
            return fail(err, ERR_PROTOCOL,
                        "DISCARD of 0x%lx bytes at 0x%lx of '%s'", r.bytes,
                        r.start, idstr);
        rc = range(arg, idstr, r, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int postcopy_get_recv_bitmap(const void *body, size_t len, char ret[static 256],
                             struct error *err)
{
    struct cursor c = cursor_of(body, len);

    if (!cursor_str8(&c, ret) || cursor_left(&c) > 0 || !*ret)
        return fail(err, ERR_PROTOCOL, "RECV_BITMAP with a body of %zu bytes",
                    len);
    return 0;
}

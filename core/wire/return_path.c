#include "core/wire/return_path.h"

#include "core/vm/page.h"
#include "core/vm/received_bitmap.h"
#include "core/wire/intake.h"
#include "core/wire/qemu_wire.h"
#include "core/wire/wire_out.h"

/*
 *   destination: SHUT | PONG | REQ_PAGES_ID | REQ_PAGES | RECV_BITMAP + bitmap
 *                | RESUME_ACK | SWITCHOVER_ACK
 *
 * A request without a name is of the block that the last one named. The
 * bitmap is not part of RECV_BITMAP's counted body, but follows it. Messages
 * of unknown types are skipped by their length, as a source does.
 */

/* Longest body that means something: u64, u32, str8. */
#define BODY_MAX (8u + 4u + 1u + 255u)

static_assert(BODY_MAX <= UINT16_MAX, "a message's length has 16 bits");

static int put_message(struct buf *b, enum qemu_return_path type,
                       const void *body, size_t len, struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);

    assert(len <= BODY_MAX);
    out_be16(&o, (uint16_t)type);
    out_be16(&o, (uint16_t)len);
    out_bytes(&o, body, len);
    return wire_out_end(&o);
}

static int put_u32(struct buf *b, enum qemu_return_path type, uint32_t value,
                   struct error *err)
{
    uint8_t body[sizeof(value)];

    store_be32(body, value);
    return put_message(b, type, body, sizeof(body), err);
}

int return_path_put_shut(struct buf *b, uint32_t status, struct error *err)
{
    return put_u32(b, QEMU_RP_SHUT, status, err);
}

int return_path_put_pong(struct buf *b, uint32_t value, struct error *err)
{
    return put_u32(b, QEMU_RP_PONG, value, err);
}

int return_path_put_request(struct buf *b, const char *idstr, uint64_t start,
                            uint32_t len, struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);
    size_t name = idstr ? 1 + strlen(idstr) : 0;

    out_be16(&o, idstr ? QEMU_RP_REQ_PAGES_ID : QEMU_RP_REQ_PAGES);
    out_be16(&o, (uint16_t)(12 + name));
    out_be64(&o, start);
    out_be32(&o, len);
    if (idstr)
        out_str8(&o, idstr);
    return wire_out_end(&o);
}

int return_path_put_bitmap(struct buf *b, const char *idstr,
                           const uint64_t *words, uint64_t n_pages,
                           struct error *err)
{
    struct wire_out o = wire_out_begin(b, err);

    out_be16(&o, QEMU_RP_RECV_BITMAP);
    out_be16(&o, (uint16_t)(1 + strlen(idstr)));
    out_str8(&o, idstr);
    if (o.rc == 0)
        o.rc = received_bitmap_put(b, words, n_pages, err);
    return wire_out_end(&o);
}

int return_path_put_resume_ack(struct buf *b, struct error *err)
{
    return put_u32(b, QEMU_RP_RESUME_ACK, QEMU_RP_RESUME_VALUE, err);
}

struct return_path_decoder {
    const struct return_path_ops *ops;
    void *arg;
    struct intake intake;
    char block[256];  /* named last by a request; "" before the first */
    char bitmap[256]; /* whose bitmap comes next; "" when none does */
};

struct message {
    enum qemu_return_path type;
    struct cursor body;
};

static const char *message_name(enum qemu_return_path type)
{
    switch (type) {
    case QEMU_RP_SHUT:
        return "SHUT";
    case QEMU_RP_PONG:
        return "PONG";
    case QEMU_RP_REQ_PAGES_ID:
        return "REQ_PAGES_ID";
    case QEMU_RP_REQ_PAGES:
        return "REQ_PAGES";
    case QEMU_RP_RECV_BITMAP:
        return "RECV_BITMAP";
    case QEMU_RP_RESUME_ACK:
        return "RESUME_ACK";
    case QEMU_RP_SWITCHOVER_ACK:
        return "SWITCHOVER_ACK";
    }
    return "message of unknown type";
}

static int malformed(const struct input *in, const struct message *m,
                     struct error *err)
{
    return fail_at(in, err, ERR_PROTOCOL,
                   "return path: %s with a body of %zu bytes is malformed,",
                   message_name(m->type), m->body.len);
}

static int read_u32(struct return_path_decoder *d, struct input *in,
                    struct message *m,
                    int (*op)(void *arg, uint32_t value, struct error *err),
                    struct error *err)
{
    uint32_t value;

    if (!cursor_be32(&m->body, &value) || cursor_left(&m->body) > 0)
        return malformed(in, m, err);
    return op ? op(d->arg, value, err) : 0;
}

static int read_request(struct return_path_decoder *d, struct input *in,
                        struct message *m, struct error *err)
{
    bool named = m->type == QEMU_RP_REQ_PAGES_ID;
    uint64_t start;
    uint64_t end;
    uint32_t len;

    if (!cursor_be64(&m->body, &start) || !cursor_be32(&m->body, &len) ||
        (named && !cursor_str8(&m->body, d->block)) ||
        cursor_left(&m->body) > 0)
        return malformed(in, m, err);
    if (d->block[0] == '\0')
        return fail_at(in, err, ERR_PROTOCOL,
                       "return path: request for pages of no block");
    if (len == 0 || !is_aligned(start | len, PAGE_BYTES) ||
        !add_checked(start, len, &end))
        return fail_at(in, err, ERR_PROTOCOL,
                       "return path: request for 0x%x bytes at 0x%lx of '%s'",
                       len, start, d->block);
    return d->ops->request ? d->ops->request(d->arg, d->block, start, len, err)
                           : 0;
}

static int read_bitmap_head(struct return_path_decoder *d, struct input *in,
                            struct message *m, struct error *err)
{
    if (!cursor_str8(&m->body, d->bitmap) || cursor_left(&m->body) > 0 ||
        d->bitmap[0] == '\0')
        return malformed(in, m, err);
    if (!d->ops->bitmap)
        return fail_at(in, err, ERR_PROTOCOL,
                       "return path: a received bitmap that nobody asked for");
    return 0;
}

/* Step results: 0 read, go on; 1 not whole. */
static int read_bitmap(struct return_path_decoder *d, struct input *in,
                       struct error *err)
{
    cleanup_free uint64_t *words = NULL;
    uint64_t n_pages;
    int rc = received_bitmap_get(in, &words, &n_pages, err);

    if (rc < 0)
        return error_wrap(err, "return path: block '%s'", d->bitmap);
    if (rc > 0)
        return rc;
    rc = d->ops->bitmap(d->arg, d->bitmap, words, n_pages, err);
    d->bitmap[0] = '\0';
    return rc;
}

static int handle(struct return_path_decoder *d, struct input *in,
                  struct message *m, struct error *err)
{
    switch (m->type) {
    case QEMU_RP_SHUT:
        return read_u32(d, in, m, d->ops->shut, err);
    case QEMU_RP_PONG:
        return read_u32(d, in, m, d->ops->pong, err);
    case QEMU_RP_REQ_PAGES_ID:
    case QEMU_RP_REQ_PAGES:
        return read_request(d, in, m, err);
    case QEMU_RP_RECV_BITMAP:
        return read_bitmap_head(d, in, m, err);
    case QEMU_RP_RESUME_ACK:
        return read_u32(d, in, m, d->ops->resume_ack, err);
    case QEMU_RP_SWITCHOVER_ACK:
        return 0;
    }
    return 0;
}

static int read_message(struct return_path_decoder *d, struct input *in,
                        struct error *err)
{
    const uint8_t *p;
    struct message m;
    size_t len;
    int rc;

    if (!input_have(in, QEMU_RP_HEADER_BYTES))
        return 1;
    p = input_here(in);
    m.type = (enum qemu_return_path)load_be16(p);
    len = load_be16(p + 2);
    if (m.type >= QEMU_RP_SHUT && m.type <= QEMU_RP_SWITCHOVER_ACK &&
        len > BODY_MAX)
        return fail_at(in, err, ERR_PROTOCOL,
                       "return path: %s with a body of %zu bytes",
                       message_name(m.type), len);
    if (!input_have(in, QEMU_RP_HEADER_BYTES + len))
        return 1;
    m.body = cursor_of(p + QEMU_RP_HEADER_BYTES, len);
    rc = handle(d, in, &m, err);
    if (rc < 0)
        return rc;
    input_take(in, QEMU_RP_HEADER_BYTES + len);
    return 0;
}

static int decode(void *arg, struct input *in, struct error *err)
{
    struct return_path_decoder *d = arg;
    int rc = 0;

    while (rc == 0)
        rc = d->bitmap[0] ? read_bitmap(d, in, err) : read_message(d, in, err);
    return rc < 0 ? rc : 0;
}

int return_path_decoder_new(const struct return_path_ops *ops, void *arg,
                            struct return_path_decoder **ret, struct error *err)
{
    struct return_path_decoder *d = calloc(1, sizeof(*d));

    if (!d)
        return fail_nomem(err);
    d->ops = ops;
    d->arg = arg;
    *ret = d;
    return 0;
}

void return_path_decoder_free(struct return_path_decoder *d)
{
    if (!d)
        return;
    intake_release(&d->intake);
    free(d);
}

int return_path_decoder_feed(struct return_path_decoder *d, const void *data,
                             size_t len, struct error *err)
{
    return intake_feed(&d->intake, data, len, decode, d, err);
}

#include "core/wire/stream_decoder.h"

#include "core/wire/config_decoder.h"
#include "core/wire/device_tail.h"
#include "core/wire/intake.h"
#include "core/wire/qemu_wire.h"
#include "core/wire/ram_decoder.h"
#include "core/wire/virtio_mem_decoder.h"

#define LOG_AREA "wire"
#include "core/base/log.h"

/*
 *                      +------------------- footer read -----------+
 *                      v                                           |
 *   HEADER -> CONFIG -> ELEMENT -- START PART END, early FULL --> BODY
 *             (name,     |  ^                                      |
 *              subs)     |  +-- COMMAND                     body over: FOOTER
 *                        |
 *                        +-- all iterable sections ended, or
 *                            a FULL after the first PART ------> TAIL
 *
 * Bodies have no length: the handler that the registry gives reads its own and
 * says where it ends; the footer proves that it did. Behind RAM nobody reads
 * bodies: in TAIL every byte is collected, and the description at the end says
 * what they were (device_tail.c). There is no state behind TAIL: complete() is
 * a question about the bytes so far, since QEMU does not close.
 *
 * A background snapshot has no END section. Its first FULL section behind a
 * PART begins the tail; a precopy with an unknown FULL section between PARTs
 * (QEMU sends none) would end as a tail that never proves.
 */

enum stream_state {
    STREAM_HEADER = 0, /* nothing read */
    STREAM_CONFIG,     /* header read; the machine's name comes */
    STREAM_SUBSECTION, /* in CONFIG; one byte tells whether it goes on */
    STREAM_ELEMENT,    /* a type byte comes */
    STREAM_BODY,       /* in the body of `open`, read by its handler */
    STREAM_FOOTER,     /* body over; the footer of `open` comes */
    STREAM_TAIL,       /* behind RAM: all is device state */
    STREAM__COUNT,
};

static const char *const state_words[] = {
    [STREAM_HEADER] = "before its header was whole",
    [STREAM_CONFIG] = "in its configuration",
    [STREAM_SUBSECTION] = "in its configuration",
    [STREAM_ELEMENT] = "before the device state",
    [STREAM_BODY] = "within a section",
    [STREAM_FOOTER] = "within a section",
    [STREAM_TAIL] = "in the device state",
};
static_assert(ARRAY_LEN(state_words) == STREAM__COUNT, "a word for each state");

/* Iterable sections that were started at a time: RAM, and who knows. */
#define OPEN_MAX 16u

struct section {
    const struct section_handler *handler;
    uint32_t id;
    enum section_part part; /* what of it is being read */
    bool over;              /* END was read */
};

struct stream_decoder {
    /* Set before the first byte, then read only. */
    const struct stream_decoder_ops *ops;
    void *arg;
    struct section_registry *registry;

    struct intake intake;
    enum stream_state state;
    struct machine_config config;
    struct ram_decoder ram;
    struct device_tail tail;
    struct stream_decoder_stats stats;

    struct section sections[OPEN_MAX]; /* that had a START */
    uint32_t n_sections;
    uint32_t n_over;
    struct section open; /* in BODY and FOOTER */
    size_t early_start;  /* where in `early` it begins, if it is of these */
    bool part_seen;
};

/* Results of a step, besides a negative error. */
#define STEP_DONE 0 /* a piece was read, go on */
#define STEP_MORE 1 /* the piece is not whole */

static int read_header(struct stream_decoder *d, struct input *in,
                       struct error *err)
{
    uint32_t magic;
    uint32_t version;

    if (!input_have(in, 8))
        return STEP_MORE;
    magic = load_be32(input_here(in));
    version = load_be32(input_here(in) + 4);
    if (magic >> 16 == TLS_HANDSHAKE_START) {
        fail_at(in, err, ERR_UNSUPPORTED, "QEMU speaks TLS");
        return error_hint(err, "set migration parameter 'tls-creds' to \"\"");
    }
    if (magic == QEMU_MULTIFD_MAGIC)
        return fail_at(in, err, ERR_PROTOCOL,
                       "a multifd channel where the main channel belongs");
    if (magic != QEMU_MAGIC)
        return fail_at(in, err, ERR_PROTOCOL,
                       "no migration stream: it begins with 0x%08x", magic);
    if (version != QEMU_STREAM_VERSION)
        return fail_at(in, err, ERR_UNSUPPORTED,
                       "migration stream of version %u", version);
    input_take(in, 8);
    d->state = STREAM_CONFIG;
    return section_registry_load_setup(d->registry, err);
}

static int read_config(struct stream_decoder *d, struct input *in,
                       struct error *err)
{
    int rc = config_read_machine(&d->config, in, err);

    if (rc == STEP_DONE)
        d->state = STREAM_SUBSECTION;
    return rc;
}

static int read_subsection(struct stream_decoder *d, struct input *in,
                           struct error *err)
{
    if (!input_have(in, 1))
        return STEP_MORE;
    if (*input_here(in) == QEMU_SECTION_SUBSECTION)
        return config_read_subsection(&d->config, in, err);
    d->state = STREAM_ELEMENT;
    return d->ops->config ? d->ops->config(d->arg, &d->config, err) : 0;
}

/*
 * Commands that may be in a stream that is captured. With postcopy-ram on, the
 * block list has page sizes for blocks whose pages are not the host's; ADVISE
 * tells whether there can be any.
 */
static int check_command(struct input *in, uint16_t command,
                         const uint8_t *body, uint16_t len, struct error *err)
{
    switch (command) {
    case QEMU_CMD_OPEN_RETURN_PATH:
    case QEMU_CMD_SWITCHOVER_START:
        if (len != 0)
            return fail_at(in, err, ERR_PROTOCOL,
                           "command %u with a body of %u bytes", command, len);
        return 0;
    case QEMU_CMD_PING:
        if (len != 4)
            return fail_at(in, err, ERR_PROTOCOL,
                           "PING with a body of %u bytes", len);
        return 0;
    case QEMU_CMD_POSTCOPY_ADVISE:
        if (len == 0 || (len == 16 && load_be64(body) == PAGE_BYTES))
            return 0;
        fail_at(in, err, ERR_UNSUPPORTED,
                "stream made with migration capability 'postcopy-ram'");
        return error_hint(err, "switch migration capability 'postcopy-ram' "
                               "off");
    case QEMU_CMD_POSTCOPY_LISTEN:
    case QEMU_CMD_POSTCOPY_RUN:
    case QEMU_CMD_POSTCOPY_RAM_DISCARD:
    case QEMU_CMD_PACKAGED:
    case QEMU_CMD_ENABLE_COLO:
    case QEMU_CMD_POSTCOPY_RESUME:
    case QEMU_CMD_RECV_BITMAP:
        return fail_at(in, err, ERR_UNSUPPORTED,
                       "command %u has no place in a captured stream", command);
    default:
        log_warn("unknown command %u of %u bytes in the stream, skipped",
                 command, len);
        return 0;
    }
}

static int read_command(struct stream_decoder *d, struct input *in,
                        struct error *err)
{
    const uint8_t *p;
    uint16_t command;
    uint16_t len;
    int rc;

    if (!input_have(in, QEMU_COMMAND_HEADER_BYTES))
        return STEP_MORE;
    command = load_be16(input_here(in) + 1);
    len = load_be16(input_here(in) + 3);
    if (!input_have(in, QEMU_COMMAND_HEADER_BYTES + len))
        return STEP_MORE;
    p = input_here(in) + QEMU_COMMAND_HEADER_BYTES;
    rc = check_command(in, command, p, len, err);
    if (rc < 0)
        return rc;
    input_take(in, QEMU_COMMAND_HEADER_BYTES + len);
    return d->ops->command ? d->ops->command(d->arg, command, p, len, err) : 0;
}

static struct section *find_section(struct stream_decoder *d, uint32_t id)
{
    for (uint32_t i = 0; i < d->n_sections; i++) {
        if (d->sections[i].id == id)
            return &d->sections[i];
    }
    return NULL;
}

static void enter_tail(struct stream_decoder *d)
{
    d->state = STREAM_TAIL;
    ram_decoder_settle(&d->ram);
}

static int add_section(struct stream_decoder *d, struct input *in,
                       const struct section *s, struct error *err)
{
    if (find_section(d, s->id))
        return fail_at(in, err, ERR_PROTOCOL, "section %u starts again", s->id);
    for (uint32_t i = 0; i < d->n_sections; i++) {
        if (d->sections[i].handler == s->handler)
            return fail_at(in, err, ERR_PROTOCOL, "section '%s' starts again",
                           s->handler->idstr);
    }
    if (d->n_sections == OPEN_MAX)
        return fail_at(in, err, ERR_UNSUPPORTED, "more than %u sections",
                       OPEN_MAX);
    d->sections[d->n_sections++] = *s;
    return 0;
}

/* The header of a section before RAM, `n` bytes long, is kept. */
static int begin_early(struct stream_decoder *d, struct input *in,
                       const char *idstr, size_t n, struct error *err)
{
    if (!d->ops->early_device)
        return fail_at(in, err, ERR_INCOMPATIBLE,
                       "the VM has a device whose state cannot be captured: "
                       "'%s' comes before RAM,",
                       idstr);
    d->early_start = d->tail.state.early.len;
    return buf_append(&d->tail.state.early, input_here(in), n, err);
}

static int end_early(struct stream_decoder *d, struct input *in,
                     struct error *err)
{
    struct buf *early = &d->tail.state.early;
    int rc = buf_append(early, input_here(in), QEMU_FOOTER_BYTES, err);

    if (rc < 0)
        return rc;
    return d->ops->early_device(d->arg, early->data + d->early_start,
                                early->len - d->early_start, err);
}

/* START, or a FULL section before RAM: type, id, name, instance, version. */
static int read_start(struct stream_decoder *d, struct input *in,
                      struct error *err)
{
    struct section s = {0};
    struct cursor c = in->at;
    char idstr[256];
    uint32_t instance;
    uint32_t version;
    uint8_t type;
    size_t n;
    int rc;

    if (!input_have(in, 6))
        return STEP_MORE;
    n = 6u + input_here(in)[5] + 8;
    if (!input_have(in, n))
        return STEP_MORE;
    if (!cursor_u8(&c, &type) || !cursor_be32(&c, &s.id) ||
        !cursor_str8(&c, idstr) || !cursor_be32(&c, &instance) ||
        !cursor_be32(&c, &version))
        return fail_at(in, err, ERR_PROTOCOL, "malformed section name");
    s.part = type == QEMU_SECTION_START ? SECTION_START : SECTION_FULL;
    rc = section_registry_match(d->registry, s.part, idstr, instance, version,
                                &s.handler, err);
    if (rc < 0)
        return error_wrap(err, "at stream offset %lu", input_offset(in));
    if (!s.handler)
        return fail_at(in, err, ERR_UNSUPPORTED,
                       "device section '%s' before RAM", idstr);
    if (s.part == SECTION_START)
        rc = add_section(d, in, &s, err);
    else
        rc = begin_early(d, in, idstr, n, err);
    if (rc < 0)
        return rc;
    d->open = s;
    d->state = STREAM_BODY;
    input_take(in, n);
    return STEP_DONE;
}

static int read_part(struct stream_decoder *d, struct input *in, bool end,
                     struct error *err)
{
    struct section *s;
    uint32_t id;

    if (!input_have(in, 5))
        return STEP_MORE;
    id = load_be32(input_here(in) + 1);
    s = find_section(d, id);
    if (!s || s->over)
        return fail_at(in, err, ERR_PROTOCOL, "part of section %u, which %s",
                       id, s ? "ended before" : "never started");
    s->over = end;
    d->n_over += end;
    d->part_seen = true;
    d->open = *s;
    d->open.part = end ? SECTION_END : SECTION_PART;
    if (end && d->ops->last_section)
        d->ops->last_section(d->arg);
    d->state = STREAM_BODY;
    input_take(in, 5);
    return STEP_DONE;
}

static bool ram_ended(const struct stream_decoder *d)
{
    return d->n_sections > 0 && d->n_over == d->n_sections;
}

/* A FULL section: early, or the first of the tail. */
static int read_full(struct stream_decoder *d, struct input *in,
                     struct error *err)
{
    int rc;

    if (!ram_ended(d) && !d->part_seen)
        return read_start(d, in, err);
    if (d->n_over > 0 && !ram_ended(d))
        return fail_at(in, err, ERR_PROTOCOL,
                       "device section before all others have ended");
    rc = ram_ended(d) ? 0 : d->ops->ram_end(d->arg, err);
    enter_tail(d);
    return rc;
}

static int read_element(struct stream_decoder *d, struct input *in,
                        struct error *err)
{
    uint8_t type;

    if (!input_have(in, 1))
        return STEP_MORE;
    type = *input_here(in);
    switch (type) {
    case QEMU_SECTION_COMMAND:
        return read_command(d, in, err);
    case QEMU_SECTION_START:
        return read_start(d, in, err);
    case QEMU_SECTION_PART:
    case QEMU_SECTION_END:
        return read_part(d, in, type == QEMU_SECTION_END, err);
    case QEMU_SECTION_FULL:
        return read_full(d, in, err);
    case QEMU_SECTION_EOF:
        if (!ram_ended(d))
            return fail_at(in, err, ERR_PROTOCOL,
                           "end of the stream before the end of RAM");
        enter_tail(d);
        return STEP_DONE;
    default:
        return fail_at(in, err, ERR_PROTOCOL, "unknown section type 0x%02x",
                       type);
    }
}

static int read_body(struct stream_decoder *d, struct input *in,
                     struct error *err)
{
    const struct section_handler *h = d->open.handler;
    const uint8_t *start = input_here(in);
    size_t from = in->at.pos;
    int rc = h->ops->load(h->arg, d->open.part, in, err);
    int kept = 0;

    if (rc < 0)
        return rc;
    if (d->open.part == SECTION_FULL)
        kept = buf_append(&d->tail.state.early, start, in->at.pos - from, err);
    if (kept < 0)
        return kept;
    if (rc == SECTION_LOAD_MORE)
        return STEP_MORE;
    d->state = STREAM_FOOTER;
    return STEP_DONE;
}

static int read_footer(struct stream_decoder *d, struct input *in,
                       struct error *err)
{
    int rc = 0;

    if (!input_have(in, QEMU_FOOTER_BYTES))
        return STEP_MORE;
    if (*input_here(in) != QEMU_SECTION_FOOTER ||
        load_be32(input_here(in) + 1) != d->open.id)
        return fail_at(in, err, ERR_PROTOCOL,
                       "section '%s' has no footer where it ends",
                       d->open.handler->idstr);
    if (d->open.part == SECTION_FULL)
        rc = end_early(d, in, err);
    if (rc == 0 && d->open.part == SECTION_END && ram_ended(d))
        rc = d->ops->ram_end(d->arg, err);
    if (rc < 0)
        return rc;
    if (d->open.part != SECTION_FULL)
        d->stats.sections++;
    input_take(in, QEMU_FOOTER_BYTES);
    d->state = STREAM_ELEMENT;
    return STEP_DONE;
}

static int read_tail(struct stream_decoder *d, struct input *in,
                     struct error *err)
{
    size_t left = cursor_left(&in->at);
    int rc = device_tail_append(&d->tail, input_here(in), left, err);

    if (rc < 0)
        return rc;
    input_take(in, left);
    in->need = 1;
    return STEP_MORE;
}

static int step(struct stream_decoder *d, struct input *in, struct error *err)
{
    switch (d->state) {
    case STREAM_HEADER:
        return read_header(d, in, err);
    case STREAM_CONFIG:
        return read_config(d, in, err);
    case STREAM_SUBSECTION:
        return read_subsection(d, in, err);
    case STREAM_ELEMENT:
        return read_element(d, in, err);
    case STREAM_BODY:
        return read_body(d, in, err);
    case STREAM_FOOTER:
        return read_footer(d, in, err);
    case STREAM_TAIL:
        return read_tail(d, in, err);
    case STREAM__COUNT:
        break;
    }
    assert(false);
    return fail(err, ERR_PROTOCOL, "stream decoder in no state");
}

static int decode(void *arg, struct input *in, struct error *err)
{
    int rc = STEP_DONE;

    while (rc == STEP_DONE)
        rc = step(arg, in, err);
    return rc < 0 ? rc : 0;
}

int stream_decoder_new(const struct stream_decoder_ops *ops, void *arg,
                       struct stream_decoder **ret, struct error *err)
{
    cleanup(stream_decoder) struct stream_decoder *d = calloc(1, sizeof(*d));
    int rc;

    if (!d)
        return fail_nomem(err);
    assert(ops->blocks && ops->page && ops->zero_page && ops->section_end &&
           ops->ram_end);
    d->ops = ops;
    d->arg = arg;
    d->ram.ops = ops;
    d->ram.ops_arg = arg;
    d->ram.config = &d->config;
    d->ram.stats = &d->stats;
    rc = section_registry_new(&d->registry, err);
    if (rc == 0)
        rc = ram_decoder_register(&d->ram, d->registry, err);
    if (rc == 0)
        rc = virtio_mem_decoder_register(d->registry, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&d);
    return 0;
}

void stream_decoder_free(struct stream_decoder *d)
{
    if (!d)
        return;
    section_registry_free(d->registry);
    ram_decoder_release(&d->ram);
    device_tail_release(&d->tail);
    machine_config_release(&d->config);
    intake_release(&d->intake);
    free(d);
}

int stream_decoder_feed(struct stream_decoder *d, const void *data, size_t len,
                        struct error *err)
{
    int rc = intake_feed(&d->intake, data, len, decode, d, err);

    if (rc == 0)
        d->stats.bytes += len;
    return rc;
}

bool stream_decoder_complete(struct stream_decoder *d)
{
    return d->state == STREAM_TAIL && !d->intake.broken.code &&
           device_tail_prove(&d->tail);
}

int stream_decoder_finish(struct stream_decoder *d, struct error *err)
{
    if (d->intake.broken.code)
        return error_copy(err, &d->intake.broken);
    if (stream_decoder_complete(d))
        return 0;
    if (d->state != STREAM_TAIL)
        return fail(err, ERR_PROTOCOL, "the stream ends %s, after %lu bytes",
                    state_words[d->state], d->stats.bytes);
    device_tail_explain(&d->tail, err);
    return error_wrap(err, "the stream ends %s, after %lu bytes",
                      state_words[d->state], d->stats.bytes);
}

const struct machine_config *
stream_decoder_config(const struct stream_decoder *d)
{
    return &d->config;
}

const struct ramblock_list *
stream_decoder_blocks(const struct stream_decoder *d)
{
    return &d->ram.blocks;
}

const struct device_state *
stream_decoder_device_state(const struct stream_decoder *d)
{
    return &d->tail.state;
}

uint32_t stream_decoder_ram_section_id(const struct stream_decoder *d)
{
    for (uint32_t i = 0; i < d->n_sections; i++) {
        if (d->sections[i].handler->arg == &d->ram)
            return d->sections[i].id;
    }
    return 0;
}

const struct stream_decoder_stats *
stream_decoder_stats(const struct stream_decoder *d)
{
    return &d->stats;
}

bool stream_decoder_flush_in_setup(const struct stream_decoder *d)
{
    return d->ram.flush_in_setup;
}

struct section_registry *stream_decoder_sections(struct stream_decoder *d)
{
    return d->registry;
}

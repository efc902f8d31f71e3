#include "tests/core/wire/stream_maker.h"

#include <stdarg.h>

#include "core/wire/qemu_wire.h"
#include "core/wire/xbzrle.h"

static const struct ramblock blocks[MADE_BLOCKS] = {
    {.idstr = "pc.ram", .used_bytes = 40 * PAGE_BYTES},
    {.idstr = "/rom@etc/acpi/tables", .used_bytes = 3 * PAGE_BYTES},
    {.idstr = "pc.bios", .used_bytes = 2 * PAGE_BYTES},
};

void must(int rc, const struct error *err)
{
    if (rc < 0) {
        fprintf(stderr, "unexpected: %s\n", err->message);
        abort();
    }
}

void fill_page(uint8_t *page, uint32_t block, pgno_t pgno, uint32_t generation)
{
    for (uint32_t i = 0; i < PAGE_BYTES; i += 8)
        store_le64(page + i, (uint64_t)block << 56 | (pgno & 0xffffff) << 32 |
                                 (uint64_t)(generation & 0xff) << 24 |
                                 (i < 64 || i % 512 == 0 ? i + 1 : 7));
    /* A new generation changes a part of the page only, as guests do. */
    for (uint32_t i = 2048; i < PAGE_BYTES; i++)
        page[i] = (uint8_t)(i / 3 + block + pgno);
}

static bool is_zero_page(struct made_stream_args args, pgno_t pgno)
{
    return args.sparse ? pgno % 16 != 9 : pgno % 4 == 1;
}

static bool comes_again(struct made_stream_args args, pgno_t pgno)
{
    return args.sparse ? pgno % 32 == 9 : pgno % 3 == 0;
}

struct ramblock_list made_blocks(void)
{
    struct ramblock_list l = {0};
    struct error err;

    for (uint32_t i = 0; i < MADE_BLOCKS; i++) {
        struct ramblock b = blocks[i];

        b.host_page_bytes = PAGE_BYTES;
        must(ramblock_list_add(&l, &b, &err), &err);
    }
    return l;
}

void made_device(struct buf *tail, json_t *devices, const char *name,
                 uint32_t instance, const void *body, size_t len)
{
    const struct section_name head = {
        .section_id = 10 + (uint32_t)json_array_size(devices),
        .idstr = name,
        .instance = instance,
        .version = 1,
    };
    struct error err;

    must(stream_put_section_start(tail, &head, true, &err), &err);
    must(buf_append(tail, body, len, &err), &err);
    must(stream_put_section_footer(tail, head.section_id, &err), &err);
    json_array_append_new(
        devices, json_pack("{s:s, s:i, s:s, s:i, s:[{s:s, s:i, s:s}]}", "name",
                           name, "instance_id", (int)instance, "vmsd_name",
                           name, "version", 1, "fields", "name", "data", "size",
                           (int)len, "type", "buffer"));
}

static void made_early_device(struct buf *b, json_t *devices)
{
    uint8_t body[QEMU_VIRTIO_MEM_EARLY_FIXED_BYTES + 8] = {0};

    store_be64(body + 8, 64u << 20); /* region: 32 blocks, one word */
    store_be64(body + 16, 2u << 20);
    made_device(b, devices, "0000:00:05.0/" QEMU_VIRTIO_MEM_EARLY, 0, body,
                sizeof(body));
}

/* A device with an array, a struct and a subsection. */
static void made_rich_device(struct buf *tail, json_t *devices)
{
    uint8_t body[4 + 3 * 8 + 16 + 2 + 7 + 4 + 6] = {1, 2, 3};
    json_t *device;

    body[44] = QEMU_SECTION_SUBSECTION;
    body[45] = 7;
    memcpy(body + 46, "nic/sub", 7);
    made_device(tail, devices, "0000:00:02.0/nic", 0, body, sizeof(body));
    device = json_array_get(devices, json_array_size(devices) - 1);
    json_object_set_new(
        device, "fields",
        json_pack("[{s:s, s:i}, {s:s, s:i, s:i}, {s:s, s:i, s:{s:s, s:[]}}]",
                  "name", "state", "size", 4, "name", "ring", "size", 8,
                  "array_len", 3, "name", "mac", "size", 16, "struct",
                  "vmsd_name", "mac", "fields"));
    json_object_set_new(device, "subsections",
                        json_pack("[{s:s, s:i, s:[{s:s, s:i}]}]", "vmsd_name",
                                  "nic/sub", "version", 1, "fields", "name",
                                  "flags", "size", 6));
}

static void made_devices(struct buf *tail, json_t *devices,
                         const char *run_state)
{
    uint8_t state[4 + QEMU_GLOBALSTATE_NAME_BYTES] = {0};
    uint8_t timer[24] = {0, 6, 0, 0, 0, 2, '{', '}'};

    made_device(tail, devices, "timer", 0, timer, sizeof(timer));
    made_rich_device(tail, devices);
    made_device(tail, devices, "timer", 1, "", 0);
    store_be32(state, (uint32_t)strlen(run_state) + 1);
    memcpy(state + 4, run_state, strlen(run_state));
    made_device(tail, devices, QEMU_GLOBALSTATE, 0, state, sizeof(state));
}

static void print_vmdesc(struct buf *vmdesc, json_t *devices)
{
    cleanup_json json_t *root = json_pack("{s:i, s:O}", "page_size",
                                          (int)PAGE_BYTES, "devices", devices);
    struct error err;

    must(json_print(root, vmdesc, &err), &err);
}

void made_tail_parts(struct buf *tail, struct buf *vmdesc,
                     const char *run_state)
{
    cleanup_json json_t *devices = json_array();

    made_devices(tail, devices, run_state);
    print_vmdesc(vmdesc, devices);
}

static void put_end(struct buf *b, json_t *devices)
{
    cleanup_buf struct buf vmdesc = BUF_INIT;
    struct error err;

    print_vmdesc(&vmdesc, devices);
    must(stream_put_eof(b, &err), &err);
    must(stream_put_vmdesc(b, &vmdesc, &err), &err);
}

void made_tail(struct buf *b, const char *run_state)
{
    cleanup_json json_t *devices = json_array();

    made_devices(b, devices, run_state);
    put_end(b, devices);
}

/* State of one made stream while it is written. */
struct maker {
    struct buf *b;
    struct made_stream_args args;
    struct ram_encoder encoder;
    struct error err;
};

static void put_data(struct maker *m, uint32_t block, pgno_t pgno,
                     uint32_t generation)
{
    uint8_t head[RAM_RECORD_HEADER_MAX];
    uint8_t page[PAGE_BYTES];
    size_t n = ram_encoder_page(&m->encoder, blocks[block].idstr, pgno, head);

    fill_page(page, block, pgno, generation);
    must(buf_append(m->b, head, n, &m->err), &m->err);
    must(buf_append(m->b, page, sizeof(page), &m->err), &m->err);
}

static void put_zero(struct maker *m, uint32_t block, pgno_t pgno)
{
    uint8_t record[RAM_RECORD_HEADER_MAX + 1];
    size_t n = ram_encoder_zero(&m->encoder, blocks[block].idstr, pgno, record);

    must(buf_append(m->b, record, n, &m->err), &m->err);
}

static void put_delta(struct maker *m, uint32_t block, pgno_t pgno)
{
    cleanup_buf struct buf delta = BUF_INIT;
    uint8_t old[PAGE_BYTES];
    uint8_t new[PAGE_BYTES];

    fill_page(old, block, pgno, 1);
    fill_page(new, block, pgno, 2);
    must(xbzrle_encode(&delta, old, new, &m->err), &m->err);
    must(ram_encoder_put_xbzrle(&m->encoder, blocks[block].idstr, pgno, &delta,
                                m->b, &m->err),
         &m->err);
}

static void put_block_list(struct maker *m)
{
    struct ramblock_list l = made_blocks();

    if (!m->args.ignore_shared) {
        must(ram_put_block_list(m->b, &l, false, &m->err), &m->err);
        ramblock_list_release(&l);
        return;
    }
    must(buf_append_be64(m->b, ramblock_list_total_bytes(&l) | 4, &m->err),
         &m->err);
    for (uint32_t i = 0; i < l.n; i++) {
        size_t n = strlen(l.blocks[i].idstr);

        must(buf_append_u8(m->b, (uint8_t)n, &m->err), &m->err);
        must(buf_append(m->b, l.blocks[i].idstr, n, &m->err), &m->err);
        must(buf_append_be64(m->b, l.blocks[i].used_bytes, &m->err), &m->err);
        must(buf_append_be64(m->b, 0xc0000 * i, &m->err), &m->err);
    }
    ramblock_list_release(&l);
}

static void put_flush(struct maker *m)
{
    if (m->args.flush)
        must(buf_append_be64(m->b, QEMU_RAM_MULTIFD_FLUSH, &m->err), &m->err);
}

static void put_setup(struct maker *m)
{
    const struct section_name name = {
        .section_id = MADE_RAM_ID,
        .idstr = QEMU_RAM_IDSTR,
        .version = QEMU_RAM_VERSION,
    };

    must(stream_put_section_start(m->b, &name, false, &m->err), &m->err);
    put_block_list(m);
    put_flush(m);
    must(stream_put_ram_section_end(m->b, MADE_RAM_ID, &m->err), &m->err);
}

static bool left_out(struct made_stream_args args, uint32_t block)
{
    return args.ignore_shared && block == 0;
}

static void put_first_round(struct maker *m)
{
    for (uint32_t i = 0; i < MADE_BLOCKS; i++) {
        must(stream_put_ram_section(m->b, MADE_RAM_ID, false, &m->err),
             &m->err);
        for (pgno_t p = 0; p < ramblock_pages(&blocks[i]); p++) {
            if (left_out(m->args, i))
                continue;
            if (is_zero_page(m->args, p))
                put_zero(m, i, p);
            else
                put_data(m, i, p, 1);
        }
        must(stream_put_ram_section_end(m->b, MADE_RAM_ID, &m->err), &m->err);
    }
}

static void put_second_round(struct maker *m)
{
    must(stream_put_ram_section(m->b, MADE_RAM_ID, true, &m->err), &m->err);
    for (uint32_t i = 0; i < MADE_BLOCKS; i++) {
        for (pgno_t p = 0; p < ramblock_pages(&blocks[i]); p++) {
            if (left_out(m->args, i) || !comes_again(m->args, p))
                continue;
            if (m->args.xbzrle && !is_zero_page(m->args, p))
                put_delta(m, i, p);
            else
                put_data(m, i, p, 2);
        }
    }
    put_flush(m);
    must(stream_put_ram_section_end(m->b, MADE_RAM_ID, &m->err), &m->err);
}

static void put_config(struct maker *m)
{
    static const char capability[] = "x-ignore-shared";
    const struct machine_config config = {.machine = "pc-i440fx-10.0"};

    must(stream_put_header(m->b, &m->err), &m->err);
    must(stream_put_config(m->b, &config, &m->err), &m->err);
    if (!m->args.ignore_shared)
        return;
    must(buf_append_u8(m->b, QEMU_SECTION_SUBSECTION, &m->err), &m->err);
    must(buf_append_u8(m->b, sizeof(QEMU_CONFIG_CAPABILITIES) - 1, &m->err),
         &m->err);
    must(buf_append(m->b, QEMU_CONFIG_CAPABILITIES,
                    strlen(QEMU_CONFIG_CAPABILITIES), &m->err),
         &m->err);
    must(buf_append_be32(m->b, QEMU_CONFIG_VERSION, &m->err), &m->err);
    must(buf_append_be32(m->b, 1, &m->err), &m->err);
    must(buf_append_u8(m->b, (uint8_t)strlen(capability), &m->err), &m->err);
    must(buf_append(m->b, capability, strlen(capability), &m->err), &m->err);
}

void made_stream(struct buf *b, struct made_stream_args args)
{
    cleanup_json json_t *devices = json_array();
    struct maker m = {.b = b, .args = args};

    put_config(&m);
    if (args.return_path) {
        must(stream_put_open_return_path(b, &m.err), &m.err);
        must(stream_put_ping(b, 1, &m.err), &m.err);
    }
    if (args.early_device)
        made_early_device(b, devices);
    put_setup(&m);
    put_first_round(&m);
    if (args.switchover)
        must(stream_put_command(b, QEMU_CMD_SWITCHOVER_START, NULL, 0, &m.err),
             &m.err);
    if (!args.background)
        put_second_round(&m);
    made_devices(b, devices, "running");
    put_end(b, devices);
}

static int note(struct listener *l, struct error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int note(struct listener *l, struct error *err, const char *fmt, ...)
{
    char line[320];
    va_list ap;

    if (++l->n_events == l->fail_at)
        return fail(err, ERR_NOSPC, "event %lu is one too many", l->fail_at);
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    return buf_printf(&l->trace, err, "%s\n", line);
}

static int on_config(void *arg, const struct machine_config *config,
                     struct error *err)
{
    return note(arg, err, "config %s%s", config->machine,
                config->ignore_shared ? " x-ignore-shared" : "");
}

static int on_command(void *arg, uint16_t command, const uint8_t *body,
                      uint16_t len, struct error *err)
{
    return note(arg, err, "command %u, %u bytes, %02x", command, len,
                len ? body[len - 1] : 0);
}

static int on_early_device(void *arg, const uint8_t *section, size_t len,
                           struct error *err)
{
    return note(arg, err, "early device of %zu bytes, %02x ... %02x", len,
                section[0], section[len - 5]);
}

static int on_blocks(void *arg, const struct ramblock_list *list,
                     struct error *err)
{
    struct listener *l = arg;

    for (uint32_t i = 0; i < list->n && i < MADE_BLOCKS; i++) {
        /* A decoder under fuzz may be told of blocks of any size. */
        if (list->blocks[i].used_bytes > 1u << 20)
            return fail(err, ERR_NOMEM, "block %u is too large for a test", i);
        l->content[i] = calloc(1, list->blocks[i].used_bytes + 1);
        l->n_blocks = i + 1;
    }
    return note(l, err, "blocks %u", list->n);
}

static uint8_t *page_of(struct listener *l, uint32_t block, pgno_t pgno)
{
    return block < l->n_blocks ? l->content[block] + pgno * PAGE_BYTES : NULL;
}

static int on_page(void *arg, uint32_t block, pgno_t pgno, const uint8_t *data,
                   struct error *err)
{
    uint8_t *page = page_of(arg, block, pgno);
    uint32_t sum = 0;

    for (uint32_t i = 0; i < PAGE_BYTES; i++)
        sum = sum * 31 + data[i];
    if (page)
        memcpy(page, data, PAGE_BYTES);
    return note(arg, err, "page %u %lu %08x", block, pgno, sum);
}

static int on_zero_page(void *arg, uint32_t block, pgno_t pgno,
                        struct error *err)
{
    uint8_t *page = page_of(arg, block, pgno);

    if (page)
        memset(page, 0, PAGE_BYTES);
    return note(arg, err, "zero %u %lu", block, pgno);
}

static int on_current_page(void *arg, uint32_t block, pgno_t pgno, uint8_t *ret,
                           struct error *err)
{
    const uint8_t *page = page_of(arg, block, pgno);

    if (page)
        memcpy(ret, page, PAGE_BYTES);
    else
        memset(ret, 0, PAGE_BYTES);
    return note(arg, err, "current %u %lu", block, pgno);
}

static int on_section_end(void *arg, struct error *err)
{
    return note(arg, err, "section end");
}

static int on_flush(void *arg, struct error *err)
{
    return note(arg, err, "flush");
}

static int on_ram_end(void *arg, struct error *err)
{
    return note(arg, err, "ram end");
}

const struct stream_decoder_ops listener_ops = {
    .config = on_config,
    .command = on_command,
    .early_device = on_early_device,
    .blocks = on_blocks,
    .page = on_page,
    .zero_page = on_zero_page,
    .current_page = on_current_page,
    .section_end = on_section_end,
    .multifd_flush = on_flush,
    .ram_end = on_ram_end,
};

void listener_release(struct listener *l)
{
    buf_release(&l->trace);
    for (uint32_t i = 0; i < MADE_BLOCKS; i++)
        free(l->content[i]);
    *l = (struct listener){0};
}

bool listener_holds_made_pages(const struct listener *l,
                               struct made_stream_args args)
{
    uint8_t want[PAGE_BYTES];

    if (l->n_blocks != MADE_BLOCKS)
        return false;
    for (uint32_t i = 0; i < MADE_BLOCKS; i++) {
        for (pgno_t p = 0; p < ramblock_pages(&blocks[i]); p++) {
            bool again = comes_again(args, p) && !args.background;

            memset(want, 0, sizeof(want));
            if (!left_out(args, i) && (again || !is_zero_page(args, p)))
                fill_page(want, i, p, again ? 2 : 1);
            if (memcmp(l->content[i] + p * PAGE_BYTES, want, PAGE_BYTES))
                return false;
        }
    }
    return true;
}

#include "tests/core/wire/multifd_maker.h"

#include "tests/core/wire/deflater.h"
#include "tests/core/wire/stream_maker.h"

/* Few, so that a round has many packets. */
#define PACKET_PAGES 7u

struct maker {
    struct made_multifd *m;
    const struct made_multifd_args *args;
    struct ramblock_list blocks;
    struct deflater deflaters[MULTIFD_CHANNELS_MAX];
    struct ram_encoder zeros;
    unsigned next; /* channel of the next packet */
    uint64_t number;
    struct error err;

    /* the packet that is being filled */
    uint32_t block;
    uint32_t generation;
    uint32_t n_data;
    uint32_t n_zero;
    pgno_t data[PAGE_BATCH_MAX];
    pgno_t zero[PAGE_BATCH_MAX];
};

void make_hello(uint8_t hello[static QEMU_MULTIFD_HELLO_BYTES], uint8_t channel,
                const uint8_t *uuid)
{
    memset(hello, 0, QEMU_MULTIFD_HELLO_BYTES);
    store_be32(hello, QEMU_MULTIFD_MAGIC);
    store_be32(hello + 4, QEMU_MULTIFD_VERSION);
    if (uuid)
        memcpy(hello + 8, uuid, 16);
    hello[24] = channel;
}

void make_header(uint8_t header[static MULTIFD_HEADER_BYTES],
                 const struct made_packet *p)
{
    uint32_t alloc = p->alloc ? p->alloc : PAGE_BATCH_MAX;

    memset(header, 0, MULTIFD_HEADER_BYTES);
    store_be32(header, QEMU_MULTIFD_MAGIC);
    store_be32(header + 4, QEMU_MULTIFD_VERSION);
    store_be32(header + 8, p->flags);
    store_be32(header + 12, p->no_alloc ? 0 : alloc);
    store_be32(header + 16, p->n_data);
    store_be32(header + 20, p->payload_bytes);
    store_be64(header + 24, p->number);
    store_be32(header + 32, p->n_zero);
    if (p->block)
        snprintf((char *)header + QEMU_MULTIFD_NAME_AT, 256, "%s", p->block);
    for (uint32_t i = 0; p->pgno && i < p->n_data + p->n_zero; i++)
        store_be64(header + QEMU_MULTIFD_OFFSETS_AT + i * sizeof(uint64_t),
                   p->pgno[i] * PAGE_BYTES);
}

/* Channels. */

static void put_header(struct maker *k, unsigned channel, struct made_packet *p)
{
    uint8_t header[MULTIFD_HEADER_BYTES];

    p->number = k->number++;
    make_header(header, p);
    must(buf_append(&k->m->channels[channel], header, sizeof(header), &k->err),
         &k->err);
}

static void fill_payload(struct maker *k, unsigned channel, struct buf *ret)
{
    cleanup_buf struct buf raw = BUF_INIT;
    uint8_t page[PAGE_BYTES];

    for (uint32_t i = 0; i < k->n_data; i++) {
        fill_page(page, k->block, k->data[i], k->generation);
        must(buf_append(&raw, page, sizeof(page), &k->err), &k->err);
    }
    if (k->args->method == MULTIFD_NONE)
        must(buf_append(ret, raw.data, raw.len, &k->err), &k->err);
    else if (raw.len > 0)
        deflater_put(&k->deflaters[channel], raw.data, raw.len, ret);
}

/* What was gathered, into the next channel. */
static void put_packet(struct maker *k, bool sync)
{
    cleanup_buf struct buf payload = BUF_INIT;
    unsigned channel = k->next;
    struct made_packet p = {
        .flags = (uint32_t)k->args->method << 1 | (sync ? 1 : 0),
        .n_data = k->n_data,
        .n_zero = k->n_zero,
        .block = k->blocks.blocks[k->block].idstr,
        .pgno = k->data,
    };

    if (k->n_data + k->n_zero == 0)
        return;
    memcpy(k->data + k->n_data, k->zero, k->n_zero * sizeof(k->zero[0]));
    fill_payload(k, channel, &payload);
    p.payload_bytes = (uint32_t)payload.len;
    put_header(k, channel, &p);
    must(buf_append(&k->m->channels[channel], payload.data, payload.len,
                    &k->err),
         &k->err);
    k->n_data = 0;
    k->n_zero = 0;
    k->next = (channel + 1) % k->args->n_channels;
}

/* 7.2: what is still gathered goes with the SYNC of its channel, and an empty
 * packet, with what an earlier one left in its fields, follows. */
static void sync_old(struct maker *k)
{
    unsigned with_pages = k->args->n_channels;

    if (k->n_data > 0) {
        struct made_packet empty = {.payload_bytes = 77, .block = "stale"};

        with_pages = k->next;
        put_packet(k, true);
        put_header(k, with_pages, &empty);
    }
    for (unsigned i = 0; i < k->args->n_channels; i++) {
        struct made_packet p = {.flags = QEMU_MULTIFD_SYNC,
                                .payload_bytes = 4096};

        if (i != with_pages)
            put_header(k, i, &p);
    }
}

static void sync_channels(struct maker *k)
{
    if (k->args->old) {
        sync_old(k);
        return;
    }
    put_packet(k, false);
    for (unsigned i = 0; i < k->args->n_channels; i++) {
        struct made_packet p = {.flags = QEMU_MULTIFD_SYNC, .no_alloc = true};

        put_header(k, i, &p);
    }
}

/* Pages. */

static void put_zero_record(struct maker *k, uint32_t block, pgno_t pgno)
{
    uint8_t record[RAM_RECORD_HEADER_MAX + 1];
    size_t n = ram_encoder_zero(&k->zeros, k->blocks.blocks[block].idstr, pgno,
                                record);

    must(buf_append(&k->m->main, record, n, &k->err), &k->err);
}

static void put_page(struct maker *k, uint32_t block, pgno_t pgno,
                     uint32_t generation, bool zero)
{
    if (zero && k->args->old) {
        put_zero_record(k, block, pgno);
        return;
    }
    if (k->block != block || k->generation != generation ||
        k->n_data + k->n_zero == PACKET_PAGES)
        put_packet(k, false);
    k->block = block;
    k->generation = generation;
    if (zero)
        k->zero[k->n_zero++] = pgno;
    else
        k->data[k->n_data++] = pgno;
}

/* The rules of stream_maker.c: every fourth page is zero at first, every third
 * comes again with content. */
static void put_round(struct maker *k, uint32_t generation)
{
    for (uint32_t b = 0; b < k->blocks.n; b++) {
        for (pgno_t p = 0; p < ramblock_pages(&k->blocks.blocks[b]); p++) {
            if (generation == 1)
                put_page(k, b, p, 1, p % 4 == 1);
            else if (p % 3 == 0)
                put_page(k, b, p, 2, false);
        }
    }
}

/* The main channel. */

static void put_mark(struct maker *k)
{
    if (!k->args->old)
        must(buf_append_be64(&k->m->main, QEMU_RAM_MULTIFD_FLUSH, &k->err),
             &k->err);
}

static void begin_main(struct maker *k)
{
    const struct machine_config config = {.machine = "pc-i440fx-10.0"};
    const struct section_name name = {
        .section_id = MADE_RAM_ID,
        .idstr = QEMU_RAM_IDSTR,
        .version = QEMU_RAM_VERSION,
    };
    struct buf *b = &k->m->main;

    must(stream_put_header(b, &k->err), &k->err);
    must(stream_put_config(b, &config, &k->err), &k->err);
    must(stream_put_open_return_path(b, &k->err), &k->err);
    must(stream_put_ping(b, 1, &k->err), &k->err);
    must(stream_put_section_start(b, &name, false, &k->err), &k->err);
    must(ram_put_block_list(b, &k->blocks, false, &k->err), &k->err);
    sync_channels(k);
    put_mark(k);
    must(stream_put_ram_section_end(b, MADE_RAM_ID, &k->err), &k->err);
}

/* A section; without marks inside, its end is a sync point for old ones. */
static void put_section(struct maker *k, bool last, uint32_t generation)
{
    const struct made_multifd_args *a = k->args;
    struct buf *b = &k->m->main;

    must(stream_put_ram_section(b, MADE_RAM_ID, last, &k->err), &k->err);
    if (generation > 0)
        put_round(k, generation);
    if (!last || !a->no_end)
        sync_channels(k);
    if (!last || !a->no_mark)
        put_mark(k);
    must(stream_put_ram_section_end(b, MADE_RAM_ID, &k->err), &k->err);
}

/* New ones have sections that end without a sync point. */
static void put_bare_section(struct maker *k)
{
    struct buf *b = &k->m->main;

    if (k->args->old)
        return;
    must(stream_put_ram_section(b, MADE_RAM_ID, false, &k->err), &k->err);
    must(stream_put_ram_section_end(b, MADE_RAM_ID, &k->err), &k->err);
}

static void put_hellos(struct maker *k)
{
    static const uint8_t uuids[2][16] = {{1}, {2}};
    unsigned n = k->args->n_channels;

    for (unsigned i = 0; i < n; i++) {
        uint8_t hello[QEMU_MULTIFD_HELLO_BYTES];
        bool last = i == n - 1;

        make_hello(hello, (uint8_t)(last && k->args->same_id ? 0 : i),
                   uuids[last && k->args->other_uuid]);
        must(buf_append(&k->m->channels[i], hello, sizeof(hello), &k->err),
             &k->err);
    }
}

void made_multifd(struct made_multifd *m, const struct made_multifd_args *args)
{
    struct maker k = {.m = m, .args = args, .blocks = made_blocks()};

    for (unsigned i = 0; i < args->n_channels; i++)
        deflater_init(&k.deflaters[i], args->method == MULTIFD_ZSTD);
    put_hellos(&k);
    begin_main(&k);
    put_section(&k, false, 1);
    put_bare_section(&k);
    put_section(&k, true, 2);
    if (args->goes_on) {
        put_page(&k, 0, 0, 3, false);
        put_packet(&k, false);
    }
    made_tail(&m->main, "running");
    for (unsigned i = 0; i < args->n_channels; i++)
        deflater_release(&k.deflaters[i]);
    ramblock_list_release(&k.blocks);
}

void made_multifd_release(struct made_multifd *m)
{
    buf_release(&m->main);
    for (unsigned i = 0; i < MULTIFD_CHANNELS_MAX; i++)
        buf_release(&m->channels[i]);
}

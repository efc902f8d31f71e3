/*
 * make_seeds FOLDER STAMP: writes a folder of small seeds for each fuzz entry,
 * from the encoders, and at last the stamp.
 */
#include <sys/stat.h>

#include "core/wire/postcopy_commands.h"
#include "core/wire/return_path.h"
#include "core/wire/xbzrle.h"
#include "tests/core/wire/deflater.h"
#include "tests/core/wire/multifd_maker.h"
#include "tests/core/wire/stream_maker.h"

struct maker {
    const char *folder;
    struct error err;
};

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "wb");

    if (!f || fwrite(data, 1, len, f) != len || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

static void seed(struct maker *m, const char *entry, const char *name,
                 const struct buf *b)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", m->folder, entry);
    mkdir(path, 0777);
    snprintf(path, sizeof(path), "%s/%s/%s", m->folder, entry, name);
    write_file(path, b->data, b->len);
}

static void seed_streams(struct maker *m)
{
    static const struct {
        const char *name;
        struct made_stream_args args;
    } streams[] = {
        {"precopy", {.return_path = true, .switchover = true}},
        {"background", {.background = true}},
        {"multifd", {.flush = true, .switchover = true}},
        {"xbzrle", {.xbzrle = true}},
        {"ignore-shared", {.ignore_shared = true}},
        {"early-device", {.early_device = true, .ignore_shared = true}},
    };

    for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
        struct made_stream_args args = streams[i].args;
        cleanup_buf struct buf b = BUF_INIT;

        args.sparse = true;
        must(buf_append_u8(&b, (uint8_t)(7 * i), &m->err), &m->err);
        made_stream(&b, args);
        seed(m, "stream_decoder", streams[i].name, &b);
    }
}

static void seed_return_path(struct maker *m)
{
    static const uint64_t words[] = {0xff, 3};
    cleanup_buf struct buf b = BUF_INIT;

    must(return_path_put_pong(&b, 1, &m->err), &m->err);
    must(return_path_put_request(&b, "pc.ram", 0x1000, 4096, &m->err), &m->err);
    must(return_path_put_request(&b, NULL, 0x2000, 4096, &m->err), &m->err);
    seed(m, "return_path", "requests", &b);
    must(return_path_put_bitmap(&b, "pc.ram", words, 66, &m->err), &m->err);
    must(return_path_put_resume_ack(&b, &m->err), &m->err);
    must(return_path_put_shut(&b, 0, &m->err), &m->err);
    seed(m, "return_path", "recovery", &b);
}

/* Bodies alone: a command's header is five bytes. */
static void seed_body(struct maker *m, const char *name, struct buf *b)
{
    buf_consume(b, 5);
    seed(m, "postcopy_commands", name, b);
    buf_reset(b);
}

static void seed_commands(struct maker *m)
{
    static const struct discard_range ranges[] = {{0, 4096},
                                                  {0x200000, 0x200000}};
    cleanup_buf struct buf b = BUF_INIT;

    must(postcopy_put_discard(&b, "pc.ram", ranges, 2, &m->err), &m->err);
    seed_body(m, "discard", &b);
    must(postcopy_put_advise(&b, 0x201000, 4096, &m->err), &m->err);
    seed_body(m, "advise", &b);
    must(postcopy_put_recv_bitmap(&b, "pc.ram", &m->err), &m->err);
    seed_body(m, "recv-bitmap", &b);
}

static void seed_delta(struct maker *m)
{
    cleanup_buf struct buf b = BUF_INIT;
    uint8_t old[PAGE_BYTES];
    uint8_t new[PAGE_BYTES];

    fill_page(old, 1, 2, 3);
    fill_page(new, 1, 2, 4);
    must(xbzrle_encode(&b, old, new, &m->err), &m->err);
    seed(m, "xbzrle", "generations", &b);
    buf_reset(&b);
    fill_page(new, 0, 9, 1);
    must(xbzrle_encode(&b, old, new, &m->err), &m->err);
    seed(m, "xbzrle", "other-page", &b);
}

static void seed_description(struct maker *m)
{
    cleanup_buf struct buf tail = BUF_INIT;
    cleanup_buf struct buf json = BUF_INIT;
    cleanup_buf struct buf b = BUF_INIT;

    made_tail_parts(&tail, &json, "running");
    must(buf_append_be16(&b, (uint16_t)json.len, &m->err), &m->err);
    must(buf_append(&b, json.data, json.len, &m->err), &m->err);
    must(buf_append(&b, tail.data, tail.len, &m->err), &m->err);
    seed(m, "vmdesc", "machine", &b);
}

/* Two packets of two pages and a zero one, and a sync point. */
static void seed_channel(struct maker *m, enum multifd_method method)
{
    static const pgno_t pgno[] = {1, 2, 4};
    uint8_t header[MULTIFD_HEADER_BYTES] = {0};
    cleanup_buf struct buf b = BUF_INIT;
    uint8_t pages[2 * PAGE_BYTES];
    struct deflater d;

    deflater_init(&d, method == MULTIFD_ZSTD);
    make_hello(header, 1, NULL);
    must(buf_append(&b, header, QEMU_MULTIFD_HELLO_BYTES, &m->err), &m->err);
    for (uint32_t i = 0; i < 2; i++) {
        cleanup_buf struct buf packed = BUF_INIT;
        struct made_packet p = {.flags = method << 1 | i,
                                .n_data = 2,
                                .n_zero = 1,
                                .block = "pc.ram",
                                .pgno = pgno};

        fill_page(pages, 0, 1, i);
        fill_page(pages + PAGE_BYTES, 0, 2, i);
        if (method == MULTIFD_NONE)
            must(buf_append(&packed, pages, sizeof(pages), &m->err), &m->err);
        else
            deflater_put(&d, pages, sizeof(pages), &packed);
        p.payload_bytes = (uint32_t)packed.len;
        make_header(header, &p);
        must(buf_append(&b, header, sizeof(header), &m->err), &m->err);
        must(buf_append(&b, packed.data, packed.len, &m->err), &m->err);
    }
    deflater_release(&d);
    seed(m, "multifd_packet", multifd_method_name(method), &b);
}

int main(int argc, char **argv)
{
    struct maker m = {.folder = argv[1]};

    if (argc != 3)
        return 2;
    mkdir(m.folder, 0777);
    seed_streams(&m);
    seed_return_path(&m);
    seed_commands(&m);
    seed_delta(&m);
    seed_description(&m);
    seed_channel(&m, MULTIFD_NONE);
    seed_channel(&m, MULTIFD_ZLIB);
    seed_channel(&m, MULTIFD_ZSTD);
    write_file(argv[2], "", 0);
    return 0;
}

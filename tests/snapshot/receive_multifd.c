/*
 * receive_multifd FILE METHOD OUTDIR: plays a captured multifd migration to
 * the receivers (FILE holds its connections, each behind its length, the main
 * one first), writes each RAM block to OUTDIR/N.block and what was learned to
 * standard output as JSON. Compared by golden_multifd.py with what is known.
 */
#include <sys/socket.h>

#include "core/base/bytes.h"
#include "core/base/channel.h"
#include "core/base/clock.h"
#include "core/base/cursor.h"
#include "core/base/json.h"
#include "snapshot/stream_receiver.h"
#include "tests/core/wire/stream_maker.h"
#include "tests/fakes/fake_store.h"

#define IN_A_WHILE (clock_monotonic_ns() + 60 * NS_PER_SEC)

struct player {
    struct buf file;
    struct cursor connections[1 + MULTIFD_CHANNELS_MAX];
    unsigned n;
    char path[256];
    int listen_fd;
    int fds[1 + MULTIFD_CHANNELS_MAX];
    enum multifd_method method;
    struct stopper work;
    struct stopper calm;
    struct snapshot_writer *store;
    struct page_writer *pages;
    struct multifd_receiver *multifd;
    struct stream_receiver *receiver;
    struct worker_group group;
    struct error err;
};

static void cancel(void *arg)
{
    struct player *p = arg;

    stopper_pull(&p->work, ERR_CANCELLED);
    page_writer_cancel(p->pages);
    multifd_receiver_cancel(p->multifd);
}

static void read_file(struct player *p, const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t chunk[65536];
    struct cursor c;
    uint64_t len;
    size_t n;

    if (!f)
        abort();
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        must(buf_append(&p->file, chunk, n, &p->err), &p->err);
    fclose(f);
    c = cursor_of(p->file.data, p->file.len);
    while (p->n < ARRAY_LEN(p->connections) && cursor_be64(&c, &len)) {
        const uint8_t *data;

        if (!cursor_bytes(&c, len, &data))
            abort();
        p->connections[p->n++] = cursor_of(data, len);
    }
}

static void begin(struct player *p)
{
    struct snapshot_writer_args store = {.vm = "vm", .lanes = 2};
    struct multifd_receiver_args multifd = {
        .stop = &p->work, .n_channels = p->n - 1, .method = p->method};
    struct stream_receiver_args args = {.stop = &p->work,
                                        .spool_fd = -1,
                                        .n_channels = p->n - 1,
                                        .accept_deadline_ns = IN_A_WHILE};
    struct error *e = &p->err;

    must(stopper_init(&p->work, e), e);
    must(stopper_init(&p->calm, e), e);
    must(snapshot_writer_new(&store, &p->store, e), e);
    must(page_writer_new(p->store, 2, &p->pages, e), e);
    must(channel_listen(p->path, 32, &p->listen_fd, e), e);
    /* The main one last: nobody may rely on an order. */
    for (unsigned i = p->n; i-- > 0;)
        must(channel_connect(p->path, &p->fds[i], e), e);
    args.pages = multifd.pages = p->pages;
    args.store = multifd.store = p->store;
    args.listen_fd = p->listen_fd;
    must(multifd_receiver_new(&multifd, &p->multifd, e), e);
    args.multifd = p->multifd;
    must(stream_receiver_new(&args, &p->receiver, e), e);
    worker_group_init(&p->group, cancel, p);
    must(page_writer_start(p->pages, &p->group, e), e);
    must(multifd_receiver_start(p->multifd, &p->group, e), e);
    must(worker_start(&p->group, "receiver", stream_receiver_main, p->receiver,
                      e),
         e);
}

static void send_part(struct player *p, unsigned i, size_t from, size_t to)
{
    must(channel_write(p->fds[i], p->connections[i].data + from,
                       MIN(to, p->connections[i].len) - from, &p->calm,
                       IN_A_WHILE, &p->err),
         &p->err);
}

/* What makes each known, then all of the main one (it has the blocks), then
 * the channels one after the other, backwards. */
static void play(struct player *p)
{
    for (unsigned i = 0; i < p->n; i++)
        send_part(p, i, 0, 8);
    send_part(p, 0, 8, SIZE_MAX);
    for (unsigned i = p->n; i-- > 1;)
        send_part(p, i, 8, SIZE_MAX);
}

/* PONG and SHUT, then the close of our side. */
static void end(struct player *p)
{
    uint8_t heard[16];
    size_t got = 0;

    while (got < sizeof(heard)) {
        size_t n = 0;

        must(channel_read(p->fds[0], heard + got, sizeof(heard) - got, &p->calm,
                          IN_A_WHILE, &n, &p->err),
             &p->err);
        if (n == 0)
            break;
        got += n;
    }
    for (unsigned i = 0; i < p->n; i++)
        close(p->fds[i]);
    must(worker_group_join(&p->group, &p->err), &p->err);
}

static json_t *write_blocks(const struct ramblock_list *l, const char *outdir)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < l->n; i++) {
        static const uint8_t zero[PAGE_BYTES];
        int unseen = 0;
        char path[4096];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%u.block", outdir, i);
        f = fopen(path, "wb");
        for (pgno_t n = 0; f && n < ramblock_pages(&l->blocks[i]); n++) {
            const uint8_t *page = fake_store_page(i, n);

            unseen += !page;
            if (fwrite(page ? page : zero, PAGE_BYTES, 1, f) != 1)
                abort();
        }
        if (!f || fclose(f) != 0)
            abort();
        json_array_append_new(
            list, json_pack("{s:s, s:I, s:i}", "name", l->blocks[i].idstr,
                            "bytes", (json_int_t)l->blocks[i].used_bytes,
                            "pages_unseen", unseen));
    }
    return list;
}

static void print_facts(struct player *p, const char *outdir)
{
    const struct stream_decoder *d = stream_receiver_decoder(p->receiver);
    json_t *facts =
        json_pack("{s:s, s:s, s:b, s:i, s:i, s:I, s:o, s:s}", "machine",
                  stream_decoder_config(d)->machine, "run_state",
                  stream_decoder_device_state(d)->run_state,
                  "marks_are_flushes", (int)stream_decoder_flush_in_setup(d),
                  "devices", (int)stream_decoder_device_state(d)->n_sections,
                  "zero_records", (int)stream_decoder_stats(d)->zero_pages,
                  "received", (json_int_t)stream_receiver_bytes(p->receiver),
                  "blocks", write_blocks(stream_decoder_blocks(d), outdir),
                  "broken", fake_store.broken);

    json_dumpf(facts, stdout, JSON_INDENT(1));
    json_decref(facts);
}

int main(int argc, char **argv)
{
    struct player p = {.n = 0};

    if (argc != 4)
        return 2;
    while (strcmp(multifd_method_name(p.method), argv[2]) != 0) {
        if (++p.method > MULTIFD_ZSTD)
            return 2;
    }
    snprintf(p.path, sizeof(p.path), "%s/socket", argv[3]);
    fake_store_reset();
    read_file(&p, argv[1]);
    begin(&p);
    play(&p);
    end(&p);
    print_facts(&p, argv[3]);
    stream_receiver_free(p.receiver);
    multifd_receiver_free(p.multifd);
    page_writer_free(p.pages);
    snapshot_writer_free(p.store);
    fake_store_reset();
    stopper_release(&p.work);
    stopper_release(&p.calm);
    close(p.listen_fd);
    buf_release(&p.file);
    return 0;
}

/*
 * Header, CONFIG, block list, one RAM section, the device sections as they
 * were captured, EOF, the description. QEMU waits for the description before
 * it starts the VM. No return path: that QEMU closes the socket is the sign
 * that it has read all; whether the load succeeded, QMP tells.
 *
 * Fresh anonymous memory is zero, so zero pages could be left out; but ROM
 * blocks, files and RAM into which a kernel was loaded hold something. So
 * they are left out only in a block of which the caller knows better.
 *
 * Pages may come in any order: first those that the stock brings, then one pass
 * over the index for zero pages, and for whatever else was not sent.
 */
#include "restore/pages/precopy_sender.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "core/base/channel.h"
#include "core/base/throttle.h"
#include "core/wire/stream_encoder.h"
#include "restore/pages/page_sender.h"
#include "restore/pages/page_stock.h"

struct feed {
    const struct precopy_args *args;
    struct page_sender *sender;
    struct page_queue *queue; /* which pages were sent */
    struct page_stock *stock; /* NULL: none */
    struct throttle throttle;
    int ready;           /* eventfd: the stock has something */
    struct stopper stop; /* never pulled: waits end with the socket */
};

static int write_prologue(struct feed *f, struct error *err)
{
    const struct precopy_args *a = f->args;
    cleanup_buf struct buf b = BUF_INIT;
    int rc = stream_put_header(&b, err);

    if (rc == 0)
        rc = stream_put_config(&b, a->config, err);
    if (rc == 0)
        rc = stream_put_ram_setup(&b, a->ram_section_id, a->blocks, false, err);
    if (rc == 0)
        rc = stream_put_ram_section(&b, a->ram_section_id, false, err);
    return rc < 0 ? rc : page_sender_write(f->sender, &b, err);
}

static int flush(struct feed *f, struct error *err)
{
    uint64_t before = page_sender_stats(f->sender)->data_pages;
    int rc = page_sender_flush(f->sender, err);
    uint64_t pages = page_sender_stats(f->sender)->data_pages - before;

    return rc < 0
               ? rc
               : throttle_take(&f->throttle, pages * PAGE_BYTES, &f->stop, err);
}

/* ---- From the stock ---- */

static void on_ready(void *arg)
{
    static const uint64_t one = 1;
    const struct feed *f = arg;

    if (write(f->ready, &one, sizeof(one)) < 0) {
        /* Full: it is readable already. */
    }
}

static int await_stock(struct feed *f, struct error *err)
{
    uint64_t count;
    int rc = stopper_wait(&f->stop, f->ready, POLLIN, 0, err);

    if (rc == 0 && read(f->ready, &count, sizeof(count)) < 0) {
        /* Somebody was faster; there is nobody else. */
    }
    return rc;
}

static int send_batch(struct feed *f, const struct stock_batch *b,
                      struct error *err)
{
    if (b->why.code != 0)
        return error_copy(err, &b->why);
    for (size_t i = 0; i < b->n; i++) {
        const struct stock_page *p = &b->pages[i];
        struct page_unit unit;
        int rc = 0;

        if (!page_queue_take(f->queue, p->block, p->pgno, b->turn, &unit))
            continue;
        page_sender_add_brought(f->sender, &unit,
                                page_queue_idstr(f->queue, p->block), &p->data);
        if (page_sender_full(f->sender))
            rc = flush(f, err);
        if (rc < 0)
            return rc;
    }
    return page_sender_empty(f->sender) ? 0 : flush(f, err);
}

static int send_stock(struct feed *f, struct error *err)
{
    int rc = 0;

    while (rc == 0) {
        const struct stock_batch *b = page_stock_take(f->stock, PAGE_TURN_FILL);

        if (b) {
            rc = send_batch(f, b, err);
            page_stock_give(f->stock, b);
        } else if (page_stock_done(f->stock)) {
            break;
        } else {
            rc = await_stock(f, err);
        }
    }
    return rc;
}

/* ---- Page by page ---- */

static int send_page(struct feed *f, uint32_t block, pgno_t pgno,
                     struct error *err)
{
    struct page_unit unit;
    int rc;

    if (!page_queue_take(f->queue, block, pgno, PAGE_TURN_FILL, &unit))
        return 0;
    rc = page_sender_add(f->sender, &unit, page_queue_idstr(f->queue, block),
                         err);
    if (rc == 0 && page_sender_full(f->sender))
        rc = flush(f, err);
    return rc;
}

static int send_block(struct feed *f, uint32_t block, struct error *err)
{
    const struct page_source *source = f->args->source;
    const struct ramblock *b = &f->args->blocks->blocks[block];
    bool zeroed =
        f->args->zeroed_block && strcmp(f->args->zeroed_block, b->idstr) == 0;
    pgno_t pages = ramblock_pages(b);

    for (pgno_t pgno = 0; pgno < pages; pgno++) {
        int rc = 0;

        if (zeroed)
            rc = source->next_data(source->arg, block, pgno, &pgno, err);
        if (rc == 0 && pgno < pages)
            rc = send_page(f, block, pgno, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int write_rest(struct feed *f, struct error *err)
{
    const struct precopy_args *a = f->args;
    cleanup_buf struct buf b = BUF_INIT;
    int rc = stream_put_ram_section_end(&b, a->ram_section_id, err);

    if (rc == 0)
        rc = buf_append(&b, a->devices->tail.data, a->devices->tail.len, err);
    if (rc == 0)
        rc = stream_put_eof(&b, err);
    if (rc == 0)
        rc = stream_put_vmdesc(&b, &a->devices->vmdesc, err);
    return rc < 0 ? rc : page_sender_write(f->sender, &b, err);
}

/* QEMU says nothing on this socket: the next thing to read is its end. */
static int await_close(struct feed *f, struct error *err)
{
    uint8_t byte;
    size_t n;
    int rc = channel_read(f->args->fd, &byte, 1, &f->stop, 0, &n, err);

    if (rc == 0 && n > 0)
        return fail(err, ERR_PROTOCOL, "QEMU spoke where it should be silent");
    return rc;
}

static int send_all(struct feed *f, struct error *err)
{
    int rc = write_prologue(f, err);

    if (rc == 0 && f->stock)
        rc = send_stock(f, err);
    for (uint32_t i = 0; rc == 0 && i < f->args->blocks->n; i++)
        rc = send_block(f, i, err);
    if (rc == 0 && !page_sender_empty(f->sender))
        rc = flush(f, err);
    if (rc == 0)
        rc = write_rest(f, err);
    if (rc == 0)
        rc = await_close(f, err);
    return rc;
}

/* Pages of 4 KiB, whatever QEMU's memory is made of: it is not placed in whole
 * host pages here. */
static int make_queue(struct feed *f, struct error *err)
{
    const struct ramblock_list *list = f->args->blocks;
    cleanup_free struct page_queue_block *blocks =
        calloc(MAX(list->n, 1u), sizeof(*blocks));
    struct page_queue_args args = {
        .blocks = blocks,
        .n = list->n,
        .next_data = f->args->source->next_data,
        .arg = f->args->source->arg,
    };

    if (!blocks)
        return fail_nomem(err);
    for (uint32_t i = 0; i < list->n; i++)
        blocks[i] = (struct page_queue_block){
            .idstr = list->blocks[i].idstr,
            .pages = ramblock_pages(&list->blocks[i]),
            .unit_pages = 1,
        };
    return page_queue_new(&args, &f->queue, err);
}

static int set_up(struct feed *f, struct error *err)
{
    struct page_sender_args sender = {
        .fd = f->args->fd,
        .source = f->args->source,
        .stop = &f->stop,
        .max_unit_pages = 1,
    };
    struct page_stock_args stock = {
        .frames = f->args->frames,
        .fill = true,
        .ready = on_ready,
        .arg = f,
    };
    int rc = stopper_init(&f->stop, err);

    throttle_init(&f->throttle, f->args->max_bandwidth);
    if (rc == 0)
        rc = page_sender_new(&sender, &f->sender, err);
    if (rc == 0)
        rc = make_queue(f, err);
    if (rc < 0 || !stock.frames)
        return rc;
    f->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (f->ready < 0)
        return fail_errno(err, ERR_IO, "eventfd failed");
    stock.queue = f->queue;
    return page_stock_new(&stock, &f->stock, err);
}

int precopy_send(const struct precopy_args *args, uint64_t *ret_pages,
                 struct error *err)
{
    struct feed f = {.args = args, .stop = {.fd = -1}, .ready = -1};
    int rc = set_up(&f, err);

    if (rc == 0)
        rc = send_all(&f, err);
    if (rc == 0)
        *ret_pages = page_sender_stats(f.sender)->data_pages;
    page_stock_free(f.stock);
    page_sender_free(f.sender);
    page_queue_free(f.queue);
    if (f.ready >= 0)
        close(f.ready);
    stopper_release(&f.stop);
    return rc;
}

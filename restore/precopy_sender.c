/*
 * Header, CONFIG, block list, one RAM section, the device sections as they
 * were captured, EOF, the description. QEMU waits for the description before
 * it starts the VM. No return path: that QEMU closes the socket is the sign
 * that it has read all; whether the load succeeded, QMP tells.
 *
 * Fresh anonymous memory is zero, so zero pages could be left out; but ROM
 * blocks, files and RAM into which a kernel was loaded hold something. So
 * they are left out only in a block of which the caller knows better.
 */
#include "restore/precopy_sender.h"

#include <sys/socket.h>

#include "core/base/channel.h"
#include "core/wire/stream_encoder.h"
#include "restore/page_sender.h"

struct feed {
    const struct precopy_args *args;
    struct page_sender *sender;
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

static int send_page(struct feed *f, uint32_t block, pgno_t pgno,
                     struct error *err)
{
    struct page_unit unit = {
        .turn = PAGE_TURN_FILL,
        .known = true,
        .block = block,
        .first = pgno,
        .pages = 1,
    };
    int rc = page_sender_add(f->sender, &unit,
                             f->args->blocks->blocks[block].idstr, err);

    if (rc == 0 && page_sender_full(f->sender))
        rc = page_sender_flush(f->sender, err);
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

    for (uint32_t i = 0; rc == 0 && i < f->args->blocks->n; i++)
        rc = send_block(f, i, err);
    if (rc == 0 && !page_sender_empty(f->sender))
        rc = page_sender_flush(f->sender, err);
    if (rc == 0)
        rc = write_rest(f, err);
    if (rc == 0)
        rc = await_close(f, err);
    return rc;
}

int precopy_send(const struct precopy_args *args, uint64_t *ret_pages,
                 struct error *err)
{
    struct feed f = {.args = args, .stop = {.fd = -1}};
    struct page_sender_args sender_args = {
        .fd = args->fd,
        .source = args->source,
        .stop = &f.stop,
        .max_unit_pages = 1,
    };
    int rc = stopper_init(&f.stop, err);

    if (rc == 0)
        rc = page_sender_new(&sender_args, &f.sender, err);
    if (rc == 0)
        rc = send_all(&f, err);
    if (rc == 0)
        *ret_pages = page_sender_stats(f.sender)->data_pages;
    page_sender_free(f.sender);
    stopper_release(&f.stop);
    return rc;
}

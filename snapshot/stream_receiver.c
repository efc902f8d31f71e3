#include "snapshot/stream_receiver.h"

#include <fcntl.h>
#include <stdatomic.h>

#include "core/base/bytes.h"
#include "core/base/channel.h"
#include "core/base/clock.h"
#include "core/wire/return_path.h"
#include "snapshot/qemu_connections.h"

#define LOG_AREA "receiver"
#include "core/base/log.h"

#define READ_BYTES ((size_t)1 << 20)

/* Commands of the stream that ask something of its receiver. */
#define COMMAND_OPEN_RETURN_PATH 1u
#define COMMAND_PING             2u

/* SHUT with any value but 0 says "failed". */
#define SHUT_FAILED 1u

/* How long QEMU may take to close after SHUT. */
#define CLOSE_WAIT_NS (10 * NS_PER_SEC)

/* How long the channels may need for what QEMU has sent before the end of the
 * main stream; the VM stands still. */
#define CHANNELS_WAIT_NS (30 * NS_PER_SEC)

/* How often a spool is looked at when QEMU has written nothing new. */
#define SPOOL_PAUSE_NS (5 * NS_PER_MS)

/* Space behind the reader is given back in pieces of this many bytes. */
#define PUNCH_BYTES (UINT64_C(16) << 20)

struct stream_receiver {
    /* set before the thread starts, then read only */
    struct stream_receiver_args args;
    struct stream_decoder *decoder;
    uint8_t *bytes_read;
    struct stopper over; /* pulled at the end, to wake who waits for it */

    /* only the receiver thread */
    int fd;
    bool return_path;
    struct page_packer packer;

    /* counters and flags: written by the receiver (spool_done by the owner),
     * read by anybody; no order between them is relied on, but for `proved`,
     * which is set before SHUT is sent */
    _Atomic uint64_t n_bytes;
    _Atomic uint64_t ram_bytes;
    _Atomic bool connected;
    _Atomic bool proved;
    _Atomic bool cut;
    _Atomic bool spool_done;
};

/* QEMU closed, and not because we did. */
static void note_cut(struct stream_receiver *r)
{
    r->cut = !stopper_pulled(r->args.stop) &&
             !(r->args.multifd && multifd_receiver_cancelled(r->args.multifd));
}

/* What the decoder tells. */

static int on_command(void *arg, uint16_t command, const uint8_t *body,
                      uint16_t len, struct error *err)
{
    struct stream_receiver *r = arg;
    cleanup_buf struct buf answer = BUF_INIT;
    int rc;

    if (command == COMMAND_OPEN_RETURN_PATH)
        r->return_path = true;
    if (command != COMMAND_PING)
        return 0;
    if (len != 4 || !r->return_path)
        return fail(err, ERR_PROTOCOL, "a PING of %u bytes%s", len,
                    r->return_path ? "" : " without a return path");
    rc = return_path_put_pong(&answer, load_be32(body), err);
    if (rc == 0)
        rc =
            channel_write(r->fd, answer.data, answer.len, r->args.stop, 0, err);
    if (rc == ERR_PEER)
        note_cut(r);
    return rc;
}

static int on_blocks(void *arg, const struct ramblock_list *blocks,
                     struct error *err)
{
    struct stream_receiver *r = arg;
    int rc = snapshot_writer_set_blocks(r->args.store, blocks, err);

    r->ram_bytes = ramblock_list_total_bytes(blocks);
    if (rc == 0 && r->args.faults)
        rc = fault_order_init(r->args.faults, blocks, err);
    if (rc == 0 && r->args.multifd)
        multifd_receiver_set_blocks(r->args.multifd, blocks);
    return rc;
}

static int on_page(void *arg, uint32_t block, pgno_t pgno, const uint8_t *data,
                   struct error *err)
{
    struct stream_receiver *r = arg;

    if (r->args.faults)
        fault_order_page(r->args.faults, block, pgno);
    return page_packer_add(&r->packer, block, pgno, data, err);
}

static int on_zero_page(void *arg, uint32_t block, pgno_t pgno,
                        struct error *err)
{
    struct stream_receiver *r = arg;

    if (r->args.faults)
        fault_order_page(r->args.faults, block, pgno);
    return page_packer_add(&r->packer, block, pgno, NULL, err);
}

/* Nobody waits while the VM does. */
static void on_last_section(void *arg)
{
    struct stream_receiver *r = arg;

    if (r->args.throttle)
        throttle_open(r->args.throttle);
}

static int sync_point(struct stream_receiver *r, struct error *err)
{
    if (r->args.multifd)
        multifd_receiver_mark(r->args.multifd);
    return page_packer_flush(&r->packer, err);
}

/* With channels the end of a section is a sync point only where START held no
 * flush: there it is at the flushes. */
static int on_section_end(void *arg, struct error *err)
{
    struct stream_receiver *r = arg;

    if (r->args.multifd && stream_decoder_flush_in_setup(r->decoder))
        return 0;
    return sync_point(r, err);
}

/* 8.1 sends flushes without channels as well: they mean nothing then. */
static int on_multifd_flush(void *arg, struct error *err)
{
    struct stream_receiver *r = arg;

    if (!r->args.multifd || !stream_decoder_flush_in_setup(r->decoder))
        return 0;
    return sync_point(r, err);
}

static int on_ram_end(void *arg, struct error *err)
{
    return 0;
}

static const struct stream_decoder_ops decoder_ops = {
    .command = on_command,
    .blocks = on_blocks,
    .page = on_page,
    .zero_page = on_zero_page,
    .last_section = on_last_section,
    .section_end = on_section_end,
    .multifd_flush = on_multifd_flush,
    .ram_end = on_ram_end,
};

int stream_receiver_new(const struct stream_receiver_args *args,
                        struct stream_receiver **ret, struct error *err)
{
    cleanup(stream_receiver) struct stream_receiver *r = calloc(1, sizeof(*r));
    int rc;

    assert((args->listen_fd < 0) != (args->spool_fd < 0));
    if (!r)
        return fail_nomem(err);
    r->args = *args;
    r->fd = -1;
    r->over.fd = -1;
    page_packer_init(&r->packer, args->pages);
    r->bytes_read = malloc(READ_BYTES);
    if (!r->bytes_read)
        return fail_nomem(err);
    rc = stopper_init(&r->over, err);
    if (rc == 0)
        rc = stream_decoder_new(&decoder_ops, r, &r->decoder, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&r);
    return 0;
}

void stream_receiver_free(struct stream_receiver *r)
{
    if (!r)
        return;
    page_packer_release(&r->packer);
    stream_decoder_free(r->decoder);
    if (r->fd >= 0)
        close(r->fd);
    stopper_release(&r->over);
    free(r->bytes_read);
    free(r);
}

static int feed(struct stream_receiver *r, size_t n, struct error *err)
{
    int rc;

    r->n_bytes += n;
    rc = stream_decoder_feed(r->decoder, r->bytes_read, n, err);
    if (rc < 0 || !r->args.throttle)
        return rc;
    /* Little beside the channels, and the word that the VM stands still. */
    if (r->args.multifd) {
        throttle_take_urgent(r->args.throttle, n);
        return 0;
    }
    return throttle_take(r->args.throttle, n, r->args.stop, err);
}

static int prove(struct stream_receiver *r, struct error *err)
{
    r->proved = true;
    return r->args.proved ? r->args.proved(r->args.arg, err) : 0;
}

/* A stream. */

static int accept_qemu(struct stream_receiver *r, struct error *err)
{
    int channels[MULTIFD_CHANNELS_MAX];
    int rc = qemu_connections_accept(r->args.listen_fd, r->args.n_channels,
                                     r->args.stop, r->args.accept_deadline_ns,
                                     &r->fd, channels, err);

    if (rc < 0)
        return rc;
    if (r->args.multifd)
        multifd_receiver_connect(r->args.multifd, channels,
                                 r->args.accept_deadline_ns);
    r->connected = true;
    return 0;
}

static int send_shut(struct stream_receiver *r, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc = return_path_put_shut(&b, SHUT_FAILED, err);

    if (rc < 0)
        return rc;
    return channel_write(r->fd, b.data, b.len, r->args.stop, 0, err);
}

/* The connection stays until QEMU has let go of it: it might take a close
 * before SHUT was read for an error of another kind. Everything of the stream
 * is here, so whatever happens now does not matter to the capture. */
static void await_close(struct stream_receiver *r)
{
    uint64_t deadline_ns = clock_monotonic_ns() + CLOSE_WAIT_NS;
    struct error ignored = ERROR_INIT;
    size_t n = 1;

    while (n > 0) {
        if (channel_read(r->fd, r->bytes_read, READ_BYTES, r->args.stop,
                         deadline_ns, &n, &ignored) < 0)
            break;
    }
}

/* QEMU wrote everything of the channels before the end of the main stream;
 * what is still on its way must arrive before the VM may go on. */
static int await_channels(struct stream_receiver *r, struct error *err)
{
    if (!r->args.multifd)
        return 0;
    return multifd_receiver_await(r->args.multifd,
                                  clock_monotonic_ns() + CHANNELS_WAIT_NS, err);
}

static int end_stream(struct stream_receiver *r, struct error *err)
{
    int rc = await_channels(r, err);

    if (rc == 0)
        rc = prove(r, err);
    if (rc == 0)
        rc = page_packer_flush(&r->packer, err);
    if (rc == 0 && r->return_path)
        rc = send_shut(r, err);
    if (rc == 0)
        await_close(r);
    if (r->args.multifd)
        multifd_receiver_finish(r->args.multifd);
    return rc;
}

static int receive_stream(struct stream_receiver *r, struct error *err)
{
    int rc = accept_qemu(r, err);

    while (rc == 0) {
        size_t n = 0;

        rc = channel_read(r->fd, r->bytes_read, READ_BYTES, r->args.stop, 0, &n,
                          err);
        if (rc == 0 && n == 0) {
            rc = stream_decoder_finish(r->decoder, err);
            if (rc < 0)
                note_cut(r);
            return rc < 0 ? rc : end_stream(r, err);
        }
        if (rc == 0)
            rc = feed(r, n, err);
        if (rc == 0 && r->return_path && stream_decoder_complete(r->decoder))
            return end_stream(r, err);
    }
    return rc;
}

/* A spool. */

/* Gives back what was read, so that the spool need not live beside all of the
 * packs. Not every file system can; then it stays until the end. */
static void punch(struct stream_receiver *r, uint64_t *punched, uint64_t upto)
{
    uint64_t len = (upto - *punched) / PUNCH_BYTES * PUNCH_BYTES;

    if (len == 0)
        return;
    if (fallocate(r->args.spool_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)*punched, (off_t)len) < 0)
        log_debug("holes cannot be punched into the spool");
    *punched += len;
}

static int pause_a_moment(struct stream_receiver *r, struct error *err)
{
    int rc = stopper_wait(r->args.stop, -1, 0,
                          clock_monotonic_ns() + SPOOL_PAUSE_NS, err);

    return rc == ERR_TIMEOUT && !stopper_pulled(r->args.stop) ? 0 : rc;
}

static int finish_spool(struct stream_receiver *r, struct error *err)
{
    int rc = stream_decoder_finish(r->decoder, err);

    if (rc == 0)
        rc = prove(r, err);
    return rc < 0 ? rc : page_packer_flush(&r->packer, err);
}

static int receive_spool(struct stream_receiver *r, struct error *err)
{
    uint64_t offset = 0;
    uint64_t punched = 0;
    int rc = 0;

    while (rc == 0) {
        /* Asked first: what QEMU wrote before it said so is then seen. */
        bool all_written = r->spool_done;
        ssize_t n =
            pread(r->args.spool_fd, r->bytes_read, READ_BYTES, (off_t)offset);

        if (n < 0)
            return fail_errno(err, ERR_IO, "cannot read the spool file");
        if (n == 0 && all_written)
            return finish_spool(r, err);
        if (n == 0) {
            rc = pause_a_moment(r, err);
            continue;
        }
        if (stopper_pulled(r->args.stop))
            return stopper_error(r->args.stop, err);
        rc = feed(r, (size_t)n, err);
        offset += (uint64_t)n;
        punch(r, &punched, offset);
    }
    return rc;
}

/* At once, whatever the writers still do: QEMU may hold its VM, and its
 * monitor, until the other end of the return path is closed. */
static void disconnect(struct stream_receiver *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
}

int stream_receiver_main(void *arg, struct error *err)
{
    struct stream_receiver *r = arg;
    int rc =
        r->args.listen_fd >= 0 ? receive_stream(r, err) : receive_spool(r, err);

    snapshot_writer_spent(r->args.store, CPU_RECEIVE, clock_thread_cpu_ns());
    if (rc == 0)
        page_writer_close(r->args.pages);
    /* In this order: who sees QEMU fail because of our close knows whose
     * fault it is. */
    stopper_pull(&r->over, ERR_CANCELLED);
    if (rc < 0 && r->args.multifd)
        multifd_receiver_cancel(r->args.multifd);
    disconnect(r);
    return rc;
}

void stream_receiver_spool_done(struct stream_receiver *r)
{
    r->spool_done = true;
}

uint64_t stream_receiver_bytes(struct stream_receiver *r)
{
    return r->n_bytes +
           (r->args.multifd ? multifd_receiver_bytes(r->args.multifd) : 0);
}

uint64_t stream_receiver_ram_bytes(struct stream_receiver *r)
{
    return r->ram_bytes;
}

bool stream_receiver_connected(struct stream_receiver *r)
{
    return r->connected;
}

bool stream_receiver_proved(struct stream_receiver *r)
{
    return r->proved;
}

bool stream_receiver_ended(struct stream_receiver *r)
{
    return stopper_pulled(&r->over);
}

int stream_receiver_fd(struct stream_receiver *r)
{
    return stopper_fd(&r->over);
}

bool stream_receiver_cut(struct stream_receiver *r)
{
    return r->cut || (r->args.multifd && multifd_receiver_cut(r->args.multifd));
}

const struct stream_decoder *
stream_receiver_decoder(const struct stream_receiver *r)
{
    return r->decoder;
}

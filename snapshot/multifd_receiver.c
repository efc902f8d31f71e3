/*
 * multifd_receiver.c - a thread a channel, and a table of how far each has
 * come.
 *
 * A channel's thread works alone: header, pages, payload, submit. It takes the
 * lock only at the few instants that concern all: when it is connected, when it
 * says hello (QEMU numbers its channels, the order of connecting does not),
 * once for the block list, and at each sync point.
 *
 * An error of one channel ends them all, and QEMU answers by closing the rest:
 * so only a channel that was cut while nobody had failed or cancelled counts as
 * QEMU's own doing (`cut`), which is what the user is told.
 */
#include "snapshot/multifd_receiver.h"

#include <stdatomic.h>
#include <sys/socket.h>

#include "core/base/channel.h"
#include "core/base/clock.h"
#include "core/codec/inflater.h"
#include "snapshot/sync_points.h"

#define LOG_AREA "multifd"
#include "core/base/log.h"

struct channel {
    struct multifd_receiver *owner; /* set before the thread starts */
    unsigned slot;                  /* its place in the owner's table */

    /* only the channel's thread */
    int fd;          /* the owner's; it is closed there */
    unsigned number; /* as QEMU counts; the slot, until it has said hello */
    uint64_t offset; /* bytes read */
    uint64_t epoch;  /* SYNC packets read */
    const struct ramblock_list *blocks;
    struct inflater *inflater; /* made for the first compressed packet */
    uint8_t *payload;          /* of MULTIFD_PAYLOAD_MAX, with a method */
    struct multifd_packet packet;
    uint8_t header[MULTIFD_HEADER_BYTES];
};

struct multifd_receiver {
    /* set before the threads start, then read only */
    struct multifd_receiver_args args;

    /* each by its own thread */
    struct channel channels[MULTIFD_CHANNELS_MAX];

    /* protected by `lock` */
    struct lock lock; /* everything below, but for the counters */
    struct condition changed;
    struct sync_points sync; /* by QEMU's numbers */
    int fds[MULTIFD_CHANNELS_MAX];
    bool connected;
    bool greeted[MULTIFD_CHANNELS_MAX]; /* by QEMU's numbers */
    uint8_t uuid[16];                   /* of the first that said hello */
    uint64_t hello_deadline_ns;
    const struct ramblock_list *blocks;
    bool cancelled;
    bool failed; /* a channel, which is about to tell why */

    /* counters and flags: written by the channels, read by anybody */
    _Atomic uint64_t n_bytes;
    _Atomic bool cut;
};

int multifd_receiver_new(const struct multifd_receiver_args *args,
                         struct multifd_receiver **ret, struct error *err)
{
    struct multifd_receiver *m = calloc(1, sizeof(*m));

    assert(args->n_channels >= 1 && args->n_channels <= MULTIFD_CHANNELS_MAX);
    if (!m)
        return fail_nomem(err);
    m->args = *args;
    lock_init(&m->lock);
    condition_init(&m->changed);
    sync_points_init(&m->sync, args->n_channels);
    for (unsigned i = 0; i < MULTIFD_CHANNELS_MAX; i++) {
        m->fds[i] = -1;
        m->channels[i].owner = m;
        m->channels[i].slot = i;
        m->channels[i].number = i;
    }
    *ret = m;
    return 0;
}

void multifd_receiver_free(struct multifd_receiver *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < MULTIFD_CHANNELS_MAX; i++) {
        if (m->fds[i] >= 0)
            close(m->fds[i]);
        inflater_free(m->channels[i].inflater);
        free(m->channels[i].payload);
    }
    condition_release(&m->changed);
    lock_release(&m->lock);
    free(m);
}

/* Reading. */

/* Unless it is QEMU's answer to what we closed ourselves. */
static void note_cut(struct channel *c)
{
    struct multifd_receiver *m = c->owner;
    LOCK_SCOPE(&m->lock);

    if (!m->cancelled && !m->failed && !stopper_pulled(m->args.stop))
        m->cut = true;
}

/* Any number of bytes; *ret_n is less only at the end of the channel. */
static int read_bytes(struct channel *c, void *data, size_t len,
                      uint64_t deadline_ns, size_t *ret_n, struct error *err)
{
    *ret_n = 0;
    while (*ret_n < len) {
        size_t n = 0;
        int rc = channel_read(c->fd, (uint8_t *)data + *ret_n, len - *ret_n,
                              c->owner->args.stop, deadline_ns, &n, err);

        if (rc < 0)
            return rc;
        if (n == 0)
            break;
        *ret_n += n;
        c->owner->n_bytes += n;
    }
    return 0;
}

/* All of it: the channel must not end here. */
static int read_whole(struct channel *c, void *data, size_t len,
                      uint64_t deadline_ns, struct error *err)
{
    size_t n;
    int rc = read_bytes(c, data, len, deadline_ns, &n, err);

    if (rc < 0 || n == len)
        return rc;
    note_cut(c);
    return fail(err, ERR_PROTOCOL, "the channel ends %zu bytes too early",
                len - n);
}

/* Beginning. */

static bool await_connection(struct channel *c, uint64_t *ret_deadline_ns)
{
    struct multifd_receiver *m = c->owner;
    LOCK_SCOPE(&m->lock);

    while (!m->connected && !m->cancelled)
        condition_wait(&m->changed, &m->lock);
    c->fd = m->fds[c->slot];
    *ret_deadline_ns = m->hello_deadline_ns;
    return !m->cancelled;
}

static int note_hello(struct channel *c, const struct multifd_hello *hello,
                      struct error *err)
{
    struct multifd_receiver *m = c->owner;
    bool first = true;
    LOCK_SCOPE(&m->lock);

    for (unsigned i = 0; i < m->args.n_channels; i++)
        first = first && !m->greeted[i];
    if (first)
        memcpy(m->uuid, hello->uuid, sizeof(m->uuid));
    if (memcmp(m->uuid, hello->uuid, sizeof(m->uuid)) != 0)
        return fail(err, ERR_PROTOCOL, "the channels are of different VMs");
    if (m->greeted[hello->channel])
        return fail(err, ERR_PROTOCOL, "two channels are called %u",
                    hello->channel);
    m->greeted[hello->channel] = true;
    c->number = hello->channel;
    return 0;
}

static int read_hello(struct channel *c, uint64_t deadline_ns,
                      struct error *err)
{
    uint8_t bytes[QEMU_MULTIFD_HELLO_BYTES];
    struct multifd_hello hello;
    int rc = read_whole(c, bytes, sizeof(bytes), deadline_ns, err);

    if (rc == 0)
        rc = multifd_hello_read(bytes, c->owner->args.n_channels, &hello, err);
    if (rc == 0)
        rc = note_hello(c, &hello, err);
    if (rc < 0)
        return rc;
    c->offset = sizeof(bytes);
    return 0;
}

/* The first pages may be here before their blocks were read from the main
 * channel. QEMU writes the list before all pages, so it comes. */
static bool await_blocks(struct channel *c)
{
    struct multifd_receiver *m = c->owner;
    LOCK_SCOPE(&m->lock);

    while (!m->blocks && !m->cancelled)
        condition_wait(&m->changed, &m->lock);
    c->blocks = m->blocks;
    return !m->cancelled;
}

/* Packets. */

static int decompress(struct channel *c, struct page_packet *p,
                      struct error *err)
{
    const struct multifd_packet *packet = &c->packet;
    int rc = 0;

    if (!c->inflater)
        rc = inflater_new(packet->method == MULTIFD_ZLIB ? INFLATER_ZLIB
                                                         : INFLATER_ZSTD,
                          &c->inflater, err);
    if (rc == 0 && !c->payload)
        c->payload = malloc(MULTIFD_PAYLOAD_MAX);
    if (rc == 0 && !c->payload)
        rc = fail_nomem(err);
    if (rc == 0)
        rc = read_whole(c, c->payload, packet->payload_bytes, 0, err);
    if (rc < 0)
        return rc;
    return inflater_read(c->inflater, c->payload, packet->payload_bytes,
                         p->space, packet->n_data * (size_t)PAGE_BYTES, err);
}

static int read_payload(struct channel *c, struct page_packet *p,
                        struct error *err)
{
    if (c->packet.method != MULTIFD_NONE)
        return decompress(c, p, err);
    return read_whole(c, p->space, c->packet.payload_bytes, 0, err);
}

/* The packet's data pages or its zero pages to the writers. */
static int pass_on(struct channel *c, bool data, struct error *err)
{
    const struct multifd_packet *packet = &c->packet;
    struct page_writer *pages = c->owner->args.pages;
    struct page_packet *p = page_writer_take(pages, data, packet->block);
    int rc;

    if (!p)
        return page_writer_cancelled(err);
    p->batch.n = data ? packet->n_data : packet->n_zero;
    memcpy(p->batch.pgno, packet->pgno + (data ? 0 : packet->n_data),
           p->batch.n * sizeof(p->batch.pgno[0]));
    rc = data ? read_payload(c, p, err) : 0;
    if (rc < 0) {
        page_writer_give_back(pages, p);
        return rc;
    }
    return page_writer_submit(pages, p, c->epoch, err);
}

static int note_pages(struct channel *c, struct error *err)
{
    LOCK_SCOPE(&c->owner->lock);
    return sync_points_pages(&c->owner->sync, c->number, err);
}

static int note_sync(struct channel *c, struct error *err)
{
    LOCK_SCOPE(&c->owner->lock);
    c->epoch++;
    condition_wake_all(&c->owner->changed);
    return sync_points_pass(&c->owner->sync, c->number, err);
}

static int check_method(const struct channel *c, struct error *err)
{
    if (c->packet.n_data == 0 || c->packet.method == c->owner->args.method)
        return 0;
    return fail(err, ERR_PROTOCOL, "pages with method '%s', '%s' was asked for",
                multifd_method_name(c->packet.method),
                multifd_method_name(c->owner->args.method));
}

/* The pages first: what a SYNC packet carries lies before its sync point. */
static int take_packet(struct channel *c, struct error *err)
{
    const struct multifd_packet *p = &c->packet;
    int rc = multifd_packet_read(c->header, c->blocks, &c->packet, err);

    if (rc == 0)
        rc = check_method(c, err);
    if (rc == 0 && p->n_data + p->n_zero > 0)
        rc = note_pages(c, err);
    if (rc == 0 && p->n_data > 0)
        rc = pass_on(c, true, err);
    if (rc == 0 && p->n_zero > 0)
        rc = pass_on(c, false, err);
    if (rc == 0 && p->sync)
        rc = note_sync(c, err);
    if (rc == 0)
        c->offset += MULTIFD_HEADER_BYTES + p->payload_bytes;
    return rc;
}

/* False at the end of the channel, which proves nothing by itself. */
static int read_header(struct channel *c, bool *ret_any, struct error *err)
{
    size_t n;
    int rc = read_bytes(c, c->header, sizeof(c->header), 0, &n, err);

    *ret_any = n > 0;
    if (rc < 0 || n == 0 || n == sizeof(c->header))
        return rc;
    note_cut(c);
    return fail(err, ERR_PROTOCOL, "the channel ends within a packet's header");
}

/* Waits when the others and we have had more than our share of the time. */
static int keep_to_rate(struct channel *c, struct error *err)
{
    const struct multifd_receiver_args *args = &c->owner->args;

    if (!args->throttle)
        return 0;
    return throttle_take(args->throttle,
                         MULTIFD_HEADER_BYTES + c->packet.payload_bytes,
                         args->stop, err);
}

static int receive_packets(struct channel *c, struct error *err)
{
    bool any = true;
    int rc = 0;

    while (rc == 0 && any) {
        rc = read_header(c, &any, err);
        if (rc == 0 && any)
            rc = take_packet(c, err);
        if (rc == 0 && any)
            rc = keep_to_rate(c, err);
    }
    return rc;
}

/* QEMU closes all when one is closed too early; said first, so that nobody
 * takes that for QEMU's own doing. */
static void end_channel(struct channel *c, bool failed)
{
    struct multifd_receiver *m = c->owner;
    LOCK_SCOPE(&m->lock);

    sync_points_end(&m->sync, c->number);
    m->failed = m->failed || failed;
    if (m->fds[c->slot] >= 0)
        close(m->fds[c->slot]);
    m->fds[c->slot] = -1;
    condition_wake_all(&m->changed);
}

static int channel_main(void *arg, struct error *err)
{
    struct channel *c = arg;
    uint64_t deadline_ns;
    int rc = 0;

    if (!await_connection(c, &deadline_ns))
        return page_writer_cancelled(err);
    rc = read_hello(c, deadline_ns, err);
    if (rc == 0 && !await_blocks(c))
        rc = page_writer_cancelled(err);
    if (rc == 0)
        rc = receive_packets(c, err);
    end_channel(c, rc < 0);
    snapshot_writer_spent(c->owner->args.store, CPU_RECEIVE,
                          clock_thread_cpu_ns());
    log_debug("channel %u: %lu bytes, %lu sync points", c->number, c->offset,
              c->epoch);
    if (rc < 0)
        error_wrap(err, "multifd channel %u, packet at offset %lu", c->number,
                   c->offset);
    return rc;
}

/* The owner's side. */

int multifd_receiver_start(struct multifd_receiver *m,
                           struct worker_group *group, struct error *err)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < m->args.n_channels; i++) {
        char name[32];

        snprintf(name, sizeof(name), "channel %u", i);
        rc = worker_start(group, name, channel_main, &m->channels[i], err);
    }
    return rc;
}

void multifd_receiver_cancel(struct multifd_receiver *m)
{
    LOCK_SCOPE(&m->lock);

    m->cancelled = true;
    condition_wake_all(&m->changed);
}

void multifd_receiver_connect(struct multifd_receiver *m, const int *fds,
                              uint64_t hello_deadline_ns)
{
    LOCK_SCOPE(&m->lock);

    memcpy(m->fds, fds, m->args.n_channels * sizeof(*fds));
    m->hello_deadline_ns = hello_deadline_ns;
    m->connected = true;
    condition_wake_all(&m->changed);
}

void multifd_receiver_set_blocks(struct multifd_receiver *m,
                                 const struct ramblock_list *blocks)
{
    LOCK_SCOPE(&m->lock);

    m->blocks = blocks;
    condition_wake_all(&m->changed);
}

void multifd_receiver_mark(struct multifd_receiver *m)
{
    LOCK_SCOPE(&m->lock);

    sync_points_mark(&m->sync);
}

int multifd_receiver_await(struct multifd_receiver *m, uint64_t deadline_ns,
                           struct error *err)
{
    bool complete = false;
    LOCK_SCOPE(&m->lock);

    while (!complete) {
        int rc = 0;

        if (m->cancelled)
            rc = page_writer_cancelled(err);
        else if (!m->failed)
            rc = sync_points_check(&m->sync, &complete, err);
        if (rc < 0 || complete)
            return rc;
        if (!condition_wait_until(&m->changed, &m->lock, deadline_ns))
            return fail(err, ERR_PROTOCOL,
                        "a multifd channel did not come to its last sync point "
                        "in time");
    }
    return 0;
}

void multifd_receiver_finish(struct multifd_receiver *m)
{
    LOCK_SCOPE(&m->lock);

    for (unsigned i = 0; i < m->args.n_channels; i++) {
        if (m->fds[i] >= 0)
            shutdown(m->fds[i], SHUT_RD);
    }
}

uint64_t multifd_receiver_bytes(struct multifd_receiver *m)
{
    return m->n_bytes;
}

bool multifd_receiver_cancelled(struct multifd_receiver *m)
{
    LOCK_SCOPE(&m->lock);

    return m->cancelled || m->failed;
}

bool multifd_receiver_cut(struct multifd_receiver *m)
{
    return m->cut;
}

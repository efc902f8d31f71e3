/*
 * Three queues: packets with memory for pages, packets for zero pages (which
 * need none), and the work. The two empty ones are ordinary queues used as
 * pools: taking from an empty pool waits until a writer gives a packet back,
 * and cancelling them ends that wait like any other.
 *
 * Order: packets carry a sequence number and the store lets the higher one of
 * two contents win, so lanes need not wait for each other. Numbers are given
 * when a packet is submitted. One page may be in the data packet and another
 * in the zero packet; the same page in both would be a question of chance, and
 * that is why the producer flushes at each end of a section: within a section
 * QEMU sends a page once.
 */
#include "snapshot/page_writer.h"

#include <sys/mman.h>

#define DATA_PACKETS 16u
#define ZERO_PACKETS 32u
#define DATA_BYTES   ((size_t)PAGE_BATCH_MAX * PAGE_BYTES)

struct page_packet {
    struct queue_item item; /* first: the queues know only this */
    struct page_batch batch;
    uint8_t *space; /* of DATA_BYTES; NULL in a zero packet */
};

struct lane {
    struct page_writer *writer;
    unsigned number;
};

struct page_writer {
    /* set before the threads start, then read only */
    struct snapshot_writer *store;
    unsigned n_lanes;
    struct lane lanes[PAGE_WRITER_LANES_MAX];
    struct page_packet packets[DATA_PACKETS + ZERO_PACKETS];
    uint8_t *space; /* of all data packets */

    /* each with a lock of its own */
    struct queue empty_data;
    struct queue empty_zero;
    struct queue work;
};

unsigned page_writer_default_lanes(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (cores < 1)
        return 1;
    return (unsigned)MIN(cores, (long)PAGE_WRITER_LANES_MAX);
}

/* Packets are part of the writer: nothing to free when a queue drops one. */
static void drop_packet(struct queue_item *item)
{
    (void)item;
}

static void fill_pools(struct page_writer *w)
{
    for (size_t i = 0; i < ARRAY_LEN(w->packets); i++) {
        struct page_packet *p = &w->packets[i];
        bool put;

        if (i < DATA_PACKETS)
            p->space = w->space + i * DATA_BYTES;
        p->item.bytes = 1;
        put = queue_put(p->space ? &w->empty_data : &w->empty_zero, &p->item);
        assert(put);
        (void)put;
    }
}

int page_writer_new(struct snapshot_writer *store, unsigned lanes,
                    struct page_writer **ret, struct error *err)
{
    struct page_writer *w = calloc(1, sizeof(*w));

    assert(lanes >= 1 && lanes <= PAGE_WRITER_LANES_MAX);
    if (!w)
        return fail_nomem(err);
    w->space = mmap(NULL, DATA_PACKETS * DATA_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (w->space == MAP_FAILED) {
        free(w);
        return fail_nomem(err);
    }
    w->store = store;
    w->n_lanes = lanes;
    queue_init(&w->empty_data, SIZE_MAX, drop_packet);
    queue_init(&w->empty_zero, SIZE_MAX, drop_packet);
    queue_init(&w->work, SIZE_MAX, drop_packet);
    fill_pools(w);
    *ret = w;
    return 0;
}

void page_writer_free(struct page_writer *w)
{
    if (!w)
        return;
    queue_release(&w->work);
    queue_release(&w->empty_zero);
    queue_release(&w->empty_data);
    munmap(w->space, DATA_PACKETS * DATA_BYTES);
    free(w);
}

static struct queue *pool_of(struct page_writer *w, const struct page_packet *p)
{
    return p->space ? &w->empty_data : &w->empty_zero;
}

static void give_back(struct page_writer *w, struct page_packet *p)
{
    if (!queue_put(pool_of(w, p), &p->item)) {
        /* Cancelled: nobody will take it again. */
    }
}

static int write_pages(void *arg, struct error *err)
{
    const struct lane *lane = arg;
    struct page_writer *w = lane->writer;
    struct queue_item *item;

    while ((item = queue_take(&w->work))) {
        struct page_packet *p = (struct page_packet *)item;
        int rc = snapshot_writer_put(w->store, lane->number, &p->batch, err);

        give_back(w, p);
        queue_done(&w->work);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int page_writer_start(struct page_writer *w, struct worker_group *group,
                      struct error *err)
{
    for (unsigned i = 0; i < w->n_lanes; i++) {
        char name[32];
        int rc;

        w->lanes[i] = (struct lane){.writer = w, .number = i};
        snprintf(name, sizeof(name), "writer %u", i);
        rc = worker_start(group, name, write_pages, &w->lanes[i], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void page_writer_close(struct page_writer *w)
{
    queue_close(&w->work);
}

void page_writer_cancel(struct page_writer *w)
{
    queue_cancel(&w->work);
    queue_cancel(&w->empty_data);
    queue_cancel(&w->empty_zero);
}

/* Packing. */

void page_packer_init(struct page_packer *p, struct page_writer *w)
{
    *p = (struct page_packer){.writer = w};
}

void page_packer_release(struct page_packer *p)
{
    if (p->data)
        give_back(p->writer, p->data);
    if (p->zero)
        give_back(p->writer, p->zero);
    p->data = NULL;
    p->zero = NULL;
}

static int cancelled(struct error *err)
{
    return fail(err, ERR_CANCELLED, "the page writers were cancelled");
}

static int submit(struct page_packer *p, struct page_packet **slot,
                  struct error *err)
{
    struct page_packet *packet = *slot;

    *slot = NULL;
    packet->batch.seq = ++p->seq;
    if (!queue_put(&p->writer->work, &packet->item))
        return cancelled(err);
    return 0;
}

static int take_empty(struct page_packer *p, struct queue *pool, uint32_t block,
                      struct page_packet **slot, struct error *err)
{
    struct page_packet *packet = (struct page_packet *)queue_take(pool);

    if (!packet)
        return cancelled(err);
    packet->batch.block = block;
    packet->batch.n = 0;
    packet->batch.data = packet->space;
    *slot = packet;
    return 0;
}

int page_packer_add(struct page_packer *p, uint32_t block, pgno_t pgno,
                    const uint8_t *data, struct error *err)
{
    struct page_packet **slot = data ? &p->data : &p->zero;
    struct queue *pool = data ? &p->writer->empty_data : &p->writer->empty_zero;
    struct page_packet *packet;
    int rc = 0;

    if (*slot && (*slot)->batch.block != block)
        rc = submit(p, slot, err);
    if (rc == 0 && !*slot)
        rc = take_empty(p, pool, block, slot, err);
    if (rc < 0)
        return rc;
    packet = *slot;
    if (data)
        memcpy(packet->space + (size_t)packet->batch.n * PAGE_BYTES, data,
               PAGE_BYTES);
    packet->batch.pgno[packet->batch.n++] = pgno;
    return packet->batch.n < PAGE_BATCH_MAX ? 0 : submit(p, slot, err);
}

int page_packer_flush(struct page_packer *p, struct error *err)
{
    int rc = 0;

    if (p->data)
        rc = submit(p, &p->data, err);
    if (rc == 0 && p->zero)
        rc = submit(p, &p->zero, err);
    return rc;
}

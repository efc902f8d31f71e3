/*
 * Three queues: packets with memory for pages, packets for zero pages (which
 * need none), and the work. The two empty ones are ordinary queues used as
 * pools: taking from an empty pool waits until a writer gives a packet back,
 * and cancelling them ends that wait like any other.
 *
 * One page may be in a packer's data packet and another in its zero packet; the
 * same page in both would be a question of chance, since both have one epoch,
 * and that is why the producer flushes at each sync point.
 */
#include "snapshot/page_writer.h"

#include <sys/mman.h>

#define DATA_PACKETS 16u
#define ZERO_PACKETS 32u
#define DATA_BYTES   ((size_t)PAGE_BATCH_MAX * PAGE_BYTES)

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

struct page_packet *page_writer_take(struct page_writer *w, bool data,
                                     uint32_t block)
{
    struct page_packet *p = (struct page_packet *)queue_take(
        data ? &w->empty_data : &w->empty_zero);

    if (!p)
        return NULL;
    p->batch.block = block;
    p->batch.n = 0;
    p->batch.data = p->space;
    return p;
}

int page_writer_submit(struct page_writer *w, struct page_packet *p,
                       uint64_t epoch, struct error *err)
{
    assert(p->batch.n <= PAGE_BATCH_MAX);
    p->batch.seq = epoch;
    return queue_put(&w->work, &p->item) ? 0 : page_writer_cancelled(err);
}

void page_writer_give_back(struct page_writer *w, struct page_packet *p)
{
    if (!queue_put(p->space ? &w->empty_data : &w->empty_zero, &p->item)) {
        /* Cancelled: nobody will take it again. */
    }
}

int page_writer_cancelled(struct error *err)
{
    return fail(err, ERR_CANCELLED, "the page writers were cancelled");
}

static int write_pages(void *arg, struct error *err)
{
    const struct lane *lane = arg;
    struct page_writer *w = lane->writer;
    struct queue_item *item;

    while ((item = queue_take(&w->work))) {
        struct page_packet *p = (struct page_packet *)item;
        int rc = snapshot_writer_put(w->store, lane->number, &p->batch, err);

        page_writer_give_back(w, p);
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
        page_writer_give_back(p->writer, p->data);
    if (p->zero)
        page_writer_give_back(p->writer, p->zero);
    p->data = NULL;
    p->zero = NULL;
}

static int submit(struct page_packer *p, struct page_packet **slot,
                  struct error *err)
{
    return page_writer_submit(p->writer, steal_ptr(slot), p->epoch, err);
}

int page_packer_add(struct page_packer *p, uint32_t block, pgno_t pgno,
                    const uint8_t *data, struct error *err)
{
    struct page_packet **slot = data ? &p->data : &p->zero;
    struct page_packet *packet;
    int rc = 0;

    if (*slot && (*slot)->batch.block != block)
        rc = submit(p, slot, err);
    if (rc < 0)
        return rc;
    if (!*slot)
        *slot = page_writer_take(p->writer, data, block);
    if (!*slot)
        return page_writer_cancelled(err);
    packet = *slot;
    assert(packet->batch.n < PAGE_BATCH_MAX && packet->batch.block == block);
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
    p->epoch++;
    return rc;
}

/*
 * page_writer.h - the threads that carry pages to the repository.
 *
 * A fixed set of packets goes round: somebody takes an empty one, fills it
 * with up to PAGE_BATCH_MAX pages of one block and submits it; a writer thread
 * puts it through its own lane and gives it back. Nothing is allocated while
 * pages flow, and who produces faster than the writers store waits for an
 * empty packet. A producer reads into a packet's own memory, or lets a packer
 * copy page by page.
 *
 * Order: a packet has a number, and of two contents of one page the one with
 * the higher number counts, so lanes need not wait for each other. Numbers are
 * *epochs*: what comes before a sync point of the stream has a lower one than
 * what comes behind it, and between two of them a page comes once.
 *
 * Threads: any number of producers, each with packets of its own; as many
 * writers as lanes, started in the group given. cancel() from any thread makes
 * all of them return.
 */
#ifndef FIRN_SNAPSHOT_PAGE_WRITER_H
#define FIRN_SNAPSHOT_PAGE_WRITER_H

#include "core/base/queue.h"
#include "core/base/worker.h"
#include "storage/snapshot_writer.h"

/* More lanes than this only fight for the same disk. */
#define PAGE_WRITER_LANES_MAX 4u

struct page_writer;

/* As many lanes as this machine can use. */
unsigned page_writer_default_lanes(void);

/* All packets of the round, and as many as the lanes need; `store` must outlive
 * it and have as many lanes. ERR_NOMEM. */
int page_writer_new(struct snapshot_writer *store, unsigned lanes,
                    struct page_writer **ret, struct error *err) NODISCARD;
/* The threads must have ended. */
void page_writer_free(struct page_writer *w);

/* Starts a thread a lane; each ends after close() or cancel(), or with the
 * store's error. */
int page_writer_start(struct page_writer *w, struct worker_group *group,
                      struct error *err) NODISCARD;
/* No page follows: the writers end when all is stored. */
void page_writer_close(struct page_writer *w);
/* What is queued is dropped; producers get no packet, writers end. */
void page_writer_cancel(struct page_writer *w);

/* Whoever took one gives it back empty or submits it. */
struct page_packet {
    struct queue_item item; /* first: the queues know only this */
    struct page_batch batch;
    uint8_t *space; /* of PAGE_BATCH_MAX pages; NULL in a zero packet */
};

/* Waits for an empty packet, one with room for pages if `data`; its batch has
 * no pages. NULL after cancel(). */
struct page_packet *page_writer_take(struct page_writer *w, bool data,
                                     uint32_t block);
/* ERR_CANCELLED after cancel(). */
int page_writer_submit(struct page_writer *w, struct page_packet *p,
                       uint64_t epoch, struct error *err) NODISCARD;
/* A packet that was taken and is not wanted; it must hold nothing of use. */
void page_writer_give_back(struct page_writer *w, struct page_packet *p);
/* The error of a producer that got no packet. */
int page_writer_cancelled(struct error *err);

/* What one producer is filling, page by page. Caller owns the struct. */
struct page_packer {
    struct page_writer *writer;
    struct page_packet *data;
    struct page_packet *zero;
    uint64_t epoch;
};

/* Epoch 0; takes packets when the first page comes. */
void page_packer_init(struct page_packer *p, struct page_writer *w);
/* Gives back what was not submitted: its pages are lost. */
void page_packer_release(struct page_packer *p);

/* One page; `data` NULL: all zero. ERR_CANCELLED after cancel(). Until flush()
 * the same page must not be added twice. */
int page_packer_add(struct page_packer *p, uint32_t block, pgno_t pgno,
                    const uint8_t *data, struct error *err) NODISCARD;
/* A sync point: submits what is packed, and begins the next epoch. */
int page_packer_flush(struct page_packer *p, struct error *err) NODISCARD;

DEFINE_CLEANUP(page_writer, struct page_writer *, page_writer_free)

#endif

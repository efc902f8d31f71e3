/*
 * page_sender.h - the one who writes to QEMU: bytes and batches of pages.
 *
 * Units are added, with their content, to a batch; flush() writes the batch
 * with as few system calls as it takes. Of each urgent unit the time from the
 * reading of the request to the writing of its page is counted. Urgent units go
 * through a socket of their own, if there is one. One thread.
 */
#ifndef FIRN_RESTORE_PAGES_PAGE_SENDER_H
#define FIRN_RESTORE_PAGES_PAGE_SENDER_H

#include "core/base/buf.h"
#include "core/base/stopper.h"
#include "restore/pages/fault_stats.h"
#include "restore/pages/page_queue.h"
#include "restore/pages/page_source.h"

struct page_sender_args {
    int fd;        /* borrowed */
    int urgent_fd; /* borrowed, for urgent units; 0: these use `fd` */
    const struct page_source *source;
    struct stopper *stop;
    uint32_t max_unit_pages; /* of any block */
    uint32_t n_blocks;       /* whose faults are told apart; 0: none */
};

struct page_sender_stats {
    struct fault_stats faults;
    uint64_t data_pages;              /* written with content */
    uint64_t turns[PAGE_TURN__COUNT]; /* pages, in each turn */
    uint64_t zero_pages;              /* zero records */
    uint64_t data_units;              /* units with content, written */
    uint64_t units; /* of known blocks, written, zero or not */
};

struct page_sender;

/* An empty batch; `args` is copied, what it points to outlives the sender. */
int page_sender_new(const struct page_sender_args *args,
                    struct page_sender **ret, struct error *err) NODISCARD;
/* A batch that was not flushed is lost. Takes NULL. */
void page_sender_free(struct page_sender *s);

/* Bytes that are no pages; not while a batch is open. */
int page_sender_write(struct page_sender *s, const struct buf *bytes,
                      struct error *err) NODISCARD;

/* Reads the unit's pages and adds their records. An error is the source's (or
 * ERR_NOMEM) and leaves the batch as it was: not one record of the unit is
 * written then. */
int page_sender_add(struct page_sender *s, const struct page_unit *unit,
                    const char *idstr, struct error *err) NODISCARD;
/* The same for a unit whose contents are there already, one for each of its
 * pages (NULL: zero); they stay where they are until the flush. */
void page_sender_add_brought(struct page_sender *s,
                             const struct page_unit *unit, const char *idstr,
                             const uint8_t *const *contents);
/* No further unit should be added before a flush. */
bool page_sender_full(const struct page_sender *s);
/* No unit is in the batch. */
bool page_sender_empty(const struct page_sender *s);
/* Whether a batch of what nobody asks for can be written without a wait in
 * which requests would have to wait too. Always true with one socket: there
 * they cannot overtake. */
bool page_sender_has_room(const struct page_sender *s);
/* ERR_PEER when QEMU closed the socket. */
int page_sender_flush(struct page_sender *s, struct error *err) NODISCARD;

/* So far; borrowed, goes on counting. */
const struct page_sender_stats *page_sender_stats(const struct page_sender *s);
/* Faults in one of the first `n_blocks` blocks; behind them, all others. */
const struct fault_stats *page_sender_faults(const struct page_sender *s,
                                             uint32_t block);

DEFINE_CLEANUP(page_sender, struct page_sender *, page_sender_free)

#endif

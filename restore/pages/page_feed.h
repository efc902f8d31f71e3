/*
 * page_feed.h - which page is sent when: requests, hints, neighbours, the rest.
 *
 * Joins the queue (each page once), the stock (pages read ahead by a thread),
 * the pace (how fast) and the sender (the socket). A request is answered
 * alone and first; the other requests for the same frame leave with it, what
 * else the frame holds behind it, when nobody waits. Everything else comes from
 * the stock, decompressed already, in short batches: requests are looked for
 * between two of them. One thread.
 */
#ifndef FIRN_RESTORE_PAGES_PAGE_FEED_H
#define FIRN_RESTORE_PAGES_PAGE_FEED_H

#include "core/base/bitmap.h"
#include "restore/pages/page_sender.h"
#include "restore/pages/page_stock.h"
#include "restore/pages/postcopy_server.h"

struct page_feed;

/* Of one pager, over one connection. */
struct page_feed_args {
    const struct postcopy_args *restore; /* outlives the feed */
    struct stopper *stop;
    /* Called by another thread when there is more to send. */
    void (*ready)(void *arg);
    void *arg;
};

/* Reads what there is to know of the blocks, sends nothing. ERR_UNSUPPORTED:
 * host pages larger than we can serve. */
int page_feed_new(const struct page_feed_args *args, struct page_feed **ret,
                  struct error *err) NODISCARD;
/* Ends the thread that reads ahead. Takes NULL. */
void page_feed_free(struct page_feed *f);

/* Bytes that are no pages. */
int page_feed_write(struct page_feed *f, const struct buf *bytes,
                    struct error *err) NODISCARD;

/* A request, as page_queue_ask(). */
int page_feed_ask(struct page_feed *f, const char *idstr, uint64_t start,
                  uint64_t len, uint64_t now_ns, struct error *err) NODISCARD;
/* QEMU has these pages of a block already (a recovery). */
int page_feed_received(struct page_feed *f, uint32_t block,
                       const struct bitmap *received,
                       struct error *err) NODISCARD;
/* The thread that reads ahead begins. */
int page_feed_start(struct page_feed *f, struct error *err) NODISCARD;
/* The devices are loaded: from here on everything may be sent. */
void page_feed_loaded(struct page_feed *f);

/* Sends one batch of what is most urgent; *ret_any false: there is nothing that
 * may be sent now. */
int page_feed_step(struct page_feed *f, bool *ret_any,
                   struct error *err) NODISCARD;
/* When a step may find more though nothing happened; 0: not by itself. */
uint64_t page_feed_due_ns(const struct page_feed *f);
/* A step may find more as soon as QEMU has read from the main socket. */
bool page_feed_waits_for_room(const struct page_feed *f);
/* All hinted pages were sent, or there are none. */
bool page_feed_is_ahead(const struct page_feed *f);
/* Everything but lost pages was sent. */
bool page_feed_all_sent(const struct page_feed *f);
/* The same by two counts; ERR_INVALID when they differ. */
int page_feed_check_count(const struct page_feed *f,
                          struct error *err) NODISCARD;

/* Host pages that cannot be had, damaged in the repository: they are never
 * sent. */
uint64_t page_feed_lost_units(const struct page_feed *f);
/* The first damage; code 0: none. */
const struct error *page_feed_damage(const struct page_feed *f);
/* Adds the feed's figures to `ret`. */
void page_feed_report(const struct page_feed *f, struct postcopy_result *ret);

DEFINE_CLEANUP(page_feed, struct page_feed *, page_feed_free)

#endif

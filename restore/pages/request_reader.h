/*
 * request_reader.h - the return path, read by a thread of its own.
 *
 * QEMU writes its requests with a blocking socket while it reads our pages; if
 * the reader waited for the writer, the two could block each other for good.
 * So this thread only decodes and leaves what it found in an *inbox*; the
 * sender empties it between batches. It never writes, reads no page and waits
 * for nobody but QEMU.
 */
#ifndef FIRN_RESTORE_PAGES_REQUEST_READER_H
#define FIRN_RESTORE_PAGES_REQUEST_READER_H

#include "core/base/cleanup.h"
#include "core/base/error.h"

struct page_request {
    const char *idstr; /* lives as long as the reader */
    uint64_t start;    /* bytes in the block */
    uint32_t len;
    uint64_t read_ns; /* when it was read */
};

/* The received pages of one block, as a destination tells them. */
struct told_bitmap {
    const char *idstr;
    uint64_t *words; /* owned */
    uint64_t n_pages;
};

/* What came since the last look. The arrays are the reader's, valid until the
 * next look. */
struct inbox_news {
    const struct page_request *requests;
    size_t n_requests;
    const struct told_bitmap *bitmaps; /* all that came so far */
    size_t n_bitmaps;
    uint32_t last_pong; /* 0: none yet */
    bool resume_ack;
    bool shut; /* SHUT was read: `shut_status` */
    uint32_t shut_status;
    bool ended; /* nothing more will come; `why` if it was an error */
    struct error why;
};

struct request_reader;

/* Reads `fd` (borrowed) until it ends. */
int request_reader_start(int fd, struct request_reader **ret,
                         struct error *err) NODISCARD;
/* Ends the thread, whatever it waits for. */
void request_reader_stop(struct request_reader *r);

/* Readable when there are news: for poll(). */
int request_reader_fd(const struct request_reader *r);
/* Makes that descriptor readable, for news of somebody else. Any thread. */
void request_reader_wake(struct request_reader *r);
/* Takes the news, without waiting. One thread. */
void request_reader_take(struct request_reader *r, struct inbox_news *ret);

DEFINE_CLEANUP(request_reader, struct request_reader *, request_reader_stop)

#endif

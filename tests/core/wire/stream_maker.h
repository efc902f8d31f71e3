/*
 * stream_maker.h - streams for tests, and a client that writes down what a
 * decoder says of them.
 *
 * Memory comes from malloc and failures end the test with abort(): tests have
 * nothing to recover. Used by the tests of core/wire, the fuzz seeds and bench.
 */
#ifndef FIRN_TESTS_CORE_WIRE_STREAM_MAKER_H
#define FIRN_TESTS_CORE_WIRE_STREAM_MAKER_H

#include "core/base/json.h"
#include "core/wire/stream_decoder.h"
#include "core/wire/stream_encoder.h"

/* Never fails a test by itself: aborts with the message. */
void must(int rc, const struct error *err);

/* Bytes that tell block, page and generation; whole words, never zero. */
void fill_page(uint8_t *page, uint32_t block, pgno_t pgno, uint32_t generation);

/* The three blocks of the made machine, with 40, 3 and 2 pages. */
#define MADE_BLOCKS 3u
struct ramblock_list made_blocks(void);

#define MADE_RAM_ID 2u

/* A device section with one field, appended to `tail` and the description. */
void made_device(struct buf *tail, json_t *devices, const char *name,
                 uint32_t instance, const void *body, size_t len);

/* Devices, globalstate saying `run_state`, EOF and VMDESC. */
void made_tail(struct buf *b, const char *run_state);
/* The tail without EOF, and the description's text, apart. */
void made_tail_parts(struct buf *tail, struct buf *vmdesc,
                     const char *run_state);

struct made_stream_args {
    bool background;    /* no END section */
    bool return_path;   /* OPEN_RETURN_PATH, PING */
    bool switchover;    /* SWITCHOVER_START before END */
    bool flush;         /* multifd's flush marks */
    bool xbzrle;        /* some pages of the second round as deltas */
    bool ignore_shared; /* pc.ram is listed and left out */
    bool early_device;  /* a virtio-mem section before RAM */
    bool sparse;        /* most pages are zero: a short stream */
};

/* A whole stream: every page once, every third page again in a second round,
 * every fourth page zero. */
void made_stream(struct buf *b, struct made_stream_args args);

/* A client: keeps the pages, and a line for each event. */
struct listener {
    struct buf trace; /* "page 0 12 <sum>\n" ... */
    uint8_t *content[MADE_BLOCKS];
    uint32_t n_blocks;
    uint64_t n_events;
    uint64_t fail_at; /* this event (from 1) fails with ERR_NOSPC; 0: none */
};

extern const struct stream_decoder_ops listener_ops;
void listener_release(struct listener *l);

/* What a client that read the stream made by `args` must hold. */
bool listener_holds_made_pages(const struct listener *l,
                               struct made_stream_args args);

#endif

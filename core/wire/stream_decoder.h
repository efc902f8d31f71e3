/*
 * stream_decoder.h - QEMU's migration stream, bytes in, events out.
 *
 * The main channel of a capture: header, CONFIG, commands, the RAM section,
 * the device tail, the end. Bytes are fed as they come, cut anywhere; events
 * are calls of the ops table, in stream order, from inside feed(). No I/O, no
 * clock, no thread: one thread at a time. Every input is untrusted: what does
 * not fit ends in ERR_PROTOCOL (or ERR_UNSUPPORTED for things QEMU may send
 * but firn does not take; ERR_INCOMPATIBLE for a device that cannot be
 * captured) with the stream offset and the reason. An op that returns an error
 * ends the decoding with that error; every later feed gives it again.
 *
 * Sections are read by the handlers of a registry: `ram` and virtio-mem's
 * layout are there from the start, others can be added before the first byte.
 */
#ifndef FIRN_CORE_WIRE_STREAM_DECODER_H
#define FIRN_CORE_WIRE_STREAM_DECODER_H

#include "core/vm/device_state.h"
#include "core/vm/machine_config.h"
#include "core/vm/ramblock.h"
#include "core/vm/section_registry.h"

struct stream_decoder_ops {
    /* CONFIG was read. May be NULL. */
    int (*config)(void *arg, const struct machine_config *config,
                  struct error *err);
    /* A COMMAND: OPEN_RETURN_PATH (1), PING (2), SWITCHOVER_START (11), ...;
     * commands that a capture must refuse never get here. May be NULL. */
    int (*command)(void *arg, uint16_t command, const uint8_t *body,
                   uint16_t len, struct error *err);
    /* A whole device section that came before RAM (virtio-mem); it is in the
     * device state's `early` too. NULL: such a VM is refused with
     * ERR_INCOMPATIBLE, since a restore would need it before RAM. */
    int (*early_device)(void *arg, const uint8_t *section, size_t len,
                        struct error *err);
    /* The block list is complete: once, before any page. */
    int (*blocks)(void *arg, const struct ramblock_list *blocks,
                  struct error *err);
    /* A page's content; `data` is PAGE_BYTES, valid during the call only. A
     * page may come again: the last one counts. */
    int (*page)(void *arg, uint32_t block, pgno_t pgno, const uint8_t *data,
                struct error *err);
    /* A page that is all zero. */
    int (*zero_page)(void *arg, uint32_t block, pgno_t pgno, struct error *err);
    /* An XBZRLE delta: apply it to the page's present content (which the
     * callee writes into `page`, PAGE_BYTES, first). NULL: such records are
     * refused with ERR_UNSUPPORTED. After it, page() is called with the
     * result. */
    int (*current_page)(void *arg, uint32_t block, pgno_t pgno, uint8_t *page,
                        struct error *err);
    /* The last section of RAM begins: the VM stands still. May be NULL. */
    void (*last_section)(void *arg);
    /* EOS of one RAM section: within a section a page comes at most once. */
    int (*section_end)(void *arg, struct error *err);
    /* A MULTIFD_FLUSH record. May be NULL: ignored. */
    int (*multifd_flush)(void *arg, struct error *err);
    /* END of RAM (precopy) or the first device section (background). */
    int (*ram_end)(void *arg, struct error *err);
};

struct stream_decoder_stats {
    uint64_t bytes;
    uint64_t pages;      /* data records, XBZRLE included */
    uint64_t zero_pages; /* zero records */
    uint64_t xbzrle_pages;
    uint64_t sections; /* START, PART and END of RAM */
};

struct stream_decoder;

/* `ops` and `arg` must outlive the decoder. */
int stream_decoder_new(const struct stream_decoder_ops *ops, void *arg,
                       struct stream_decoder **ret,
                       struct error *err) NODISCARD;
/* With all that was borrowed. Takes NULL; not from inside an op. */
void stream_decoder_free(struct stream_decoder *d);

/* The next `len` bytes; ops are called from inside. They are not kept. */
int stream_decoder_feed(struct stream_decoder *d, const void *data, size_t len,
                        struct error *err) NODISCARD;

/*
 * The device tail is proved and ends exactly at the last byte fed. With a
 * return path QEMU then waits for SHUT; asked after each feed, best when the
 * socket has nothing more to give at once. Cheap. Should bytes follow all the
 * same, it is false again.
 */
bool stream_decoder_complete(struct stream_decoder *d);

/* The peer closed: 0 when complete, else ERR_PROTOCOL saying what is missing,
 * or the error that ended the decoding. */
int stream_decoder_finish(struct stream_decoder *d,
                          struct error *err) NODISCARD;

/* Valid once their events came (device state: once complete); borrowed. */
const struct machine_config *
stream_decoder_config(const struct stream_decoder *d);
/* Complete from the op blocks() on; a block's number is its place here. */
const struct ramblock_list *
stream_decoder_blocks(const struct stream_decoder *d);
/* While the tail is not proved: bytes, and no table. */
const struct device_state *
stream_decoder_device_state(const struct stream_decoder *d);
/* The id that QEMU gave section `ram`; 0 before its START. */
uint32_t stream_decoder_ram_section_id(const struct stream_decoder *d);
/* So far; goes on counting. */
const struct stream_decoder_stats *
stream_decoder_stats(const struct stream_decoder *d);
/* The RAM setup section held a MULTIFD_FLUSH: with multifd channels, sync at
 * each of these; otherwise at the end of each section. */
bool stream_decoder_flush_in_setup(const struct stream_decoder *d);
/* The handlers of sections; add to it only before the first feed. */
struct section_registry *stream_decoder_sections(struct stream_decoder *d);

DEFINE_CLEANUP(stream_decoder, struct stream_decoder *, stream_decoder_free)

#endif

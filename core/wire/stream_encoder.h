/*
 * stream_encoder.h - the source's side of the stream, appended to a buffer.
 *
 * What firn says when it restores: header, CONFIG, commands, the RAM setup
 * section, the package, sections of pages, the end. Pure. Page payloads are
 * not copied: ram_encoder gives the header that goes before the 4096 bytes.
 */
#ifndef FIRN_CORE_WIRE_STREAM_ENCODER_H
#define FIRN_CORE_WIRE_STREAM_ENCODER_H

#include "core/base/buf.h"
#include "core/vm/machine_config.h"
#include "core/vm/ramblock.h"
#include "core/vm/section_registry.h"

/* Magic and version. */
int stream_put_header(struct buf *b, struct error *err) NODISCARD;
/* A new CONFIG: machine type, target page bits if they were there; never the
 * capabilities that the capture had. */
int stream_put_config(struct buf *b, const struct machine_config *config,
                      struct error *err) NODISCARD;
/* COMMAND with any body; the bodies are in postcopy_commands.h. */
int stream_put_command(struct buf *b, uint16_t command, const void *body,
                       uint16_t len, struct error *err) NODISCARD;
/* Asks the destination to answer; PING makes it prove that it does, with a
 * PONG. */
int stream_put_open_return_path(struct buf *b, struct error *err) NODISCARD;
/* The destination answers with a PONG of the same value. */
int stream_put_ping(struct buf *b, uint32_t value, struct error *err) NODISCARD;
/* START of `ram` with the block list, EOS and footer. Page sizes are written
 * for blocks whose host page is not 4096, if `with_page_sizes` (postcopy). */
int stream_put_ram_setup(struct buf *b, uint32_t section_id,
                         const struct ramblock_list *blocks,
                         bool with_page_sizes, struct error *err) NODISCARD;
/* Type and id of a PART (or END) of RAM; records, then the end, follow. */
int stream_put_ram_section(struct buf *b, uint32_t section_id, bool end,
                           struct error *err) NODISCARD;
/* EOS and footer. */
int stream_put_ram_section_end(struct buf *b, uint32_t section_id,
                               struct error *err) NODISCARD;

/* Any section: START or FULL with its names, and the footer of any part. */
struct section_name {
    uint32_t section_id;
    const char *idstr;
    uint32_t instance;
    uint32_t version;
};
/* `full`: a FULL section instead of a START. ERR_INVALID: a name over 255
 * bytes. */
int stream_put_section_start(struct buf *b, const struct section_name *name,
                             bool full, struct error *err) NODISCARD;
/* The id must be that of the section's START or FULL. */
int stream_put_section_footer(struct buf *b, uint32_t section_id,
                              struct error *err) NODISCARD;
/* The framing for a section registry's save side, written to `b`. */
struct section_sink stream_section_sink(struct buf *b);

/* Bodies: the block list of START; EOS of any. */
int ram_put_block_list(struct buf *b, const struct ramblock_list *blocks,
                       bool with_page_sizes, struct error *err) NODISCARD;
/* The record that ends the body of any RAM section. */
int ram_put_eos(struct buf *b, struct error *err) NODISCARD;

/* No sections any more; the description may follow. */
int stream_put_eof(struct buf *b, struct error *err) NODISCARD;
/* The description, JSON as QEMU wrote it, with its type and length. */
int stream_put_vmdesc(struct buf *b, const struct buf *vmdesc,
                      struct error *err) NODISCARD;

/* Page records of one channel: remembers the block named last. All zero is a
 * fresh channel; the names must outlive it. */
struct ram_encoder {
    const char *last_idstr;
};

/* Longest record header: word, name length, name. */
#define RAM_RECORD_HEADER_MAX (8u + 1u + 255u)

/* Writes the header of a data record; returns its length. The page follows. */
size_t ram_encoder_page(struct ram_encoder *e, const char *idstr, pgno_t pgno,
                        uint8_t ret[static RAM_RECORD_HEADER_MAX]);
/* A whole zero record (header and its closing byte). */
size_t ram_encoder_zero(struct ram_encoder *e, const char *idstr, pgno_t pgno,
                        uint8_t ret[static RAM_RECORD_HEADER_MAX + 1]);

/* A whole XBZRLE record, appended to `b`. */
int ram_encoder_put_xbzrle(struct ram_encoder *e, const char *idstr,
                           pgno_t pgno, const struct buf *delta, struct buf *b,
                           struct error *err) NODISCARD;

#endif

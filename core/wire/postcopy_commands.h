/*
 * postcopy_commands.h - the postcopy commands, encoded whole and decoded.
 *
 * Each _put_ appends a complete COMMAND section. Pure.
 */
#ifndef FIRN_CORE_WIRE_POSTCOPY_COMMANDS_H
#define FIRN_CORE_WIRE_POSTCOPY_COMMANDS_H

#include "core/base/buf.h"

struct discard_range {
    uint64_t start; /* bytes in the block */
    uint64_t bytes;
};

/* The most ranges in one DISCARD; the length of a command has 16 bits. */
#define POSTCOPY_DISCARD_RANGES_MAX 4000u

/* `page_sizes`: all host page sizes of the destination's blocks, or-ed. */
int postcopy_put_advise(struct buf *b, uint64_t page_sizes,
                        uint64_t target_page_bytes,
                        struct error *err) NODISCARD;
/* ERR_INVALID: no range, or more than POSTCOPY_DISCARD_RANGES_MAX. */
int postcopy_put_discard(struct buf *b, const char *idstr,
                         const struct discard_range *ranges, size_t n,
                         struct error *err) NODISCARD;
/* From here the destination asks for pages; in the package. See
 * postcopy_state.h for what must have been sent before. */
int postcopy_put_listen(struct buf *b, struct error *err) NODISCARD;
/* The guest starts; last in the package. */
int postcopy_put_run(struct buf *b, struct error *err) NODISCARD;
/* PACKAGED: the command, then `package`. */
int postcopy_put_packaged(struct buf *b, const struct buf *package,
                          struct error *err) NODISCARD;
/* After a broken channel: bitmaps are exchanged, pages go on. */
int postcopy_put_resume(struct buf *b, struct error *err) NODISCARD;
/* Asks for a block's received bitmap; it comes by the return path. */
int postcopy_put_recv_bitmap(struct buf *b, const char *idstr,
                             struct error *err) NODISCARD;

/* Bodies as a destination reads them; ERR_PROTOCOL with the reason. */
int postcopy_get_advise(const void *body, size_t len, uint64_t *ret_page_sizes,
                        uint64_t *ret_target_page_bytes,
                        struct error *err) NODISCARD;
/* Calls `range` for each range of a DISCARD body. */
int postcopy_get_discard(const void *body, size_t len,
                         int (*range)(void *arg, const char *idstr,
                                      struct discard_range range,
                                      struct error *err),
                         void *arg, struct error *err) NODISCARD;

/* The block whose received bitmap is asked for. */
int postcopy_get_recv_bitmap(const void *body, size_t len, char ret[static 256],
                             struct error *err) NODISCARD;

#endif

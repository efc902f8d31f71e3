/*
 * postcopy_prologue.h - what is said before the first page, as bytes. Pure.
 *
 * Each message is noted in the state of the conversation, which refuses one
 * that the destination would not survive.
 */
#ifndef FIRN_RESTORE_PAGES_POSTCOPY_PROLOGUE_H
#define FIRN_RESTORE_PAGES_POSTCOPY_PROLOGUE_H

#include "core/vm/postcopy_state.h"
#include "restore/pages/postcopy_server.h"

#define POSTCOPY_PING_CONFIG  1u
#define POSTCOPY_PING_DEVICES 3u

/* From header to package; leads from none to running. ERR_CORRUPT: a snapshot
 * without a RAM block. */
int postcopy_put_prologue(struct buf *b, const struct postcopy_args *args,
                          struct postcopy *state, struct error *err) NODISCARD;

/* What makes a paused QEMU go on with a new pager: RECV_BITMAP for each block,
 * then RESUME. */
int postcopy_put_recovery(struct buf *b, const struct ramblock_list *blocks,
                          struct error *err) NODISCARD;

#endif

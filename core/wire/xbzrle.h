/*
 * xbzrle.h - the delta of a page that QEMU sent before.
 *
 * Pairs of "skip so many bytes, copy so many": each count is one byte, or two
 * of seven bits, low ones first. Pure; any thread.
 */
#ifndef FIRN_CORE_WIRE_XBZRLE_H
#define FIRN_CORE_WIRE_XBZRLE_H

#include "core/base/buf.h"
#include "core/vm/page.h"

/* Applies the delta to `page` (PAGE_BYTES). ERR_PROTOCOL with the place in
 * the delta; the page is then half changed. */
int xbzrle_apply(uint8_t *page, const uint8_t *delta, size_t len,
                 struct error *err) NODISCARD;

/* Appends the delta that leads from `old` to `new`; nothing if they are
 * equal. It may be longer than a page: then a source sends the page. */
int xbzrle_encode(struct buf *b, const uint8_t *old, const uint8_t *new,
                  struct error *err) NODISCARD;

#endif

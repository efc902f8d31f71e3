/*
 * pack_pages.h - single pages out of linked packs, for one thread.
 *
 * Keeps a few packs open and the frame read last. Callers number the packs.
 */
#ifndef FIRN_STORAGE_PACK_PAGES_H
#define FIRN_STORAGE_PACK_PAGES_H

#include "core/base/buf.h"
#include "storage/packs/pack_reader.h"

#define PACK_PAGES_OPEN 16u

struct pack_pages {
    int packs_dirfd; /* borrowed */
    struct {
        struct pack_reader *reader;
        uint32_t pack;
        uint64_t used; /* the higher the later */
    } open[PACK_PAGES_OPEN];
    uint64_t uses;
    struct frame_codec *codec;
    struct buf frame; /* the raw bytes of `frame_number` of `frame_pack` */
    uint32_t frame_pack;
    uint32_t frame_number;
};

/* Nothing is open yet. The descriptor stays the caller's. */
void pack_pages_init(struct pack_pages *p, int packs_dirfd);
/* Closes the packs and forgets the frame; may be used again afterwards. */
void pack_pages_release(struct pack_pages *p);

/* Item `item` of pack `id`, which is number `pack` from now on. *ret is
 * borrowed until the next call. */
int pack_pages_get(struct pack_pages *p, uint32_t pack, const char *id,
                   uint32_t item, const uint8_t **ret,
                   struct error *err) NODISCARD;

#endif

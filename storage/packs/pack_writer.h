/*
 * pack_writer.h - pages (or blobs) in, one sealed pack out.
 *
 * States: OPEN (add), SEALED (nothing more; the file is complete, synced, read
 * back and compared), LINKED (it has its name). The file is unnamed until
 * link(): free() before leaves nothing. One thread; uses the ring given.
 */
#ifndef FIRN_STORAGE_PACKS_PACK_WRITER_H
#define FIRN_STORAGE_PACKS_PACK_WRITER_H

#include "core/base/cleanup.h"
#include "core/base/error.h"
#include "storage/objects/ring.h"
#include "storage/packs/page_hash.h"

enum pack_kind { PACK_PAGES = 1, PACK_INDEX = 2 };

#define PACK_ID_LEN       32u /* hex digits */
#define PACK_TARGET_BYTES (64u << 20)

struct pack_writer_args {
    int packs_dirfd; /* the folder packs/; borrowed */
    enum pack_kind kind;
    struct ring *ring; /* borrowed; one writer at a time uses it */
    int level;         /* frame_codec.h's */
    /* Neighbouring pages are compressed together up to so many bytes; whole
     * pages, one at least, FRAME_RAW_MAX at most. Index packs need none. */
    uint32_t frame_bytes;
    struct stage_clock *clock; /* of who adds, seals and links; may be NULL */
    uint32_t hash_key_id;
};

struct pack_writer;

/* OPEN, with a new id and an unnamed file; nothing of `args` is kept but what
 * it says is borrowed. */
int pack_writer_new(const struct pack_writer_args *args,
                    struct pack_writer **ret, struct error *err) NODISCARD;
/* Whatever the state; a pack that was not linked is gone. Takes NULL. */
void pack_writer_free(struct pack_writer *w);

/* Adds one page (PAGE_BYTES); *ret_item is its number in the pack. Pages are
 * gathered into frames. ERR_NOSPC when the disk is full. */
int pack_writer_add_page(struct pack_writer *w, const void *page,
                         const struct page_hash *hash, uint32_t *ret_item,
                         struct error *err) NODISCARD;
/* The same of pages that lie one behind the other, which saves copying them:
 * item after item. */
int pack_writer_add_pages(struct pack_writer *w, const void *pages, uint32_t n,
                          const struct page_hash *hashes,
                          struct error *err) NODISCARD;
/* Adds one blob to an index pack, a frame of its own. */
int pack_writer_add_blob(struct pack_writer *w, const void *data, size_t len,
                         const struct page_hash *hash, uint32_t *ret_item,
                         struct error *err) NODISCARD;
/* Reads an item back, also one that is still in memory. */
int pack_writer_read_page(struct pack_writer *w, uint32_t item, void *page,
                          struct error *err) NODISCARD;

/* Bytes of the file if it were sealed now; full at PACK_TARGET_BYTES. */
uint64_t pack_writer_bytes(const struct pack_writer *w);
/* Items added so far; the id that the file will be named by. */
uint32_t pack_writer_n_items(const struct pack_writer *w);
/* Hex digits, borrowed; the file is called so once it is linked. */
const char *pack_writer_id(const struct pack_writer *w);

/* OPEN to SEALED. ERR_INVALID for an empty pack. After any other error the
 * pack can only be freed. */
int pack_writer_seal(struct pack_writer *w, struct error *err) NODISCARD;
/* Sealed packs only. Makes packs/ab/ if need be and syncs the folders. */
int pack_writer_link(struct pack_writer *w, struct error *err) NODISCARD;
/* Undoes link(): for a commit that failed half way. */
void pack_writer_unlink(struct pack_writer *w);

DEFINE_CLEANUP(pack_writer, struct pack_writer *, pack_writer_free)

#endif

/*
 * place_book.h - a place in a pack as a number of 32 bits, and back.
 *
 * Tables with an entry a page keep this code instead of pack and item. Codes
 * are dealt out in chunks of 1024 items of one pack, so the book itself takes
 * 12 bytes for so many pages. It has room for 2^32 items: 16 TiB of pages. Not
 * for threads.
 */
#ifndef FIRN_STORAGE_PLACE_BOOK_H
#define FIRN_STORAGE_PLACE_BOOK_H

#include "core/base/compiler.h"

/* Packs are numbered by the owner of the book. */
struct dedup_place {
    uint32_t pack;
    uint32_t item;
};

/* No code is as high as these two: they are for who keeps codes. */
#define PLACE_CODE_ZERO   (UINT32_MAX - 1)
#define PLACE_CODE_UNSEEN UINT32_MAX

struct place_chunk {
    uint32_t pack;
    uint32_t first; /* item */
};

struct place_book {
    struct place_chunk *chunks;
    uint32_t n_chunks;
    struct place_pack *packs; /* by number */
    uint32_t n_packs;
};

void place_book_release(struct place_book *b); /* all-zero is empty */

/* One code for one place, always the same. False without memory, or when the
 * book is full. */
bool place_book_code(struct place_book *b, struct dedup_place place,
                     uint32_t *ret) NODISCARD;
/* Of a code that the book gave. */
struct dedup_place place_book_place(const struct place_book *b, uint32_t code);

#endif

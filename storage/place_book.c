#include "storage/place_book.h"

#include <stdlib.h>

#define CHUNK_BITS  10u
#define CHUNK_ITEMS (1u << CHUNK_BITS)
/* The last chunk stays empty: the two codes that are no places are in it. */
#define CHUNKS_MAX ((1u << (32 - CHUNK_BITS)) - 1)
#define NO_CHUNK   UINT32_MAX

struct place_pack {
    uint32_t *chunks; /* of items 0 to 1023, 1024 to 2047, ... */
    uint32_t n;
};

void place_book_release(struct place_book *b)
{
    for (uint32_t i = 0; i < b->n_packs; i++)
        free(b->packs[i].chunks);
    free(b->packs);
    free(b->chunks);
    *b = (struct place_book){0};
}

/* Room comes in powers of two, so it is full when n is one. */
static void *room_for_one(void *array, uint32_t n, size_t size)
{
    if (n & (n - 1))
        return array;
    return realloc(array, (n ? (size_t)n * 2 : 1) * size);
}

static bool reach_pack(struct place_book *b, uint32_t pack)
{
    while (b->n_packs <= pack) {
        struct place_pack *packs =
            room_for_one(b->packs, b->n_packs, sizeof(*packs));

        if (!packs)
            return false;
        b->packs = packs;
        b->packs[b->n_packs++] = (struct place_pack){0};
    }
    return true;
}

static bool reach_chunk(struct place_pack *p, uint32_t number)
{
    while (p->n <= number) {
        uint32_t *chunks = room_for_one(p->chunks, p->n, sizeof(*chunks));

        if (!chunks)
            return false;
        p->chunks = chunks;
        p->chunks[p->n++] = NO_CHUNK;
    }
    return true;
}

static bool new_chunk(struct place_book *b, uint32_t pack, uint32_t number)
{
    struct place_chunk *chunks;

    if (b->n_chunks == CHUNKS_MAX)
        return false;
    chunks = room_for_one(b->chunks, b->n_chunks, sizeof(*chunks));
    if (!chunks)
        return false;
    b->chunks = chunks;
    b->chunks[b->n_chunks] =
        (struct place_chunk){.pack = pack, .first = number * CHUNK_ITEMS};
    b->packs[pack].chunks[number] = b->n_chunks++;
    return true;
}

bool place_book_code(struct place_book *b, struct dedup_place place,
                     uint32_t *ret)
{
    uint32_t number = place.item >> CHUNK_BITS;

    assert(place.pack < PLACE_CODE_ZERO); /* a pack, not a code for none */
    if (!reach_pack(b, place.pack) ||
        !reach_chunk(&b->packs[place.pack], number))
        return false;
    if (b->packs[place.pack].chunks[number] == NO_CHUNK &&
        !new_chunk(b, place.pack, number))
        return false;
    *ret = b->packs[place.pack].chunks[number] << CHUNK_BITS |
           (place.item & (CHUNK_ITEMS - 1));
    return true;
}

struct dedup_place place_book_place(const struct place_book *b, uint32_t code)
{
    const struct place_chunk *chunk = &b->chunks[code >> CHUNK_BITS];

    assert(code >> CHUNK_BITS < b->n_chunks);
    return (struct dedup_place){
        .pack = chunk->pack, .item = chunk->first + (code & (CHUNK_ITEMS - 1))};
}

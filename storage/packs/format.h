/*
 * format.h - the bytes of a pack, the one place where they are laid out.
 *
 * All integers are little-endian, all offsets count from the start of the
 * file. xxh3 is XXH3-64 with the seed named; hashes are in xxHash's canonical
 * form (page_hash.h).
 *
 *   pack         = header frame+ frame-table item-table trailer
 *   header       = 64 bytes, struct pack_header
 *   frame        = stored bytes of one entry of the frame table, no padding
 *   frame-table  = n_frames × struct pack_frame_entry
 *   item-table   = n_items × 16 bytes: the content hash of each item
 *   trailer      = 64 bytes, struct pack_trailer, the last of the file
 *
 * Frame f begins at 64 + the sum of the stored bytes of frames 0 … f-1. It is
 * stored raw if its stored and raw lengths are equal, else it is one zstd
 * frame (RFC 8878) without dictionary that gives exactly its raw length. In a
 * pack of pages a frame holds raw/4096 items, whole pages in a row; in an
 * index pack it is one item. Items are numbered through all frames from 0.
 *
 * A pack is valid if and only if
 *  1. the file has 64 + 64 + 16 + 16 to PACK_MAX_BYTES bytes;
 *  2. the header's checksum fits: xxh3 of its first 56 bytes, seed 0;
 *  3. magic and version are those below, no flag of `must_understand` is
 *     unknown, kind is 1 or 2, page_bytes is 4096, reserved is 0;
 *  4. id is the pack's name (32 hex digits, in the order of the bytes);
 *  5. the trailer's checksum fits: xxh3 of its first 56 bytes, the seed being
 *     bytes 8 … 15 of the id as an integer; its magic is the one below,
 *     reserved is 0;
 *  6. its file_bytes is the size of the file, n_frames and n_items are at
 *     least 1, and table_offset + 16 × n_frames + 16 × n_items + 64 is
 *     file_bytes;
 *  7. frame_table_sum and item_table_sum are the xxh3, seed 0, of the tables;
 *  8. each frame has 0 < stored <= raw <= FRAME_RAW_MAX, raw a multiple of
 *     4096 in a pack of pages;
 *  9. the stored bytes of all frames and 64 add up to table_offset, their
 *     items to n_items;
 * 10. each frame's checksum is the xxh3 of its stored bytes, the seed being
 *     bytes 0 … 7 of the id as an integer plus the frame's number, modulo
 *     2^64: a frame in the wrong place or of another pack is noticed;
 * 11. each frame that is not raw decompresses as said above;
 * 12. each item's hash is XXH3-128 of its raw bytes, keyed with the secret of
 *     the repository that has the number hash_key_id.
 * Opening checks 1 to 9 but for the item table; reading a frame checks 10 and
 * 11; `check --read-data` checks all.
 *
 * A crash leaves no part of a pack under its name: the name is given when the
 * file is complete and synced. It may leave a whole pack that no snapshot
 * refers to, an empty folder `ab`, and where unnamed files do not exist a
 * hidden `.tmp-…` beside the folders.
 */
#ifndef FIRN_STORAGE_PACKS_FORMAT_H
#define FIRN_STORAGE_PACKS_FORMAT_H

#include "core/base/compiler.h"

#define PACK_HEADER_MAGIC  "FIRNPACK"
#define PACK_TRAILER_MAGIC "FIRNTAIL"
#define PACK_VERSION       1u

/* Flags a reader must know; none exists in version 1. Encryption takes one. */
#define PACK_KNOWN_MUST_UNDERSTAND 0u

#define PACK_ID_BYTES 16u

/* Bounds of what a reader allocates for a file that lies. */
#define PACK_MAX_BYTES (1u << 30)
#define FRAME_RAW_MAX  (1u << 20)

struct PACKED pack_header {
    char magic[8];
    uint32_t version;
    uint32_t kind; /* enum pack_kind */
    uint8_t id[PACK_ID_BYTES];
    uint32_t compatible;      /* flags a reader may ignore */
    uint32_t must_understand; /* flags that forbid reading if unknown */
    uint32_t hash_key_id;
    uint32_t page_bytes;
    uint64_t reserved;
    uint64_t checksum;
};

struct PACKED pack_frame_entry {
    uint32_t stored_bytes;
    uint32_t raw_bytes;
    uint64_t checksum;
};

struct PACKED pack_trailer {
    char magic[8];
    uint32_t n_frames;
    uint32_t n_items;
    uint64_t table_offset;
    uint64_t file_bytes;
    uint64_t frame_table_sum;
    uint64_t item_table_sum;
    uint64_t reserved;
    uint64_t checksum;
};

#define PACK_HEADER_BYTES      64u
#define PACK_TRAILER_BYTES     64u
#define PACK_FRAME_ENTRY_BYTES 16u
#define PACK_ITEM_ENTRY_BYTES  16u
/* Of header and trailer: all but the checksum at their end. */
#define PACK_SUMMED_BYTES 56u

static_assert(sizeof(struct pack_header) == PACK_HEADER_BYTES, "header");
static_assert(offsetof(struct pack_header, id) == 16, "header");
static_assert(offsetof(struct pack_header, compatible) == 32, "header");
static_assert(offsetof(struct pack_header, reserved) == 48, "header");
static_assert(offsetof(struct pack_header, checksum) == PACK_SUMMED_BYTES,
              "header");
static_assert(sizeof(struct pack_frame_entry) == PACK_FRAME_ENTRY_BYTES,
              "frame table");
static_assert(sizeof(struct pack_trailer) == PACK_TRAILER_BYTES, "trailer");
static_assert(offsetof(struct pack_trailer, table_offset) == 16, "trailer");
static_assert(offsetof(struct pack_trailer, item_table_sum) == 40, "trailer");
static_assert(offsetof(struct pack_trailer, checksum) == PACK_SUMMED_BYTES,
              "trailer");

#endif

/*
 * snapshot_reader.h - door: a snapshot's facts, and any page of it.
 *
 * open() reads one object, the snapshot, and checks it whole. Pages come from
 * ranges of packs, read and checked as they are asked for: a wrong byte gives
 * ERR_CORRUPT with pack, offset and reason, never a page; a pack that could not
 * be opened is not looked for again by the same reader. A reader is for one
 * thread; open one for each. It caches read ranges and decompressed frames,
 * bounded in bytes.
 */
#ifndef FIRN_STORAGE_SNAPSHOT_READER_H
#define FIRN_STORAGE_SNAPSHOT_READER_H

#include "core/vm/device_state.h"
#include "core/vm/machine_config.h"
#include "core/vm/ramblock.h"
#include "storage/repository.h"

struct snapshot_reader;

/* ERR_NOTFOUND, ERR_CORRUPT, or ERR_FORMAT when its version is not known. A
 * lease is the caller's business (lease.h). */
int snapshot_reader_open(struct repository *r, const char *id,
                         struct snapshot_reader **ret,
                         struct error *err) NODISCARD;
/* With all that was borrowed. Takes NULL. */
void snapshot_reader_close(struct snapshot_reader *s);

/* Borrowed, live as long as the reader. */
const struct snapshot_summary *
snapshot_reader_summary(const struct snapshot_reader *s);
/* A block's number, here and below, is its place in this list. */
const struct ramblock_list *
snapshot_reader_blocks(const struct snapshot_reader *s);
/* CONFIG of the captured stream: what the destination must be. */
const struct machine_config *
snapshot_reader_config(const struct snapshot_reader *s);
/* The device tail, with its description and table of sections. */
const struct device_state *
snapshot_reader_devices(const struct snapshot_reader *s);
/* What the capture found out about VM and host: a JSON object. */
const json_t *snapshot_reader_facts(const struct snapshot_reader *s);
/* The id that section `ram` had in the captured stream. */
uint32_t snapshot_reader_ram_section_id(const struct snapshot_reader *s);

/* Where a page's content lies. Two pages with equal pack and frame come out of
 * one decompression. */
struct page_place {
    bool zero;
    uint32_t pack;  /* number within this snapshot */
    uint32_t frame; /* number within the pack */
    uint32_t slot;  /* within the frame */
};

/* Looks up, reads no content: index segments at most. ERR_CORRUPT when the
 * index or a pack's tables are damaged. */
int snapshot_reader_locate(struct snapshot_reader *s, uint32_t block,
                           pgno_t pgno, struct page_place *ret,
                           struct error *err) NODISCARD;
/* Whether a located page's frame is stored as it is, since compression gained
 * nothing. Reads no content. */
int snapshot_reader_is_raw(struct snapshot_reader *s,
                           const struct page_place *place, bool *ret,
                           struct error *err) NODISCARD;
/* The content (PAGE_BYTES) in *ret, borrowed until the next call on this
 * reader; NULL for a zero page. */
int snapshot_reader_page(struct snapshot_reader *s, uint32_t block, pgno_t pgno,
                         const uint8_t **ret, struct error *err) NODISCARD;
/* First page at or behind `from` of this block that is not zero; the block's
 * page count if none is left. */
int snapshot_reader_next_data(struct snapshot_reader *s, uint32_t block,
                              pgno_t from, pgno_t *ret,
                              struct error *err) NODISCARD;

struct snapshot_pack {
    char id[33];
    bool index; /* holds index segments, not pages */
    uint64_t bytes;
};
/* The packs that the snapshot refers to; borrowed. */
const struct snapshot_pack *
snapshot_reader_packs(const struct snapshot_reader *s, size_t *ret_n);

/* Bytes read from packs and the snapshot object so far, and the bytes that
 * reading the whole image once would take. */
uint64_t snapshot_reader_read_bytes(const struct snapshot_reader *s);
uint64_t snapshot_reader_image_bytes(const struct snapshot_reader *s);

DEFINE_CLEANUP(snapshot_reader, struct snapshot_reader *, snapshot_reader_close)

#endif

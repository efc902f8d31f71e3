/*
 * snapshot_frames.h - door: one snapshot's pages, for many threads at once.
 *
 * snapshot_reader.h is for one thread; here the index, the packs' tables and a
 * cache of decompressed frames are shared, and each thread has a *frame
 * reader* of its own: codec, ring and workspace. Everything read is checked as
 * there: damage gives ERR_CORRUPT with pack, frame and offset, never a page.
 */
#ifndef FIRN_STORAGE_SNAPSHOT_FRAMES_H
#define FIRN_STORAGE_SNAPSHOT_FRAMES_H

#include "storage/snapshot_reader.h"

struct snapshot_frames;

/* `cache_bytes`: bound of the decompressed frames kept. */
int snapshot_frames_open(struct repository *r, const char *id,
                         size_t cache_bytes, struct snapshot_frames **ret,
                         struct error *err) NODISCARD;
/* All frame readers are freed. NULL is fine. */
void snapshot_frames_close(struct snapshot_frames *f);

/* Facts of the snapshot; borrowed. */
const struct snapshot_summary *
snapshot_frames_summary(const struct snapshot_frames *f);
/* A block's number, here and below, is its place in this list. */
const struct ramblock_list *
snapshot_frames_blocks(const struct snapshot_frames *f);

/* The same as a reader, for what else it tells (machine, devices); not for
 * pages. Borrowed. */
const struct snapshot_reader *
snapshot_frames_facts(const struct snapshot_frames *f);

/* Any thread. The first page of a segment (2 MiB) looks all of it up, later
 * ones cost a load. */
int snapshot_frames_locate(struct snapshot_frames *f, uint32_t block,
                           pgno_t pgno, struct page_place *ret,
                           struct error *err) NODISCARD;
/* First page at or behind `from` of this block that is not zero; the block's
 * page count if none is left. Any thread. */
int snapshot_frames_next_data(struct snapshot_frames *f, uint32_t block,
                              pgno_t from, pgno_t *ret,
                              struct error *err) NODISCARD;
/* Pages around `pgno` that lie in the same frame, side by side and in order:
 * from *ret_first to *ret_end, `pgno` included. Any thread. */
void snapshot_frames_around(struct snapshot_frames *f, uint32_t block,
                            pgno_t pgno, pgno_t *ret_first, pgno_t *ret_end);

/* Read from packs so far, by all readers. */
uint64_t snapshot_frames_read_bytes(struct snapshot_frames *f);
/* The same with the snapshot object, the index and the tables of packs. */
uint64_t snapshot_frames_total_read(struct snapshot_frames *f);

struct frame_reader;

/* `depth`: reads in flight of scan(). */
int frame_reader_new(struct snapshot_frames *f, unsigned depth,
                     struct frame_reader **ret, struct error *err) NODISCARD;
/* Its scan has ended. Takes NULL. */
void frame_reader_free(struct frame_reader *r);

/* Read by this one so far; any thread. */
uint64_t frame_reader_read_bytes(const struct frame_reader *r);

/* The content of a whole frame, from the cache or by one read; borrowed until
 * the next get(). `place` is not zero. */
int frame_reader_get(struct frame_reader *r, const struct page_place *place,
                     const uint8_t **ret, uint32_t *ret_bytes, bool *ret_cached,
                     struct error *err) NODISCARD;
/* Lets the kernel read around a frame, behind our back: neighbours of a fault
 * are likely next. */
void frame_reader_hint(struct frame_reader *r, const struct page_place *place);

/* One page that scan() shall bring. */
struct frame_want {
    struct page_place place; /* not zero */
    uint8_t *to;  /* PAGE_BYTES; with `views` where ready() finds them */
    uint64_t tag; /* the caller's: the page's number */
};

struct frame_scan {
    void *arg;
    /* ready() may be shown pages where they were read, until it returns. */
    bool views;
    /* Nothing is read that is not wanted, not even a small gap: it will be
     * wanted another time, or was before. */
    bool exact;
    /* Some wants are there, side by side in the sorted array. Negative: ends
     * the scan, unless it is 0. */
    int (*ready)(void *arg, const struct frame_want *wants, size_t n,
                 struct error *err);
    /* These cannot be had. Negative: ends the scan. */
    int (*damaged)(void *arg, const struct frame_want *wants, size_t n,
                   const struct error *why, struct error *err);
};

/*
 * Brings many pages by few large reads, many in flight, each frame
 * decompressed once and straight to its place where its pages lie side by
 * side. Sorts `wants`. Frames in the cache are taken from there; none is put
 * into it.
 */
int frame_reader_scan(struct frame_reader *r, struct frame_want *wants,
                      size_t n, const struct frame_scan *scan,
                      struct error *err) NODISCARD;

DEFINE_CLEANUP(snapshot_frames, struct snapshot_frames *, snapshot_frames_close)
DEFINE_CLEANUP(frame_reader, struct frame_reader *, frame_reader_free)

#endif

/*
 * pack_reader.h - a pack's tables, and any frame of it, checked.
 *
 * open() reads header, trailer and frame table; the hashes only when asked
 * for. Damage gives ERR_CORRUPT naming pack, offset and reason. One thread.
 */
#ifndef FIRN_STORAGE_PACKS_PACK_READER_H
#define FIRN_STORAGE_PACKS_PACK_READER_H

#include "core/codec/frame_codec.h"
#include "storage/packs/pack_writer.h"

struct pack_reader;

/* ERR_NOTFOUND: no such pack; ERR_CORRUPT: damaged, or of another kind;
 * ERR_FORMAT: a version or feature that is not known. The folder's descriptor
 * is not needed afterwards. */
int pack_reader_open(int packs_dirfd, const char *id, enum pack_kind kind,
                     struct pack_reader **ret, struct error *err) NODISCARD;
/* With the hashes that were borrowed. Takes NULL. */
void pack_reader_close(struct pack_reader *r);

/* From header and trailer; never changes. The id is borrowed. */
const char *pack_reader_id(const struct pack_reader *r);
/* Bytes of the whole file. */
uint64_t pack_reader_bytes(const struct pack_reader *r);
/* Pages, or blobs of an index pack; and the frames they lie in. */
uint32_t pack_reader_n_items(const struct pack_reader *r);
/* Frames are numbered from 0 in the order of the file. */
uint32_t pack_reader_n_frames(const struct pack_reader *r);
/* See repository_config.h: a repository may have several keys. */
uint32_t pack_reader_hash_key_id(const struct pack_reader *r);
/* Bytes read from the file so far. */
uint64_t pack_reader_read_bytes(const struct pack_reader *r);

struct pack_place {
    uint32_t frame;
    uint32_t slot;      /* item within the frame */
    uint32_t raw_bytes; /* of the whole frame */
};
/* ERR_CORRUPT when the pack has no such item. */
int pack_reader_place(const struct pack_reader *r, uint32_t item,
                      struct pack_place *ret, struct error *err) NODISCARD;

/* The raw bytes of a frame into `dst` (room for its raw_bytes). A frame near
 * one read before comes with its neighbours, in one read as long as the window,
 * and they are kept for the next calls. */
int pack_reader_frame(struct pack_reader *r, uint32_t frame,
                      struct frame_codec *codec, void *dst,
                      struct error *err) NODISCARD;
/* Length when decompressed: what `dst` must hold. */
uint32_t pack_reader_frame_raw_bytes(const struct pack_reader *r,
                                     uint32_t frame);
/* The item at the frame's beginning; the next frame's is behind its last. */
uint32_t pack_reader_frame_first_item(const struct pack_reader *r,
                                      uint32_t frame);
/* How far one read reaches; 64 KiB at first, for a linear reader more. */
void pack_reader_set_window(struct pack_reader *r, size_t bytes);

/* The content hashes of all items, checked; borrowed, kept by the reader. */
int pack_reader_hashes(struct pack_reader *r, const struct page_hash **ret,
                       struct error *err) NODISCARD;

/* For readers that do their own I/O on a pack shared by many threads: what is
 * asked for here never changes. `frame` must be one of the pack's. */
int pack_reader_fd(const struct pack_reader *r);
/* Where its stored bytes begin in the file. */
uint64_t pack_reader_frame_offset(const struct pack_reader *r, uint32_t frame);
/* How many there are: as many as raw where compression gained nothing. */
uint32_t pack_reader_frame_stored_bytes(const struct pack_reader *r,
                                        uint32_t frame);
/* The raw bytes of a frame from its stored ones: in `dst`, or where they are
 * stored if that is raw. */
int pack_reader_decode(const struct pack_reader *r, uint32_t frame,
                       struct frame_codec *codec, const uint8_t *stored,
                       uint8_t *dst, const uint8_t **ret,
                       struct error *err) NODISCARD;

DEFINE_CLEANUP(pack_reader, struct pack_reader *, pack_reader_close)

#endif

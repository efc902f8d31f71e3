/*
 * frame.h - one frame: raw bytes to stored bytes and back, checked.
 *
 * Writer and reader of packs share it. Pure but for the codec's workspace.
 */
#ifndef FIRN_STORAGE_PACKS_FRAME_H
#define FIRN_STORAGE_PACKS_FRAME_H

#include "core/codec/frame_codec.h"
#include "storage/packs/format.h"

/* The two seeds that a pack's id gives to its checksums. */
struct pack_seeds {
    uint64_t frames;
    uint64_t trailer;
};

/* The two halves of the id: equal bytes in another pack, or under another
 * number, have another checksum. */
struct pack_seeds pack_seeds_of(const uint8_t id[static PACK_ID_BYTES]);

/* Writes `raw` compressed, or as it is where that does not pay, to `dst`
 * (room for raw_len) and fills the frame's entry of the table. */
int frame_store(struct frame_codec *codec, const struct pack_seeds *seeds,
                uint32_t number, const void *raw, size_t raw_len, void *dst,
                struct pack_frame_entry *ret, struct error *err) NODISCARD;

/* The raw bytes of a stored frame. ERR_CORRUPT when the checksum does not fit
 * or the bytes do not decompress to what the entry says. */
int frame_load(struct frame_codec *codec, const struct pack_seeds *seeds,
               uint32_t number, const struct pack_frame_entry *entry,
               const void *stored, void *raw, struct error *err) NODISCARD;

/* The same without a copy: *ret is `stored` itself where that is raw, else
 * `raw`, which is filled. */
int frame_view(struct frame_codec *codec, const struct pack_seeds *seeds,
               uint32_t number, const struct pack_frame_entry *entry,
               const uint8_t *stored, uint8_t *raw, const uint8_t **ret,
               struct error *err) NODISCARD;

#endif

/*
 * frame.c - the one place where a frame's form is decided and undone.
 *
 * Compressed or raw is not a flag: a frame whose stored length equals its raw
 * length is raw, and the codec never gives a result that long. The checksum is
 * of the stored bytes, seeded with pack and frame number, and is looked at
 * before a decompressor sees them; it also finds a frame that is whole but lies
 * in the wrong place.
 */
#include "storage/packs/frame.h"

#include "core/base/bytes.h"
#include "storage/packs/page_hash.h"

struct pack_seeds pack_seeds_of(const uint8_t id[static PACK_ID_BYTES])
{
    return (struct pack_seeds){.frames = load_le64(id),
                               .trailer = load_le64(id + 8)};
}

int frame_store(struct frame_codec *codec, const struct pack_seeds *seeds,
                uint32_t number, const void *raw, size_t raw_len, void *dst,
                struct pack_frame_entry *ret, struct error *err)
{
    size_t stored;
    int rc = frame_codec_compress(codec, raw, raw_len, dst, &stored, err);

    if (rc < 0)
        return rc;
    if (stored == 0) {
        memcpy(dst, raw, raw_len);
        stored = raw_len;
    }
    store_le32(&ret->stored_bytes, (uint32_t)stored);
    store_le32(&ret->raw_bytes, (uint32_t)raw_len);
    store_le64(&ret->checksum, checksum64(dst, stored, seeds->frames + number));
    return 0;
}

int frame_view(struct frame_codec *codec, const struct pack_seeds *seeds,
               uint32_t number, const struct pack_frame_entry *entry,
               const uint8_t *stored, uint8_t *raw, const uint8_t **ret,
               struct error *err)
{
    uint32_t stored_len = load_le32(&entry->stored_bytes);
    uint32_t raw_len = load_le32(&entry->raw_bytes);

    if (checksum64(stored, stored_len, seeds->frames + number) !=
        load_le64(&entry->checksum))
        return fail(err, ERR_CORRUPT, "checksum differs");
    *ret = stored_len == raw_len ? stored : raw;
    if (stored_len == raw_len)
        return 0;
    return frame_codec_decompress(codec, stored, stored_len, raw, raw_len, err);
}

int frame_load(struct frame_codec *codec, const struct pack_seeds *seeds,
               uint32_t number, const struct pack_frame_entry *entry,
               const void *stored, void *raw, struct error *err)
{
    const uint8_t *at;
    int rc = frame_view(codec, seeds, number, entry, stored, raw, &at, err);

    if (rc == 0 && at != raw)
        memcpy(raw, at, load_le32(&entry->raw_bytes));
    return rc;
}

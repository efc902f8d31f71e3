/*
 * A pack of any bytes. Where the input is long enough its id and checksums are
 * made to fit, so that the checks behind them are reached; the first byte
 * tells whether.
 */
#include "storage/packs/pack_reader.h"

#include "core/base/bytes.h"
#include "storage/packs/format.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/object_input.h"

static const char id[] = "00112233445566778899aabbccddeeff";
static const uint8_t id_bytes[PACK_ID_BYTES] = {
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
    0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
};

static void sum(uint8_t *field, const void *data, uint64_t len, uint64_t seed)
{
    store_le64(field, checksum64(data, len, seed));
}

/* Header, tables as far as the trailer tells of them, trailer. */
static void mend(uint8_t *pack, uint64_t len)
{
    uint8_t *trailer = pack + len - PACK_TRAILER_BYTES;
    uint64_t frames = load_le32(trailer + 8) * (uint64_t)PACK_FRAME_ENTRY_BYTES;
    uint64_t items = load_le32(trailer + 12) * (uint64_t)PACK_ITEM_ENTRY_BYTES;
    uint64_t at = load_le64(trailer + 16);

    memcpy(pack + 16, id_bytes, sizeof(id_bytes));
    sum(pack + PACK_SUMMED_BYTES, pack, PACK_SUMMED_BYTES, 0);
    if (at <= len && frames <= len - at && items <= len - at - frames) {
        sum(trailer + 32, pack + at, frames, 0);
        sum(trailer + 40, pack + at + frames, items, 0);
    }
    sum(trailer + PACK_SUMMED_BYTES, trailer, PACK_SUMMED_BYTES,
        load_le64(id_bytes + 8));
}

static void read_all(struct pack_reader *r, struct frame_codec *codec)
{
    static uint8_t raw[FRAME_RAW_MAX];
    const struct page_hash *hashes;
    struct error err;

    for (uint32_t f = 0; f < pack_reader_n_frames(r); f++) {
        promise(pack_reader_frame_raw_bytes(r, f) <= sizeof(raw));
        if (pack_reader_frame(r, f, codec, raw, &err) < 0)
            promise(err.code == ERR_CORRUPT);
    }
    for (uint32_t i = 0; i < pack_reader_n_items(r); i++) {
        struct pack_place place;

        promise(pack_reader_place(r, i, &place, &err) == 0);
        promise(place.frame < pack_reader_n_frames(r));
    }
    if (pack_reader_hashes(r, &hashes, &err) < 0)
        promise(err.code == ERR_CORRUPT);
}

static void check(const uint8_t *pack, size_t len, enum pack_kind kind)
{
    cleanup(pack_reader) struct pack_reader *r = NULL;
    cleanup(frame_codec) struct frame_codec *codec = NULL;
    struct error err;
    int rc;

    object_input_put("00/00112233445566778899aabbccddeeff", pack, len);
    promise(frame_codec_new(1, &codec, &err) == 0);
    rc = pack_reader_open(object_input_folder(), id, kind, &r, &err);
    if (rc < 0)
        promise(rc == ERR_CORRUPT || rc == ERR_FORMAT);
    else
        read_all(r, codec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *pack;
    size_t len;

    if (size < 1)
        return 0;
    len = size - 1;
    pack = malloc(len + 1);
    promise(pack);
    memcpy(pack, data + 1, len);
    if (data[0] & 1 && len >= PACK_HEADER_BYTES + PACK_TRAILER_BYTES)
        mend(pack, len);
    check(pack, len, data[0] & 2 ? PACK_INDEX : PACK_PAGES);
    free(pack);
    return 0;
}

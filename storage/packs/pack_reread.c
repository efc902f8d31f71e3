/*
 * pack_reread.c - a page that is in the pack already, wherever it is by now.
 *
 * Deduplication compares bytes, and a rewriting takes pages along, while the
 * pack has no name yet. The page may be gathered still, in the stream's buffer,
 * or in the file; the frame read last is kept. A sealed pack has let go of its
 * codec and tables (pack_seal.c) and gets them anew when it is asked.
 */
#include "core/base/bytes.h"
#include "core/vm/page.h"
#include "storage/packs/pack_writer_inside.h"

/* Of a sealed pack, as the sum in the trailer says it must be. */
static int load_frame_table(struct pack_writer *w, struct error *err)
{
    size_t len = (size_t)w->n_frames * sizeof(struct pack_frame_entry);
    uint32_t offset = PACK_HEADER_BYTES;
    int rc = buf_reserve(&w->frame_table, len, err);

    if (rc == 0)
        rc = buf_reserve(&w->offsets, w->n_frames * sizeof(offset), err);
    if (rc == 0)
        rc = pack_stream_read(&w->stream, load_le64(&w->trailer.table_offset),
                              len, w->frame_table.data, err);
    if (rc < 0)
        return rc;
    if (checksum64(w->frame_table.data, len, 0) !=
        load_le64(&w->trailer.frame_table_sum))
        return fail(err, ERR_CORRUPT, "the frame table reads back damaged");
    for (uint32_t i = 0; rc == 0 && i < w->n_frames; i++) {
        struct pack_frame_entry entry;

        rc = buf_append(&w->offsets, &offset, sizeof(offset), err);
        memcpy(&entry, w->frame_table.data + (size_t)i * sizeof(entry),
               sizeof(entry));
        offset += load_le32(&entry.stored_bytes);
    }
    return rc;
}

/* Fills `loaded` with a frame; the codec of a sealed pack is made anew. */
static int load_frame(struct pack_writer *w, uint32_t frame, struct error *err)
{
    struct pack_frame_entry entry;
    uint32_t offset;
    int rc;

    if (frame == w->loaded_frame)
        return 0;
    w->loaded_frame = NO_FRAME;
    if (w->offsets.len == 0) {
        rc = load_frame_table(w, err);
        if (rc < 0)
            return rc;
    }
    memcpy(&entry, w->frame_table.data + (size_t)frame * sizeof(entry),
           sizeof(entry));
    memcpy(&offset, w->offsets.data + (size_t)frame * sizeof(offset),
           sizeof(offset));
    buf_reset(&w->loaded);
    buf_reset(&w->scratch);
    rc = buf_reserve(&w->loaded, load_le32(&entry.raw_bytes), err);
    if (rc == 0)
        rc = buf_reserve(&w->scratch, load_le32(&entry.stored_bytes), err);
    if (rc == 0 && !w->codec)
        rc = frame_codec_new(1, &w->codec, err);
    if (rc == 0)
        rc =
            pack_stream_read(&w->stream, offset, load_le32(&entry.stored_bytes),
                             w->scratch.data, err);
    if (rc == 0)
        rc = frame_load(w->codec, &w->seeds, frame, &entry, w->scratch.data,
                        w->loaded.data, err);
    if (rc < 0)
        return error_wrap(err, "frame %u", frame);
    w->loaded_frame = frame;
    return 0;
}

int pack_writer_read_page(struct pack_writer *w, uint32_t item, void *page,
                          struct error *err)
{
    uint32_t frame = item / w->frame_pages;
    size_t within = (size_t)(item % w->frame_pages) * PAGE_BYTES;
    int rc;

    assert(w->kind == PACK_PAGES);
    if (w->state == PACK_FAILED)
        return error_copy(err, &w->why_failed);
    if (item >= w->n_items)
        return fail(err, ERR_INVALID, "pack '%s' has no item %u", w->id_text,
                    item);
    if (frame == w->n_frames) {
        memcpy(page, w->gathered.data + within, PAGE_BYTES);
        return 0;
    }
    rc = load_frame(w, frame, err);
    /* In an open pack it may be the error of a write, told here first. */
    if (rc < 0 && w->state == PACK_OPEN)
        return pack_writer_fail(w, err);
    if (rc < 0)
        return error_wrap(err, "pack '%s'", w->id_text);
    memcpy(page, w->loaded.data + within, PAGE_BYTES);
    return 0;
}

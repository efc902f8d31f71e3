/*
 * pack_writer_inside.h - what the sources of pack_writer.h share: adding
 * (pack_writer.c), reading back (pack_reread.c), sealing (pack_seal.c).
 */
#ifndef FIRN_STORAGE_PACKS_PACK_WRITER_INSIDE_H
#define FIRN_STORAGE_PACKS_PACK_WRITER_INSIDE_H

#include "core/base/buf.h"
#include "storage/objects/object_folder.h"
#include "storage/packs/frame.h"
#include "storage/packs/pack_stream.h"
#include "storage/packs/pack_writer.h"

#define NO_FRAME UINT32_MAX

enum pack_state {
    PACK_OPEN = 0,
    PACK_SEALED,
    PACK_LINKED,
    PACK_GONE,
    PACK_FAILED,
};

struct pack_writer {
    enum pack_state state;
    struct error why_failed;
    struct object_folder folder;
    enum pack_kind kind;
    uint32_t frame_pages;
    struct frame_codec *codec;
    uint8_t id[PACK_ID_BYTES];
    char id_text[PACK_ID_LEN + 1];
    struct pack_seeds seeds;
    struct pack_header header;
    struct pack_trailer trailer; /* filled by seal */
    struct object_file file;
    struct pack_stream stream; /* into `file` */

    uint32_t n_frames;
    uint32_t n_items;
    struct buf frame_table; /* as in the file */
    struct buf item_table;
    struct buf offsets; /* uint32_t of each frame */

    struct buf gathered; /* raw pages of a frame that is not whole yet */
    struct buf scratch;  /* a stored frame that does not fit the buffer */
    struct buf loaded;   /* raw bytes of the frame read back last */
    uint32_t loaded_frame;
};

/* Names the pack in `err`, which is now what every later call tells: FAILED. */
int pack_writer_fail(struct pack_writer *w, struct error *err);
/* Why the pack failed, if it did; OPEN else. */
int pack_writer_check_open(struct pack_writer *w, struct error *err) NODISCARD;
/* Makes a frame of what is gathered, which is something. */
int pack_writer_flush(struct pack_writer *w, struct error *err) NODISCARD;

#endif

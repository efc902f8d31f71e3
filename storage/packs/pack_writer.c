/*
 * pack_writer.c - a pack grows front to back and is never written twice.
 *
 * Header, frames, tables and trailer go through one pack_stream: large writes
 * behind one another, while this thread compresses on. A frame is compressed
 * straight into the stream's buffer when its raw length still fits there.
 *
 * States: OPEN → SEALED [seal] → LINKED [link] → GONE [unlink]. A failed
 * write, sync or comparison leaves FAILED, which every later call tells again:
 * bytes of this pack may be missing, whoever was told first.
 *
 * Seal means that the pack may be relied on: after the sync, the size, the
 * header, the tables and the trailer are read from the file again and compared
 * with what was meant. The page cache is asked to forget them before, so that
 * it is the disk that answers. The frames are not read again; their checksums
 * are among what was compared.
 */
#include "storage/packs/pack_writer.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>

#define LOG_AREA "pack"
#include "core/base/buf.h"
#include "core/base/bytes.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/vm/page.h"
#include "storage/objects/object_folder.h"
#include "storage/packs/frame.h"
#include "storage/packs/pack_stream.h"

#define NO_FRAME        UINT32_MAX
#define READ_BACK_BYTES (64u << 10)

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

static struct object_folder packs_folder(int dirfd)
{
    return (struct object_folder){
        .dirfd = dirfd, .id_len = PACK_ID_LEN, .fan_out = true};
}

static int fail_pack(struct pack_writer *w, struct error *err)
{
    error_wrap(err, "pack '%s'", w->id_text);
    w->state = PACK_FAILED;
    return error_copy(&w->why_failed, err);
}

static int check_open(struct pack_writer *w, struct error *err)
{
    if (w->state == PACK_FAILED)
        return error_copy(err, &w->why_failed);
    assert(w->state == PACK_OPEN);
    return 0;
}

static int choose_id(struct pack_writer *w, struct error *err)
{
    if (getrandom(w->id, sizeof(w->id), 0) != sizeof(w->id))
        return fail_errno(err, ERR_IO, "no random numbers");
    for (size_t i = 0; i < sizeof(w->id); i++)
        snprintf(w->id_text + 2 * i, 3, "%02x", w->id[i]);
    w->seeds = pack_seeds_of(w->id);
    return 0;
}

static void fill_header(struct pack_writer *w, uint32_t hash_key_id)
{
    struct pack_header *h = &w->header;

    memcpy(h->magic, PACK_HEADER_MAGIC, sizeof(h->magic));
    store_le32(&h->version, PACK_VERSION);
    store_le32(&h->kind, w->kind);
    memcpy(h->id, w->id, sizeof(h->id));
    store_le32(&h->hash_key_id, hash_key_id);
    store_le32(&h->page_bytes, PAGE_BYTES);
    store_le64(&h->checksum, checksum64(h, PACK_SUMMED_BYTES, 0));
}

static int start(struct pack_writer *w, const struct pack_writer_args *args,
                 struct error *err)
{
    int rc = choose_id(w, err);

    if (rc < 0)
        return rc;
    fill_header(w, args->hash_key_id);
    rc = frame_codec_new(args->level, &w->codec, err);
    if (rc < 0)
        return rc;
    rc = buf_reserve(&w->gathered, (size_t)w->frame_pages * PAGE_BYTES, err);
    if (rc < 0)
        return rc;
    rc = object_file_create(&w->folder, &w->file, err);
    if (rc < 0)
        return rc;
    w->stream = (struct pack_stream){
        .ring = args->ring, .fd = w->file.fd, .clock = args->clock};
    return pack_stream_append(&w->stream, &w->header, sizeof(w->header), err);
}

/* At least one, whatever the repository's config says. */
static uint32_t frame_pages(uint32_t frame_bytes)
{
    return MAX(MIN(frame_bytes, FRAME_RAW_MAX) / PAGE_BYTES, 1u);
}

int pack_writer_new(const struct pack_writer_args *args,
                    struct pack_writer **ret, struct error *err)
{
    cleanup(pack_writer) struct pack_writer *w = calloc(1, sizeof(*w));
    int rc;

    if (!w)
        return fail_nomem(err);
    w->kind = args->kind;
    w->frame_pages = frame_pages(args->frame_bytes);
    w->folder = packs_folder(args->packs_dirfd);
    w->file = OBJECT_FILE_INIT;
    w->loaded_frame = NO_FRAME;
    rc = start(w, args, err);
    if (rc < 0)
        return error_wrap(err, "cannot begin a pack");
    *ret = steal_ptr(&w);
    return 0;
}

void pack_writer_free(struct pack_writer *w)
{
    if (!w)
        return;
    pack_stream_abandon(&w->stream);
    object_file_release(&w->file);
    frame_codec_free(w->codec);
    buf_release(&w->frame_table);
    buf_release(&w->item_table);
    buf_release(&w->offsets);
    buf_release(&w->gathered);
    buf_release(&w->scratch);
    buf_release(&w->loaded);
    free(w);
}

uint64_t pack_writer_bytes(const struct pack_writer *w)
{
    uint64_t frames = w->n_frames + (w->gathered.len > 0);

    if (w->state == PACK_SEALED || w->state == PACK_LINKED)
        return pack_stream_bytes(&w->stream);
    return pack_stream_bytes(&w->stream) + w->gathered.len +
           frames * PACK_FRAME_ENTRY_BYTES +
           (uint64_t)w->n_items * PACK_ITEM_ENTRY_BYTES + PACK_TRAILER_BYTES;
}

uint32_t pack_writer_n_items(const struct pack_writer *w)
{
    return w->n_items;
}

const char *pack_writer_id(const struct pack_writer *w)
{
    return w->id_text;
}

/* Compresses into the stream's buffer if the raw length has room there. */
static int append_frame(struct pack_writer *w, const void *raw, size_t len,
                        struct pack_frame_entry *ret, struct error *err)
{
    uint8_t *room;
    int rc = pack_stream_room(&w->stream, len, &room, err);

    if (rc < 0)
        return rc;
    if (room) {
        rc = frame_store(w->codec, &w->seeds, w->n_frames, raw, len, room, ret,
                         err);
        return rc < 0 ? rc
                      : pack_stream_advance(&w->stream,
                                            load_le32(&ret->stored_bytes), err);
    }
    buf_reset(&w->scratch);
    rc = buf_reserve(&w->scratch, len, err);
    if (rc < 0)
        return rc;
    rc = frame_store(w->codec, &w->seeds, w->n_frames, raw, len,
                     w->scratch.data, ret, err);
    if (rc < 0)
        return rc;
    return pack_stream_append(&w->stream, w->scratch.data,
                              load_le32(&ret->stored_bytes), err);
}

static int add_frame(struct pack_writer *w, const void *raw, size_t len,
                     struct error *err)
{
    uint32_t offset = (uint32_t)pack_stream_bytes(&w->stream);
    struct pack_frame_entry entry;
    int rc = append_frame(w, raw, len, &entry, err);

    if (rc < 0)
        return rc;
    rc = buf_append(&w->frame_table, &entry, sizeof(entry), err);
    if (rc < 0)
        return rc;
    rc = buf_append(&w->offsets, &offset, sizeof(offset), err);
    if (rc < 0)
        return rc;
    w->n_frames++;
    return 0;
}

static int add_item(struct pack_writer *w, const struct page_hash *hash,
                    uint32_t *ret_item, struct error *err)
{
    uint8_t stored[PAGE_HASH_BYTES];
    int rc;

    page_hash_store(stored, *hash);
    rc = buf_append(&w->item_table, stored, sizeof(stored), err);
    if (rc < 0)
        return rc;
    *ret_item = w->n_items++;
    return 0;
}

/* Whether `n` items of `len` bytes, which may be a new frame, leave the pack
 * within its greatest size. */
static int check_room(const struct pack_writer *w, uint32_t n, size_t len,
                      struct error *err)
{
    if (pack_writer_bytes(w) + n * (len + PACK_ITEM_ENTRY_BYTES) +
            PACK_FRAME_ENTRY_BYTES >
        PACK_MAX_BYTES)
        return fail(err, ERR_INVALID, "pack '%s' is full", w->id_text);
    return 0;
}

static int flush_gathered(struct pack_writer *w, struct error *err)
{
    int rc = add_frame(w, w->gathered.data, w->gathered.len, err);

    buf_reset(&w->gathered);
    return rc;
}

static uint32_t n_gathered(const struct pack_writer *w)
{
    return (uint32_t)(w->gathered.len / PAGE_BYTES);
}

/* Not more than the frame that is being gathered has room for. */
static int gather(struct pack_writer *w, const uint8_t *pages, uint32_t n,
                  const struct page_hash *hashes, struct error *err)
{
    size_t len = (size_t)n * PAGE_BYTES;
    uint32_t item;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < n; i++)
        rc = add_item(w, &hashes[i], &item, err);
    if (rc < 0)
        return rc;
    /* A whole frame is compressed where it lies. */
    if (n == w->frame_pages)
        return add_frame(w, pages, len, err);
    rc = buf_append(&w->gathered, pages, len, err);
    if (rc < 0)
        return rc;
    return n_gathered(w) == w->frame_pages ? flush_gathered(w, err) : 0;
}

int pack_writer_add_pages(struct pack_writer *w, const void *pages, uint32_t n,
                          const struct page_hash *hashes, struct error *err)
{
    const uint8_t *p = pages;
    int rc = check_open(w, err);

    assert(w->kind == PACK_PAGES);
    while (rc == 0 && n > 0) {
        uint32_t step = MIN(n, w->frame_pages - n_gathered(w));

        rc = check_room(w, step, PAGE_BYTES, err);
        if (rc < 0)
            return rc;
        if (gather(w, p, step, hashes, err) < 0)
            return fail_pack(w, err);
        p += (size_t)step * PAGE_BYTES;
        hashes += step;
        n -= step;
    }
    return rc;
}

int pack_writer_add_page(struct pack_writer *w, const void *page,
                         const struct page_hash *hash, uint32_t *ret_item,
                         struct error *err)
{
    int rc = pack_writer_add_pages(w, page, 1, hash, err);

    if (rc == 0)
        *ret_item = w->n_items - 1;
    return rc;
}

int pack_writer_add_blob(struct pack_writer *w, const void *data, size_t len,
                         const struct page_hash *hash, uint32_t *ret_item,
                         struct error *err)
{
    int rc = check_open(w, err);

    assert(w->kind == PACK_INDEX);
    if (rc < 0)
        return rc;
    if (len == 0 || len > FRAME_RAW_MAX)
        return fail(err, ERR_INVALID, "a blob cannot have %zu bytes", len);
    rc = check_room(w, 1, len, err);
    if (rc < 0)
        return rc;
    rc = add_frame(w, data, len, err);
    if (rc == 0)
        rc = add_item(w, hash, ret_item, err);
    return rc < 0 ? fail_pack(w, err) : 0;
}

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
        return fail_pack(w, err);
    if (rc < 0)
        return error_wrap(err, "pack '%s'", w->id_text);
    memcpy(page, w->loaded.data + within, PAGE_BYTES);
    return 0;
}

static void fill_trailer(struct pack_writer *w)
{
    struct pack_trailer *t = &w->trailer;
    uint64_t table_offset = pack_stream_bytes(&w->stream);

    memcpy(t->magic, PACK_TRAILER_MAGIC, sizeof(t->magic));
    store_le32(&t->n_frames, w->n_frames);
    store_le32(&t->n_items, w->n_items);
    store_le64(&t->table_offset, table_offset);
    store_le64(&t->file_bytes, table_offset + w->frame_table.len +
                                   w->item_table.len + sizeof(*t));
    store_le64(&t->frame_table_sum,
               checksum64(w->frame_table.data, w->frame_table.len, 0));
    store_le64(&t->item_table_sum,
               checksum64(w->item_table.data, w->item_table.len, 0));
    store_le64(&t->checksum,
               checksum64(t, PACK_SUMMED_BYTES, w->seeds.trailer));
}

static int write_tables(struct pack_writer *w, struct error *err)
{
    struct pack_stream *s = &w->stream;
    int rc;

    fill_trailer(w);
    rc = pack_stream_append(s, w->frame_table.data, w->frame_table.len, err);
    if (rc < 0)
        return rc;
    rc = pack_stream_append(s, w->item_table.data, w->item_table.len, err);
    if (rc < 0)
        return rc;
    return pack_stream_append(s, &w->trailer, sizeof(w->trailer), err);
}

/* *offset goes behind what was compared. */
static int compare(struct pack_writer *w, const void *meant, size_t len,
                   uint64_t *offset, struct error *err)
{
    const uint8_t *p = meant;

    while (len > 0) {
        size_t step = MIN(len, (size_t)READ_BACK_BYTES);
        int rc = path_read_at(w->file.fd, w->scratch.data, step, *offset, err);

        if (rc < 0)
            return rc;
        if (memcmp(w->scratch.data, p, step) != 0)
            return fail(err, ERR_CORRUPT,
                        "bytes %llu to %llu read back differ from what was "
                        "written",
                        (unsigned long long)*offset,
                        (unsigned long long)(*offset + step));
        p += step;
        len -= step;
        *offset += step;
    }
    return 0;
}

static int check_size(struct pack_writer *w, struct error *err)
{
    uint64_t meant = pack_stream_bytes(&w->stream);
    struct stat st;

    if (fstat(w->file.fd, &st) < 0)
        return fail_errno(err, ERR_IO, "cannot ask for the size");
    if ((uint64_t)st.st_size != meant)
        return fail(err, ERR_CORRUPT,
                    "the file has %lld bytes, %llu were written",
                    (long long)st.st_size, (unsigned long long)meant);
    return 0;
}

static int read_back(struct pack_writer *w, struct error *err)
{
    uint64_t offset = 0;
    int rc = check_size(w, err);

    if (rc < 0)
        return rc;
    buf_reset(&w->scratch);
    rc = buf_reserve(&w->scratch, READ_BACK_BYTES, err);
    if (rc < 0)
        return rc;
    rc = compare(w, &w->header, sizeof(w->header), &offset, err);
    if (rc < 0)
        return rc;
    offset = load_le64(&w->trailer.table_offset);
    rc = compare(w, w->frame_table.data, w->frame_table.len, &offset, err);
    if (rc < 0)
        return rc;
    rc = compare(w, w->item_table.data, w->item_table.len, &offset, err);
    if (rc < 0)
        return rc;
    return compare(w, &w->trailer, sizeof(w->trailer), &offset, err);
}

/* Advice only: where it is not followed, the page cache is compared. */
static void forget_cached(struct pack_writer *w)
{
    uint64_t tables = load_le64(&w->trailer.table_offset) & ~UINT64_C(4095);

    posix_fadvise(w->file.fd, 0, PACK_HEADER_BYTES, POSIX_FADV_DONTNEED);
    posix_fadvise(w->file.fd, (off_t)tables, 0, POSIX_FADV_DONTNEED);
}

static int finish(struct pack_writer *w, struct error *err)
{
    int rc = w->gathered.len > 0 ? flush_gathered(w, err) : 0;

    if (rc < 0)
        return rc;
    rc = write_tables(w, err);
    if (rc < 0)
        return rc;
    rc = pack_stream_finish(&w->stream, err);
    if (rc < 0)
        return rc;
    forget_cached(w);
    return read_back(w, err);
}

/* Many sealed packs wait for one commit, few of them are read before: those
 * load their frame table again. */
static void shrink(struct pack_writer *w)
{
    frame_codec_free(steal_ptr(&w->codec));
    buf_release(&w->frame_table);
    buf_release(&w->offsets);
    buf_release(&w->item_table);
    buf_release(&w->gathered);
    buf_release(&w->scratch);
}

int pack_writer_seal(struct pack_writer *w, struct error *err)
{
    enum cpu_stage before;
    int rc = check_open(w, err);

    if (rc < 0)
        return rc;
    if (w->n_items == 0)
        return fail(err, ERR_INVALID, "pack '%s' is empty", w->id_text);
    before = stage_clock_enter(w->stream.clock, CPU_WRITE);
    rc = finish(w, err);
    stage_clock_enter(w->stream.clock, before);
    if (rc < 0)
        return fail_pack(w, err);
    shrink(w);
    w->state = PACK_SEALED;
    log_debug("sealed '%s': %u items, %u frames, %llu bytes", w->id_text,
              w->n_items, w->n_frames,
              (unsigned long long)pack_stream_bytes(&w->stream));
    return 0;
}

int pack_writer_link(struct pack_writer *w, struct error *err)
{
    int rc;

    assert(w->state == PACK_SEALED);
    rc = object_file_link(&w->folder, &w->file, w->id_text, err);
    if (rc < 0)
        return error_wrap(err, "pack '%s'", w->id_text);
    w->state = PACK_LINKED;
    return 0;
}

void pack_writer_unlink(struct pack_writer *w)
{
    struct error why = ERROR_INIT;

    if (w->state != PACK_LINKED)
        return;
    /* A pack nobody refers to harms nobody; prune takes it. */
    if (object_remove(&w->folder, w->id_text, &why) < 0)
        log_warn("pack '%s' stays behind: %s", w->id_text, why.message);
    w->state = PACK_GONE;
}

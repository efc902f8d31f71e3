/*
 * pack_writer.c - a pack grows front to back and is never written twice.
 *
 * Header, frames, tables and trailer go through one pack_stream: large writes
 * behind one another, while this thread compresses on. A frame is compressed
 * straight into the stream's buffer when its raw length still fits there.
 *
 * States: OPEN → SEALED [seal, pack_seal.c] → LINKED [link] → GONE [unlink]. A
 * failed write, sync or comparison leaves FAILED, which every later call tells
 * again: bytes of this pack may be missing, whoever was told first. Pages are
 * read back in pack_reread.c.
 */
#include "storage/packs/pack_writer.h"

#include <sys/random.h>

#define LOG_AREA "pack"
#include "core/base/bytes.h"
#include "core/base/log.h"
#include "core/vm/page.h"
#include "storage/packs/pack_writer_inside.h"

static struct object_folder packs_folder(int dirfd)
{
    return (struct object_folder){
        .dirfd = dirfd, .id_len = PACK_ID_LEN, .fan_out = true};
}

int pack_writer_fail(struct pack_writer *w, struct error *err)
{
    error_wrap(err, "pack '%s'", w->id_text);
    w->state = PACK_FAILED;
    return error_copy(&w->why_failed, err);
}

int pack_writer_check_open(struct pack_writer *w, struct error *err)
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

int pack_writer_flush(struct pack_writer *w, struct error *err)
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
    return n_gathered(w) == w->frame_pages ? pack_writer_flush(w, err) : 0;
}

int pack_writer_add_pages(struct pack_writer *w, const void *pages, uint32_t n,
                          const struct page_hash *hashes, struct error *err)
{
    const uint8_t *p = pages;
    int rc = pack_writer_check_open(w, err);

    assert(w->kind == PACK_PAGES);
    while (rc == 0 && n > 0) {
        uint32_t step = MIN(n, w->frame_pages - n_gathered(w));

        rc = check_room(w, step, PAGE_BYTES, err);
        if (rc < 0)
            return rc;
        if (gather(w, p, step, hashes, err) < 0)
            return pack_writer_fail(w, err);
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
    int rc = pack_writer_check_open(w, err);

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
    return rc < 0 ? pack_writer_fail(w, err) : 0;
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
